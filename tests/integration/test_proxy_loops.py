"""Proxies that lead to each other: a circle ends at once, and a chain does not.

::

    client -> A -> (wire) -> B -> A -> ...      two that name each other as `upstream_proxy`
    client -> A -> (wire) -> B -> origin        two in a row
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from pinproxy.authority import Authority
from pinproxy.limits import Limits
from pinproxy.net.upstream_proxy import UpstreamProxy
from tests.harness.clients import Way, ask, connect, connect_head, each_way, originate
from tests.harness.origin import running_origin
from tests.harness.originating import certificates, originating
from tests.harness.pki import server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy
from tests.harness.tunnelling import running_go_between

LOCAL = Limits(allow_private=True)
CONNECT_BY_A = re.compile(rb"CONNECT [^ ]+ HTTP/1.1\r\nHost: [^\r]+\r\nVia: 1.1 (pinproxy-[0-9a-f]{16})\r\n\r\n")


@dataclass
class TwoProxies:
    """Two proxies, the first of which asks the second.

    Attributes:
        first, second: The proxies.
        passed: What came over the wire from the first to the second, in order.
    """

    first: RunningProxy
    second: RunningProxy
    passed: list[tuple[str, bytes]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def two_proxies(*, is_circle: bool, origin_port: int | None = None) -> AsyncIterator[TwoProxies]:
    """Run both; HOST is listed by the first, and anything goes at the second."""
    passed: list[tuple[str, bytes]] = []
    ports: list[int] = []
    root, leaf = certificates()
    async with contextlib.AsyncExitStack() as stack:
        wire = await stack.enter_async_context(running_go_between(lambda _first: ports[0], passed=passed))
        rule = host_rule([leaf.pin], root.anchors, port=origin_port)
        towards_second = UpstreamProxy(Authority("127.0.0.1", wire))
        first = await stack.enter_async_context(
            running_proxy(rule, unlisted="allow", limits=LOCAL, upstream_proxy=towards_second)
        )
        back = UpstreamProxy(Authority("127.0.0.1", first.port)) if is_circle else None
        second = await stack.enter_async_context(running_proxy(unlisted="allow", limits=LOCAL, upstream_proxy=back))
        ports.append(second.port)
        yield TwoProxies(first, second, passed)


@pytest.mark.attack(
    "two proxies that name each other as upstream_proxy, and a request passed round until nothing is left",
    expect="loop_detected",
    topic="authority",
    motive="RFC 9110 §7.6.3",
)
@each_way
async def test_a_circle_of_two_proxies_ends_at_its_first_round(way: Way) -> None:
    """The one that is asked a second time sees its own name in Via, and the others hear why."""
    async with two_proxies(is_circle=True) as proxies:
        async with asyncio.timeout(5):
            answer = await ask(way, proxies.first)
        assert (answer.status, answer.code) == (403, "loop_detected")
        lines = [await proxy.connection(count=count) for proxy, count in ((proxies.first, 2), (proxies.second, 1))]
        assert [line["code"] for line in lines] == ["loop_detected"] * 2
        assert len(proxies.first.connections) == 2


@pytest.mark.attack("a loop through a second proxy", expect="loop_detected", topic="authority", motive="RFC 9110 §7.6.3")
async def test_a_request_in_clear_goes_round_no_further() -> None:
    """To an unlisted host, which goes through an upstream proxy by CONNECT as well."""
    async with two_proxies(is_circle=True) as proxies:
        async with asyncio.timeout(5):
            answer = await asyncio.to_thread(originate, proxies.first, "plain.example")
        assert (answer.status, answer.code) == (403, "loop_detected")


@each_way
async def test_two_proxies_in_a_row_are_no_circle(way: Way) -> None:
    """The twin; the second one is told by CONNECT whom the request has passed."""
    _root, leaf = certificates()
    async with running_origin(server_context(leaf)) as origin, two_proxies(is_circle=False, origin_port=origin.port) as proxies:
        assert (await ask(way, proxies.first)).status == 200
        assert CONNECT_BY_A.fullmatch(proxies.passed[0][1])


async def test_a_connect_hands_on_the_names_it_came_with() -> None:
    """Else neither of two would ever meet its own name again (RFC 9110 §7.6.3)."""
    async with two_proxies(is_circle=True) as proxies:

        def talk() -> None:
            with connect(proxies.first) as sock:
                sock.sendall(connect_head("plain.example").replace(b"\r\n\r\n", b"\r\nVia: 1.0 fred\r\nVia: 1.1 x (y)\r\n\r\n"))

        await asyncio.to_thread(talk)
        await proxies.first.connection()
        lines = proxies.passed[0][1].split(b"\r\n")[2:5]
        assert lines[:2] == [b"Via: 1.0 fred", b"Via: 1.1 x (y)"]
        assert lines[2].startswith(b"Via: 1.1 pinproxy-")


@pytest.mark.attack("a loop through a second proxy", expect="loop_detected", topic="authority", motive="RFC 9110 §7.6.3")
async def test_a_request_that_comes_back_by_any_other_way_is_known() -> None:
    """As by an origin that is a proxy in truth, and leads here."""
    async with originating() as stage:
        client = await stage.client()
        client.get()
        assert (await client.response()).status == 200
        (name,) = re.findall(rb"Via: (1.1 pinproxy-[0-9a-f]{16})\r\n", stage.origin.received)
        client.get(f"http://{HOST}/", f"Via: 1.1 other, {name.decode('ascii')}")
        response = await client.response()
        assert (response.status, response.code) == (403, "loop_detected")
        # The twin: one digit off is somebody else.
        other = name[:-1] + (b"0" if name[-1:] != b"0" else b"1")
        client = await stage.client()
        client.get(f"http://{HOST}/", f"Via: {other.decode('ascii')}")
        assert (await client.response()).status == 200
