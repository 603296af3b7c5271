"""One request through a proxy to an origin, and everything that can be said about it afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pinproxy.limits import Limits
from pinproxy.pins.pin import Pin
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.rule import Trust
from tests.harness.clients import Answer, Way, ask
from tests.harness.origin import Contexts, Handler, running_origin
from tests.harness.running import HOST, host_rule, running_proxy


@dataclass(frozen=True)
class Outcome:
    """What became of a request.

    Attributes:
        answer: What the client got.
        received: Application bytes the origin got.
        line: The `connection` line of the log.
        would_deny: The rule's counter of that name.
        minted: Hosts that the local CA made a certificate for.
    """

    answer: Answer
    received: bytes
    line: dict[str, Any]
    would_deny: int
    minted: list[str]


async def ask_once(
    way: Way,
    context: Contexts,
    pins: PinSet | Sequence[Pin],
    trust: Trust,
    *,
    host: str = HOST,
    handler: Handler | None = None,
    limits: Limits | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    **rule: Any,
) -> Outcome:
    """Run an origin and a proxy that pins it, and ask for `/` once.

    Args:
        way: How the client asks.
        context: TLS of the origin.
        pins: Of the rule.
        trust: Of the rule.
        host: Asked for, and listed.
        handler: Speaks for the origin.
        limits: Of the proxy.
        clock: Of the proxy.
        rule: Further fields of the rule.
    """
    if way == "tunnel":
        rule = {"connect": "tunnel", "tls13": "refuse", **rule}
    async with running_origin(context, handler) as origin:
        entry = host_rule(pins.pins if isinstance(pins, PinSet) else pins, trust, host=host, port=origin.port, **rule)
        if isinstance(pins, PinSet):
            entry = dataclasses.replace(entry, pin_set=pins)
        async with running_proxy(entry, limits=limits, clock=clock) as proxy:
            answer = await ask(way, proxy, host)
            line = await proxy.connection()
            if answer.code is not None:
                await origin.quiet()
            counts = proxy.metrics.rules[entry.label]
            minted = [name for name, _ in proxy.local_ca._contexts]
            return Outcome(answer, bytes(origin.received), line, counts.would_deny, minted)


def assert_denied(outcome: Outcome, code: str, *, status: int = 403) -> None:
    """Check a denial from every side: the client was told why, the log says the same, and no byte of the request went up."""
    assert (outcome.answer.status, outcome.answer.code, outcome.received) == (status, code, b"")
    assert outcome.answer.problem["code"] == code
    assert (outcome.line["code"], outcome.line["decision"], outcome.line["would_deny"]) == (code, "deny", False)
    assert outcome.line["id"] == outcome.answer.fields["x-pinproxy-id"] == outcome.answer.problem["id"]
    assert outcome.minted == []


def assert_served(outcome: Outcome, *, would_deny: bool = False) -> None:
    """Check the twin: the request arrived and its answer came back."""
    assert (outcome.answer.status, outcome.answer.code, outcome.answer.body) == (200, None, b"GET / 0\n")
    assert outcome.received.startswith(b"GET / HTTP/1.1\r\n")
    assert outcome.line["would_deny"] is would_deny
    assert outcome.line["decision"] == ("allow_and_report" if would_deny else "allow")
