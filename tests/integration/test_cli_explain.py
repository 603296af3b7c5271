"""What `explain` foretells is what the proxy does: one table, two readers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from pinproxy.authority import Authority
from pinproxy.cli.foresight import Asked, foresee
from pinproxy.limits import Limits
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable, Unlisted
from tests.harness.clients import connect, connect_head, get_head, on_one_loop, read_answer
from tests.harness.origin import running_origin
from tests.harness.originating import certificates
from tests.harness.pki import make_leaf, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

ROOT, LEAF = certificates()
OTHER = make_leaf(ROOT, HOST)
ELSEWHERE = "elsewhere.test"


def foretold(asked: Authority, *rules: HostRule, unlisted: Unlisted = "deny") -> str:
    """Say what `explain` says, in one line."""
    plain = Authority(asked.host, 80) if asked.port == 443 else asked
    sections = foresee(Asked(plain, asked), PolicyTable(rules, unlisted), datetime.now(UTC), Limits())
    return " ".join(line for section in sections for line in section.lines)


def code_of(proxy: RunningProxy, head: bytes) -> str | None:
    """Send a head; the reason code of what comes back."""
    with connect(proxy) as sock:
        sock.sendall(head)
        return read_answer(sock).code


@on_one_loop
@pytest.mark.parametrize(
    ("asked", "head", "unlisted", "code"),
    [
        (Authority(ELSEWHERE, 443), get_head(f"http://{ELSEWHERE}/", ELSEWHERE), "deny", "host_not_listed"),
        (Authority(HOST, 8443), get_head(f"http://{HOST}:8443/", f"{HOST}:8443"), "deny", "host_not_listed"),
        (Authority(ELSEWHERE, 443), get_head(f"https://{ELSEWHERE}/", ELSEWHERE), "allow", "bad_request"),
        (Authority("10.1.2.3", 443), connect_head("10.1.2.3"), "allow", "address_denied"),
        (Authority("10.1.2.3", 8080), get_head("http://10.1.2.3:8080/", "10.1.2.3:8080"), "allow", "address_denied"),
    ],
)
async def test_a_refusal_without_a_server_is_the_one_that_was_foretold(
    asked: Authority, head: bytes, unlisted: Unlisted, code: str
) -> None:
    """Nobody is dialled for any of them."""
    rule = host_rule([LEAF.pin], ROOT.anchors, ports=frozenset({443}))
    async with running_proxy(rule, unlisted=unlisted) as proxy:
        assert await asyncio.to_thread(code_of, proxy, head) == code
    assert code in foretold(asked, rule, unlisted=unlisted)


@on_one_loop
@pytest.mark.parametrize(
    ("expires", "code"),
    [(None, "pin_mismatch"), (datetime(2026, 1, 1, tzinfo=UTC), "pin_set_expired")],
    ids=["in force", "expired"],
)
async def test_a_mismatch_is_denied_with_the_code_that_was_foretold(expires: datetime | None, code: str) -> None:
    """The one function that decides it is asked by both."""
    async with running_origin(server_context(OTHER)) as origin:
        pinned = host_rule([LEAF.pin], ROOT.anchors, port=origin.port)
        rule = HostRule(pinned.pattern, "enforce", PinSet("p", (LEAF.pin,), expires=expires), ROOT.anchors, dial=pinned.dial)
        async with running_proxy(rule) as proxy:
            assert await asyncio.to_thread(code_of, proxy, get_head(f"http://{HOST}/")) == code
    assert f"denied: 403 {code}" in foretold(Authority(HOST, 443), rule)
