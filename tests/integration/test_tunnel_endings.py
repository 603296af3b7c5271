"""How tunnels end: by who leaves at which step, by a reload, by a drain; with nothing left open behind them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pinproxy.limits import Limits
from pinproxy.policy.table import PolicyTable, Unlisted
from tests.harness.clients import connect, connect_head, open_tunnel, read_to_end
from tests.harness.origin import running_origin
from tests.harness.running import HOST, RunningProxy, running_proxy
from tests.harness.socket_pairs import reset
from tests.harness.tunnelling import (
    LEAF,
    SECOND,
    TLS12,
    HandClient,
    Stage,
    client_context,
    client_hello,
    fetch,
    hear,
    on_tunnel,
    open_descriptors,
    origin_context,
    tunnel_rule,
    tunnelling,
)

ADDRESS = "127.0.0.1"


@dataclass
class Halfway:
    """A client that has come to a certain step, and waits there.

    Attributes:
        sock: Its socket.
        proxy: The proxy that waits with it.
        go_on: Lets the origin do what it is waited for.
    """

    sock: socket.socket
    proxy: RunningProxy
    go_on: Callable[[], None]


@contextlib.asynccontextmanager
async def in_preflight() -> AsyncIterator[Halfway]:
    """The server hangs in the preflight's handshake."""
    gate = asyncio.Event()
    async with (
        running_origin(origin_context(), gate=gate) as origin,
        running_proxy(tunnel_rule(origin.port)) as proxy,
        _closing(await asyncio.to_thread(connect, proxy)) as sock,
    ):
        sock.sendall(connect_head())
        await origin.accepted()
        yield Halfway(sock, proxy, gate.set)


@contextlib.asynccontextmanager
async def before_hello() -> AsyncIterator[Halfway]:
    """The client has its 200, and says nothing."""
    async with tunnelling() as stage, _closing(await asyncio.to_thread(open_tunnel, stage.proxy)) as sock:
        await stage.origin.accepted(2)
        yield Halfway(sock, stage.proxy, lambda: None)


@contextlib.asynccontextmanager
async def inside_hello() -> AsyncIterator[Halfway]:
    """The client has sent the half of its ClientHello."""
    async with tunnelling() as stage, _closing(await asyncio.to_thread(open_tunnel, stage.proxy)) as sock:
        sock.sendall(client_hello(client_context(TLS12))[:100])
        yield Halfway(sock, stage.proxy, lambda: None)


@contextlib.asynccontextmanager
async def inside_flight() -> AsyncIterator[Halfway]:
    """The server has sent the half of its flight."""
    has_come = asyncio.Event()

    def half(flight: bytes) -> bytes:
        has_come.set()
        return flight[:200]

    async with tunnelling(edit=on_tunnel(half)) as stage, _closing(await asyncio.to_thread(open_tunnel, stage.proxy)) as sock:
        sock.sendall(client_hello(client_context(TLS12)))
        await has_come.wait()
        yield Halfway(sock, stage.proxy, lambda: None)


@contextlib.asynccontextmanager
async def relaying() -> AsyncIterator[Halfway]:
    """Data has passed, and more may."""
    async with tunnelling() as stage, _open(stage) as (sock, _):
        yield Halfway(sock, stage.proxy, lambda: None)


@contextlib.asynccontextmanager
async def blind_and_silent() -> AsyncIterator[Halfway]:
    """A blind tunnel whose client has not said a word."""
    async with (
        running_origin(None) as origin,
        running_proxy(unlisted="allow", limits=Limits(allow_private=True)) as proxy,
        _closing(await asyncio.to_thread(open_tunnel, proxy, ADDRESS, origin.port)) as sock,
    ):
        await origin.accepted()
        yield Halfway(sock, proxy, lambda: None)


@contextlib.asynccontextmanager
async def blind_inside_hello() -> AsyncIterator[Halfway]:
    """A blind tunnel whose client has sent the half of a ClientHello."""
    async with (
        running_origin(None) as origin,
        running_proxy(unlisted="allow", limits=Limits(allow_private=True)) as proxy,
        _closing(await asyncio.to_thread(open_tunnel, proxy, ADDRESS, origin.port)) as sock,
    ):
        sock.sendall(client_hello(client_context())[:100])
        yield Halfway(sock, proxy, lambda: None)


@contextlib.asynccontextmanager
async def _closing(sock: socket.socket) -> AsyncIterator[socket.socket]:
    with sock:
        yield sock


@contextlib.asynccontextmanager
async def _open(stage: Stage) -> AsyncIterator[tuple[socket.socket, HandClient]]:
    """Open a tunnel, and get one answer through it."""
    client = HandClient(client_context(TLS12))
    with await asyncio.to_thread(open_tunnel, stage.proxy) as sock:
        sock.sendall(client.hello)
        assert await asyncio.to_thread(client.finish, sock) == b"GET / 0\n"
        yield sock, client


STEPS = [in_preflight, before_hello, inside_hello, inside_flight, relaying, blind_and_silent, blind_inside_hello]
each_step = pytest.mark.parametrize("step", STEPS)


# --- somebody leaves ---------------------------------------------------------------------------------------------------------


@pytest.mark.attack("tunnels that come and go by the hundred, ended at every step", expect="bound", topic="resources")
@each_step
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_may_leave_at_any_step_and_nothing_stays_open(
    step: Callable[[], contextlib.AbstractAsyncContextManager[Halfway]], how: str
) -> None:
    """Sockets, pipes and tasks go with it, and the log has its one line."""
    await _settled()
    before = open_descriptors()
    async with step() as halfway:
        if how == "reset":
            reset(halfway.sock)
        halfway.sock.close()
        halfway.go_on()
        if step is not inside_flight:
            await halfway.proxy.connection()
            async with asyncio.timeout(10):
                await halfway.proxy.server._proxy.live.wait_empty()
    await _settled()
    assert open_descriptors() == before


@each_step
async def test_the_proxy_may_be_stopped_at_any_step_and_nothing_stays_open(
    step: Callable[[], contextlib.AbstractAsyncContextManager[Halfway]],
) -> None:
    """Every wait can be cancelled; the client is cut or told, and not left waiting."""
    await _settled()
    before = open_descriptors()
    async with step() as halfway:
        async with asyncio.timeout(10):
            await halfway.proxy.server.stop()
        with contextlib.suppress(ConnectionResetError):
            await asyncio.to_thread(read_to_end, halfway.sock)
        assert len(halfway.proxy.connections) == 1
        assert halfway.proxy.connections[0]["code"] in {"draining", None}
        halfway.go_on()
    await _settled()
    assert open_descriptors() == before


async def _settled() -> None:
    """Let both event loops close what was closed in the last round."""
    for _ in range(3):
        await asyncio.sleep(0.001)


# --- a reload ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"pins": [SECOND.pin]}, "pin_mismatch"),
        ({"connect": "intercept", "tls13": None}, "host_not_listed"),
        ({"min_tls": "1.3"}, "host_not_listed"),
        ({"pins": [SECOND.pin, LEAF.pin]}, None),
        ({}, None),
    ],
    ids=["other pins", "other way", "other version", "more pins", "nothing"],
)
async def test_an_open_tunnel_lives_on_only_if_the_new_table_would_let_it_begin(change: dict[str, Any], code: str | None) -> None:
    """What it rests on is held against the new rule: the chain of its own wire."""
    async with tunnelling() as stage, _open(stage) as (sock, client):
        stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port, **change),)))
        if code is None:
            assert await asyncio.to_thread(client.finish, sock, "/again") == b"GET /again 0\n"
            return
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(sock.recv, 1)
        assert (await stage.proxy.connection())["code"] == code


async def test_the_chain_of_the_wire_and_not_that_of_the_preflight_is_held_against_new_pins() -> None:
    """Two servers behind one address: the tunnel leads to the second, the preflight found the first."""
    contexts = [origin_context(leaf, newest=TLS12) for leaf in (LEAF, SECOND, SECOND)]
    for kept, goes_on in ((SECOND, True), (LEAF, False)):
        client = HandClient(client_context(TLS12))
        async with (
            running_origin(lambda number: contexts[min(number, 2)]) as origin,
            running_proxy(tunnel_rule(origin.port, pins=[LEAF.pin, SECOND.pin])) as proxy,
        ):
            with await asyncio.to_thread(open_tunnel, proxy) as sock:
                sock.sendall(client.hello)
                assert await asyncio.to_thread(client.finish, sock) == b"GET / 0\n"
                proxy.server.swap(PolicyTable((tunnel_rule(origin.port, pins=[kept.pin]),)))
                if goes_on:
                    assert await asyncio.to_thread(client.finish, sock) == b"GET / 0\n"
                else:
                    with pytest.raises(ConnectionResetError):
                        await asyncio.to_thread(sock.recv, 1)


@pytest.mark.attack(
    "pins are changed between a preflight and the verdict on the wire",
    expect="pin_mismatch",
    topic="faults",
    motive="CVE-2022-21654",
)
async def test_a_reload_between_the_preflight_and_the_verdict_counts() -> None:
    """The rule that let the tunnel begin is gone by the time it is verified: not one byte of data passes."""
    holds = asyncio.Event()

    def hold(flight: bytes) -> bytes:
        holds.set()
        return flight

    async with tunnelling(edit=on_tunnel(hold)) as stage:
        with await asyncio.to_thread(open_tunnel, stage.proxy) as sock:
            stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port, pins=[SECOND.pin]),)))
            client = HandClient(client_context(TLS12))
            sock.sendall(client.hello)
            with pytest.raises((ConnectionResetError, EOFError, BrokenPipeError)):
                await asyncio.to_thread(client.finish, sock)
        assert holds.is_set()
        assert (await stage.proxy.connection())["code"] == "pin_mismatch"
        await stage.origin.quiet()
        assert stage.origin.received == b""


async def test_an_evicted_tunnel_has_its_grace() -> None:
    """`eviction_grace`: time to finish what is in flight."""
    async with tunnelling(eviction_grace_seconds=0.3) as stage, _open(stage) as (sock, client):
        stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port, pins=[SECOND.pin]),)))
        assert await asyncio.to_thread(client.finish, sock, "/last") == b"GET /last 0\n"
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(sock.recv, 1)


@pytest.mark.parametrize(
    ("listed", "unlisted", "stays"),
    [("other.example.test", "allow", True), (HOST, "allow", False), ("other.example.test", "deny", False)],
    ids=["another is listed", "its name is listed", "nobody is allowed"],
)
async def test_a_blind_tunnel_ends_when_a_table_knows_better(listed: str, unlisted: Unlisted, *, stays: bool) -> None:
    """It was let in as nobody's; what its ClientHello named may be somebody's by now."""
    async with (
        running_origin(origin_context()) as origin,
        running_proxy(unlisted="allow", limits=Limits(allow_private=True)) as proxy,
    ):
        client = HandClient(client_context())
        with await asyncio.to_thread(open_tunnel, proxy, ADDRESS, origin.port) as sock:
            sock.sendall(client.hello)
            assert await asyncio.to_thread(client.finish, sock) == b"GET / 0\n"
            proxy.server.swap(PolicyTable((tunnel_rule(None, host=listed),), unlisted))
            if stays:
                assert await asyncio.to_thread(client.finish, sock) == b"GET / 0\n"
            else:
                with pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(sock.recv, 1)
                assert (await proxy.connection())["code"] == "host_not_listed"


# --- the end of the proxy ----------------------------------------------------------------------------------------------------


async def test_a_drain_lets_an_open_tunnel_finish() -> None:
    """A tunnel has no request to stop at: it goes on while the drain does, and its end is the drain's."""
    async with tunnelling(limits=Limits(drain_seconds=10)) as stage:
        async with _open(stage) as (sock, client):
            draining = asyncio.create_task(stage.proxy.server.drain())
            await asyncio.sleep(0)
            assert stage.proxy.server.is_draining
            assert await asyncio.to_thread(client.finish, sock, "/late") == b"GET /late 0\n"
        async with asyncio.timeout(5):
            await draining
        assert (await stage.proxy.connection())["code"] is None


async def test_a_drain_ends_an_open_tunnel_at_its_deadline() -> None:
    """`limits.drain_seconds`; the client sees a cut."""
    async with tunnelling(limits=Limits(drain_seconds=0.2)) as stage, _open(stage) as (sock, _):
        async with asyncio.timeout(5):
            await stage.proxy.server.drain()
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(sock.recv, 1)


async def test_a_server_that_cuts_an_open_tunnel_is_the_one_who_is_named() -> None:
    """The client sees the cut as a cut."""
    ready = asyncio.Event()

    async def cut(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ready.wait()
        if (sock := writer.get_extra_info("socket")) is not None:  # the preflight's is closed by then
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            writer.transport.abort()

    async with (
        running_origin(origin_context(newest=TLS12), cut) as origin,
        running_proxy(tunnel_rule(origin.port)) as proxy,
    ):

        def talk() -> None:
            context = client_context(TLS12)
            with (
                open_tunnel(proxy) as sock,
                context.wrap_socket(sock, server_hostname=HOST, suppress_ragged_eofs=False) as tls,
            ):
                loop.call_soon_threadsafe(ready.set)
                tls.recv(1)

        loop = asyncio.get_running_loop()
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            await asyncio.to_thread(talk)
        assert (await proxy.connection())["code"] == "upstream_closed"


@pytest.mark.attack("tunnels that come and go by the hundred, ended at every step", expect="bound", topic="resources")
async def test_two_hundred_tunnels_come_and_go_and_leave_nothing() -> None:
    """Descriptors are used again at once here; none is watched for somebody who is gone."""
    await _settled()
    before = open_descriptors()
    async with tunnelling(rule={"tls13": "preflight"}) as stage:
        hello = client_hello(client_context(TLS12), "other.example.test")

        async def one(number: int) -> None:
            if number % 2:
                await hear(stage.proxy, hello)
            else:
                assert (await fetch(stage.proxy, client_context(TLS12))).body == b"GET / 0\n"

        for start in range(0, 200, 20):
            await asyncio.gather(*(one(number) for number in range(start, start + 20)))
        await stage.proxy.connection(count=200)
        assert sorted({line["code"] or "" for line in stage.proxy.connections}) == ["", "sni_mismatch"]
    await _settled()
    assert open_descriptors() <= before
