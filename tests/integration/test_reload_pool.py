"""A new table takes effect at once: for what waits in the pool, and for what is being dialled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pinproxy.limits import Limits
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable
from tests.harness.clients import Answer, Way, ask, connect, each_way, get_head, originate, read_answer
from tests.harness.origin import Origin, running_origin
from tests.harness.pki import Issued, make_leaf, make_root, server_context
from tests.harness.running import HOST, host_rule, running_proxy
from tests.harness.scene import origin_and_proxy

ROOT = make_root()
LEAF, OTHER = make_leaf(ROOT, HOST), make_leaf(ROOT, HOST)
CONTEXT = server_context(LEAF)
in_thread = asyncio.to_thread


def rule_for(origin: Origin, *pinned: Issued, **further: Any) -> HostRule:
    """Make a rule of its own identity for an origin."""
    return host_rule([item.pin for item in pinned], ROOT.anchors, port=origin.port, **further)


# --- the pool ----------------------------------------------------------------------------------------------------------


async def test_a_pooled_connection_is_reused_while_its_rule_stays_as_it_was() -> None:
    """A reload that changes nothing for a host costs it nothing: the new rule is another object, and equal."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (origin, proxy):
        assert (await in_thread(originate, proxy)).status == 200
        proxy.server.swap(PolicyTable((rule_for(origin, LEAF), host_rule([OTHER.pin], ROOT.anchors, host="new.example.test"))))
        assert (await in_thread(originate, proxy)).status == 200
        assert origin.handshakes == 1


@pytest.mark.parametrize(
    ("pinned", "further"),
    [
        ((LEAF, OTHER), {}),
        ((LEAF,), {"mode": "report-only"}),
        ((LEAF,), {"min_tls": "1.3"}),
        ((LEAF,), {"chain_profile": "compatible"}),
    ],
    ids=["a pin more", "another mode", "another min_tls", "another profile"],
)
async def test_a_pooled_connection_is_not_reused_under_another_rule(pinned: tuple[Issued, ...], further: dict[str, str]) -> None:
    """The twins: one thing has changed, and the request is served over a connection that was verified under it."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (origin, proxy):
        assert (await in_thread(originate, proxy)).status == 200
        proxy.server.swap(PolicyTable((rule_for(origin, *pinned, **further),)))
        await origin.quiet()  # the old one is closed by the swap itself
        assert (await in_thread(originate, proxy)).status == 200
        assert origin.handshakes == 2


@pytest.mark.attack(
    "a path up without the check: an idle connection verified under other pins",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2022-21654",
)
async def test_a_pooled_connection_serves_no_pins_it_would_not_meet() -> None:
    """The connection is still open when the pins change, and no request goes over it any more."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (origin, proxy):
        assert (await in_thread(originate, proxy)).status == 200
        received = bytes(origin.received)
        proxy.server.swap(PolicyTable((rule_for(origin, OTHER),)))
        answer = await in_thread(originate, proxy)
        assert (answer.status, answer.code) == (403, "pin_mismatch")
        await origin.quiet()
        assert (origin.handshakes, bytes(origin.received)) == (2, received)


async def test_a_connection_in_use_during_a_reload_does_not_go_back_into_the_pool() -> None:
    """What was verified under the old pins may finish its answer, and serves nobody after that."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            asked.set()
            await go_on.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, waits) as (origin, proxy):
        first = asyncio.create_task(in_thread(originate, proxy))
        await asked.wait()
        proxy.server.swap(PolicyTable((rule_for(origin, LEAF, OTHER),)))
        go_on.set()
        assert (await first).body == b"ok"
        await origin.quiet()
        assert (await in_thread(originate, proxy)).body == b"ok"
        assert origin.handshakes == 2


@each_way
async def test_a_host_that_was_taken_away_is_not_listed(way: Way) -> None:
    """The first request after the swap meets it, whatever waits in the pool."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (origin, proxy):
        assert (await ask(way, proxy)).status == 200
        proxy.server.swap(PolicyTable(()))
        received = bytes(origin.received)
        answer = await ask(way, proxy)
        assert (answer.status, answer.code) == (403, "host_not_listed")
        await origin.quiet()
        assert bytes(origin.received) == received


# --- between the dial and the first byte -------------------------------------------------------------------------------


@pytest.mark.attack(
    "pins are changed while tunnels and requests under the old ones are open",
    expect="cut",
    topic="faults",
    motive="CVE-2022-21654; OkHttp rebuilds its client",
)
@each_way
@pytest.mark.parametrize(
    ("before", "after", "code", "handshakes"),
    [
        ((LEAF,), (LEAF,), None, 2),
        ((LEAF,), (OTHER,), "pin_mismatch", 2),
        ((OTHER,), (LEAF,), None, 2),
        ((OTHER,), (OTHER,), "pin_mismatch", 2),
        ((LEAF,), None, "host_not_listed", 1),
        ((OTHER,), None, "host_not_listed", 1),
    ],
    ids=["good, good", "good, bad", "bad, good", "bad, bad", "good, gone", "bad, gone"],
)
async def test_a_request_is_served_under_the_rule_in_force_when_its_connection_is_ready(
    way: Way, before: tuple[Issued, ...], after: tuple[Issued, ...] | None, code: str | None, handshakes: int
) -> None:
    """The table is swapped while the origin's handshake hangs: what the old rule would say counts neither for nor against."""
    gate = asyncio.Event()
    async with running_origin(CONTEXT, gate=gate) as origin, running_proxy(rule_for(origin, *before)) as proxy:
        asking = asyncio.create_task(ask(way, proxy))
        await origin.accepted()
        rules = () if after is None else (rule_for(origin, *after),)
        proxy.server.swap(PolicyTable(rules))
        gate.set()
        answer = await asking
        assert (answer.status, answer.code) == ((200 if code is None else 403), code)
        assert (await proxy.connection())["code"] == code
        if code is not None:
            await origin.quiet()
            assert origin.received == b""
        assert origin.handshakes == handshakes


@each_way
@pytest.mark.parametrize(
    ("after", "code"), [(ROOT, None), (make_root("Third CA"), "chain_invalid")], ids=["the right root", "a third one"]
)
async def test_a_refusal_of_the_old_rule_that_is_not_about_pins_counts_as_little(
    way: Way, after: Issued, code: str | None
) -> None:
    """Here the old rule has another root, and the new one has the server's; the twin's is wrong once more."""
    gate = asyncio.Event()
    async with running_origin(CONTEXT, gate=gate) as origin:
        before = host_rule([LEAF.pin], make_root("Old CA").anchors, port=origin.port)
        async with running_proxy(before) as proxy:
            asking = asyncio.create_task(ask(way, proxy))
            await origin.accepted()
            proxy.server.swap(PolicyTable((host_rule([LEAF.pin], after.anchors, port=origin.port),)))
            gate.set()
            assert (await asking).code == code
            assert (await proxy.connection())["code"] == code


@each_way
async def test_a_request_without_a_reload_dials_once(way: Way) -> None:
    """The twin: the same hanging handshake, and no swap."""
    gate = asyncio.Event()
    async with running_origin(CONTEXT, gate=gate) as origin, running_proxy(rule_for(origin, LEAF)) as proxy:
        asking = asyncio.create_task(ask(way, proxy))
        await origin.accepted()
        gate.set()
        assert (await asking).status == 200
        assert origin.handshakes == 1


@each_way
async def test_the_log_names_the_rule_that_decided(way: Way) -> None:
    """The swap replaces the host's own entry by a pattern around it: that one is what let the request pass."""
    gate = asyncio.Event()
    async with running_origin(CONTEXT, gate=gate) as origin, running_proxy(rule_for(origin, LEAF)) as proxy:
        asking = asyncio.create_task(ask(way, proxy))
        await origin.accepted()
        proxy.server.swap(PolicyTable((rule_for(origin, LEAF, host="*.example.test"),)))
        gate.set()
        assert (await asking).status == 200
        assert (await proxy.connection())["host_rule"] == "*.example.test"


# --- what is forwarded in clear -----------------------------------------------------------------------------------------


class NamesThatReload(dict[str, str]):
    """Names; while one is looked up, another table comes into force."""

    reload: Callable[[], None]

    def get(self, host: str, otherwise: Any = None) -> Any:
        """Reload, and answer."""
        self.reload()
        return super().get(host, otherwise)


@pytest.mark.attack(
    "pins are changed while tunnels and requests under the old ones are open",
    expect="cut",
    topic="faults",
    motive="CVE-2022-21654; OkHttp rebuilds its client",
)
@pytest.mark.parametrize(
    ("listed", "code"), [("plain.test", "host_not_listed"), ("other.test", None)], ids=["this host", "another"]
)
async def test_a_host_that_is_listed_while_it_is_dialled_gets_nothing_in_clear(listed: str, code: str | None) -> None:
    """`unlisted: allow` forwards plain HTTP; from the moment a host is listed, no byte for it goes anywhere unverified."""
    names = NamesThatReload({"plain.test": "127.0.0.1"})
    async with (
        running_origin(None) as origin,
        running_proxy(unlisted="allow", addresses=names, limits=Limits(allow_private=True)) as proxy,
    ):
        rule = host_rule([LEAF.pin], ROOT.anchors, host=listed)
        names.reload = lambda: proxy.server.swap(PolicyTable((rule,), "allow"))
        authority = f"plain.test:{origin.port}"

        def get() -> Answer:
            with connect(proxy) as client:
                client.sendall(get_head(f"http://{authority}/", authority, further="Connection: close\r\n"))
                return read_answer(client)

        assert (await in_thread(get)).code == code
        if code is not None:
            await origin.quiet()
        assert bool(origin.received) is (code is None)
