"""Promise 1 in one table: for each way a request can be denied, and each way of asking, not one of its bytes goes up.

Each row names the code and what the origin is like; the twin of all of them is the last test.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from pinproxy.limits import Limits
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.rule import DialOverride, HostRule, Mode
from tests.harness.clients import Way, ask, each_way
from tests.harness.defects import forge_leaf
from tests.harness.origin import Contexts, Handler, Origin, running_origin
from tests.harness.pki import NOW, make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

ROOT = make_root()
LEAF, OTHER = make_leaf(ROOT, HOST), make_leaf(ROOT, HOST)
DAY = timedelta(days=1)
GOOD = server_context(LEAF)

Adjust = Callable[[HostRule], HostRule]


async def _hangs(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _is_no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"220 mail.example.test ESMTP\r\n")
    await reader.read()


def _same(rule: HostRule) -> HostRule:
    return rule


def _pinning(**fields: Any) -> Adjust:
    return lambda rule: replace(rule, pin_set=PinSet("table", **fields))


@dataclass(frozen=True)
class Denial:
    """One row: the code, the origin's TLS (None: it speaks none), and what is special about rule, origin or proxy."""

    code: str
    context: Contexts
    adjust: Adjust = _same
    handler: Handler | None = None
    host: str = HOST
    proxy: dict[str, Any] = field(default_factory=dict)


def _elsewhere(address: str) -> Adjust:
    return lambda rule: replace(rule, dial=DialOverride(address, rule.dial.port if rule.dial else None))


DENIALS = [
    Denial("pin_mismatch", server_context(OTHER)),
    Denial("pin_forbidden", GOOD, _pinning(pins=(LEAF.pin,), forbidden=(ROOT.pin,))),
    Denial("pin_set_expired", GOOD, _pinning(pins=(OTHER.pin,), expires=NOW - DAY)),
    Denial("chain_invalid", server_context(make_leaf(make_root("Nobody's Root"), HOST))),
    Denial("chain_invalid", GOOD, proxy={"limits": Limits(chain_bytes=10)}),
    Denial("hostname_mismatch", server_context(make_leaf(ROOT, "other.example.test"))),
    Denial("certificate_expired", server_context(forge_leaf(ROOT, HOST, not_before=NOW - 9 * DAY, not_after=NOW - DAY))),
    Denial("certificate_expired", GOOD, proxy={"clock": lambda: NOW + 365 * DAY}),
    Denial("tls_handshake_failed", None, handler=_is_no_tls),
    Denial("handshake_timeout", None, handler=_hangs, proxy={"limits": Limits(handshake_seconds=0.2)}),
    Denial("dns_failed", GOOD, _elsewhere("nowhere.example.test")),
    Denial("dial_refused", GOOD, lambda rule: replace(rule, dial=DialOverride("127.0.0.1", 1))),
    Denial("host_not_listed", GOOD, host="unlisted.example.test"),
    Denial("host_not_listed", GOOD, lambda rule: replace(rule, ports=frozenset({8443}))),
    Denial("host_not_listed", GOOD, lambda rule: replace(rule, ports=frozenset({8443})), proxy={"unlisted": "allow"}),
    Denial(
        "address_denied",
        GOOD,
        host="internal.example.test",
        proxy={"unlisted": "allow", "addresses": {"internal.example.test": "127.0.0.1"}},
    ),
    Denial("address_denied", GOOD, host="169.254.169.254", proxy={"unlisted": "allow"}),
    Denial("bad_request", GOOD, host="api..example.test"),
]


@contextlib.asynccontextmanager
async def acted_out(denial: Denial, *, mode: Mode = "enforce") -> AsyncIterator[tuple[Origin, RunningProxy]]:
    """Run the origin and the proxy of a row."""
    async with running_origin(denial.context, denial.handler) as origin:
        rule = denial.adjust(host_rule([LEAF.pin], ROOT.anchors, port=origin.port))
        async with running_proxy(replace(rule, mode=mode), **denial.proxy) as proxy:
            yield origin, proxy


@pytest.mark.attack("the request, or a part of it, is sent before the verdict", expect="pin_mismatch", topic="pins")
@each_way
@pytest.mark.parametrize("denial", DENIALS, ids=[f"{number}-{row.code}" for number, row in enumerate(DENIALS)])
async def test_a_denied_request_sends_no_byte_and_says_why(way: Way, denial: Denial) -> None:
    """One code for client and log, one id that ties them, and an origin that has seen at most a handshake."""
    async with acted_out(denial) as (origin, proxy):
        answer = await ask(way, proxy, denial.host)
        assert answer.code == denial.code
        assert answer.status >= 400
        assert answer.fields["proxy-status"].endswith(f'details="{denial.code}"')
        line = await proxy.connection()
        assert (line["code"], line["decision"]) == (denial.code, "deny")
        assert line["id"] == answer.fields["x-pinproxy-id"] == answer.problem["id"]
    # Everything is closed: what has not arrived by now never will.
    assert [sent for sent in (bytes(origin.received),) if not is_handshake(sent)] == []


REPORT_ONLY = {"pin_mismatch", "pin_set_expired"}


@pytest.mark.attack(
    "report-only is taken for leave to skip the chain, the name or the dates",
    expect=("chain_invalid", "hostname_mismatch", "certificate_expired"),
    topic="pins",
    motive="Envoy's ACCEPT_UNTRUSTED; curl's test 2048",
)
@each_way
@pytest.mark.parametrize(
    "denial",
    [row for row in DENIALS if row.code not in REPORT_ONLY],
    ids=[f"{number}-{row.code}" for number, row in enumerate(DENIALS) if row.code not in REPORT_ONLY],
)
async def test_report_only_softens_nothing_but_a_mismatch(way: Way, denial: Denial) -> None:
    """Promise 4: the same rows, every one of them denied all the same."""
    async with acted_out(denial, mode="report-only") as (origin, proxy):
        assert (await ask(way, proxy, denial.host)).code == denial.code
        assert (await proxy.connection())["would_deny"] is False
    assert is_handshake(bytes(origin.received))


def is_handshake(received: bytes) -> bool:
    """Tell whether an origin got nothing, or, being one without TLS, a ClientHello and nothing behind it."""
    return not received or (received[0] == 0x16 and len(received) == 5 + int.from_bytes(received[3:5], "big"))


@each_way
@pytest.mark.parametrize("mode", ["enforce", "report-only"])
async def test_the_request_that_is_not_denied_arrives(way: Way, mode: Mode) -> None:
    """The twin: the same origin and proxy, with nothing special about them."""
    async with acted_out(Denial("", GOOD), mode=mode) as (origin, proxy):
        assert (await ask(way, proxy)).status == 200
    assert origin.received.startswith(b"GET / HTTP/1.1\r\n")
    assert not is_handshake(bytes(origin.received))
