"""Preflights: one for many tunnels, kept for a while, under one rule, to one address, and never an end for those who wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest

from pinproxy.authority import Authority
from pinproxy.errors import HandshakeTimeout, PinMismatch, Refused
from pinproxy.limits import Limits
from pinproxy.net import preflight as preflight_module
from pinproxy.net.dial import Dialler
from pinproxy.net.own_addresses import OwnAddresses
from pinproxy.net.preflight import Preflights
from pinproxy.net.upstream import Upstream, UpstreamOpener
from pinproxy.policy.table import PolicyTable
from pinproxy.policy.verdict import Assurance
from tests.harness.clients import on_one_loop
from tests.harness.origin import running_origin
from tests.harness.running import HOST, running_proxy
from tests.harness.tunnelling import (
    IMPOSTOR,
    LEAF,
    SECOND,
    TLS12,
    client_context,
    fetch,
    open_descriptors,
    origin_context,
    refused_code,
    tunnel_rule,
    tunnelling,
    two_faced,
)

CONTEXT = origin_context()


class Hearer:
    """An observer that keeps what it hears."""

    via = ()

    def __init__(self) -> None:
        self.address: str | None = None
        self.upstream: Upstream | None = None

    def dialled(self, address: str) -> None:
        """Keep it."""
        self.address = address

    def verified(self, upstream: Upstream) -> None:
        """Keep it."""
        self.upstream = upstream


class Names:
    """A resolver whose answer changes."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses

    async def __call__(self, host: str) -> Sequence[str]:
        """Answer."""
        assert host == HOST
        return self.addresses


@contextlib.asynccontextmanager
async def preflights(
    *, keep_seconds: float = 60.0, handshake_seconds: float = 10.0, resolver: Names | None = None
) -> AsyncIterator[Preflights]:
    """Make preflights without a proxy around them."""
    limits = Limits(handshake_seconds=handshake_seconds)
    dialler = Dialler(limits, OwnAddresses(), resolver or Names("127.0.0.1"))
    made = Preflights(UpstreamOpener(dialler, limits, lambda: datetime.now(UTC)), keep_seconds)
    try:
        yield made
    finally:
        await made.stop()


# --- sharing ---------------------------------------------------------------------------------------------------------------


async def test_tunnels_that_begin_at_once_share_one_preflight() -> None:
    """A burst of clients is one handshake to the server, and each is told all of it."""
    gate = asyncio.Event()
    rule = tunnel_rule(None)
    async with running_origin(CONTEXT, gate=gate) as origin, preflights() as made:
        hearers = [Hearer() for _ in range(20)]
        waiting = [asyncio.ensure_future(made.get(Authority(HOST, origin.port), rule, hearer)) for hearer in hearers]
        await origin.accepted()
        gate.set()
        found = await asyncio.gather(*waiting)
        assert (origin.connections, origin.handshakes) == (1, 1)
    for hearer, upstream in zip(hearers, found, strict=True):
        assert hearer.address == upstream.address == f"127.0.0.1:{origin.port}"
        assert hearer.upstream == upstream
        assert upstream.verified.judgement.assurance is Assurance.ADVISORY
        assert upstream.sock.fileno() == -1


@pytest.mark.attack(
    "hosts, ports and ALPN offers without end, to fill what is remembered of each of them", expect="bound", topic="resources"
)
@on_one_loop
async def test_preflights_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is made anew, the others are not."""
    monkeypatch.setattr(preflight_module, "_KEPT", 2)
    async with running_origin(CONTEXT) as origin, preflights() as made:
        rule = tunnel_rule(origin.port)
        handshakes = []
        for port in (1, 2, 3, 2, 1):
            await made.get(Authority(HOST, port), rule, Hearer())
            handshakes.append(origin.connections)
    assert handshakes == [1, 2, 3, 3, 4]


async def test_a_refusal_is_told_to_all_who_waited_and_is_not_kept() -> None:
    """What was just repaired must work at once."""
    gate = asyncio.Event()
    contexts = two_faced(origin_context(IMPOSTOR), CONTEXT)
    async with running_origin(contexts, gate=gate) as origin, preflights() as made:
        authority, rule = Authority(HOST, origin.port), tunnel_rule(None)
        waiting = [asyncio.ensure_future(made.get(authority, rule, Hearer())) for _ in range(3)]
        await origin.accepted()
        gate.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [PinMismatch] * 3
        assert (await made.get(authority, rule, Hearer())).leaf.der == LEAF.der
        assert origin.connections == 2


@pytest.mark.attack("the client whose tunnel made the preflight leaves; others wait for it", expect="serve", topic="faults")
async def test_one_who_leaves_does_not_end_what_the_others_wait_for() -> None:
    """The first to ask is not the owner."""
    gate = asyncio.Event()
    async with running_origin(CONTEXT, gate=gate) as origin, preflights() as made:
        authority, rule = Authority(HOST, origin.port), tunnel_rule(None)
        first, second = (asyncio.ensure_future(made.get(authority, rule, Hearer())) for _ in range(2))
        await origin.accepted()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.set()
        assert (await second).leaf.der == LEAF.der
        assert origin.handshakes == 1


@pytest.mark.attack("a preflight that hangs while tunnels wait for it", expect="handshake_timeout", topic="faults")
async def test_a_server_that_hangs_releases_all_who_wait_at_the_deadline() -> None:
    """`limits.handshake_seconds`, counted from the first; the next to ask begins anew."""
    never = asyncio.Event()
    async with running_origin(CONTEXT, gate=never) as origin, preflights(handshake_seconds=0.2) as made:
        authority, rule = Authority(HOST, origin.port), tunnel_rule(None)
        waiting = [asyncio.ensure_future(made.get(authority, rule, Hearer())) for _ in range(3)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [HandshakeTimeout] * 3
        never.set()
        assert (await made.get(authority, rule, Hearer())).leaf.der == LEAF.der


async def test_a_stop_ends_what_is_under_way_and_leaves_no_descriptor() -> None:
    """Nobody waits for it any more, and it does not outlive the server."""
    never = asyncio.Event()
    before = open_descriptors()
    async with running_origin(CONTEXT, gate=never) as origin, preflights() as made:
        waiting = asyncio.ensure_future(made.get(Authority(HOST, origin.port), tunnel_rule(None), Hearer()))
        await origin.accepted()
        await made.stop()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await asyncio.sleep(0)  # uvloop closes what was closed in its next round
    assert open_descriptors() == before


# --- keeping ---------------------------------------------------------------------------------------------------------------


async def test_a_preflight_is_used_again_while_it_is_fresh_and_not_after() -> None:
    """`preflight_ttl`."""
    for keep_seconds, connections in ((60.0, 1), (0.0, 3)):
        async with running_origin(CONTEXT) as origin, preflights(keep_seconds=keep_seconds) as made:
            for _ in range(3):
                hearer = Hearer()
                upstream = await made.get(Authority(HOST, origin.port), tunnel_rule(None), hearer)
                assert hearer.upstream == upstream
            assert origin.connections == connections


@pytest.mark.attack(
    "a path up without the check: a preflight that was cached under other pins",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2022-21654",
)
async def test_a_preflight_under_other_pins_is_another() -> None:
    """A reload that changes the pins begins anew, one that changes nothing for the host does not."""
    async with tunnelling(CONTEXT, rule={"tls13": "preflight"}) as stage:
        assert (await fetch(stage.proxy, client_context())).body == b"GET / 0\n"
        stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port, tls13="preflight"),)))
        assert (await fetch(stage.proxy, client_context())).body == b"GET / 0\n"
        assert stage.origin.handshakes == 3
        stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port, tls13="preflight", pins=[SECOND.pin]),)))
        assert await refused_code(stage.proxy) == (403, "pin_mismatch")
        stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port, tls13="preflight", pins=[SECOND.pin, LEAF.pin]),)))
        assert (await fetch(stage.proxy, client_context())).body == b"GET / 0\n"
        assert stage.origin.handshakes == 6


@pytest.mark.attack(
    "a preflight of one address vouches for another",
    expect="neutralise",
    topic="authority",
    motive="CVE-2018-14505",
)
async def test_a_host_that_moves_is_looked_at_anew() -> None:
    """A kept preflight is worth something only for an address that the host has now."""
    names = Names("127.0.0.1")
    async with running_origin(CONTEXT) as origin, preflights(resolver=names) as made:
        authority, rule = Authority(HOST, origin.port), tunnel_rule(None)
        first = await made.get(authority, rule, Hearer())
        names.addresses = ["127.0.0.2", "127.0.0.1"]
        again = await made.get(authority, rule, Hearer())
        assert again.destination == first.destination
        assert origin.connections == 1
        names.addresses = ["127.0.0.2"]
        with pytest.raises(Refused, match="refused or cannot be reached"):
            await made.get(authority, rule, Hearer())
        assert origin.connections == 1


@pytest.mark.attack(
    "DNS rebinding between the preflight and the tunnel",
    expect="neutralise",
    topic="authority",
    motive="CVE-2018-14505",
)
async def test_the_tunnel_is_dialled_to_the_address_of_its_preflight() -> None:
    """One look at the resolver, one address: what was verified is what is led to (CVE-2018-14505)."""
    async with running_origin(origin_context(newest=TLS12)) as origin:
        rule = tunnel_rule(None)
        async with running_proxy(rule, addresses={HOST: "127.0.0.1"}) as proxy:
            fetched = await fetch(proxy, client_context(TLS12), port=origin.port)
            assert fetched.body == b"GET / 0\n"
            line = await proxy.connection()
            assert line["upstream_address"] == f"127.0.0.1:{origin.port}"
            assert (proxy.resolved, origin.connections) == ([HOST], 2)
