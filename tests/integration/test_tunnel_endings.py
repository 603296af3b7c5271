"""How tunnels end: by who leaves at which step, by a drain; with nothing left open behind them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from pinproxy.limits import Limits
from tests.harness.clients import connect, connect_head, open_tunnel, read_to_end
from tests.harness.origin import running_origin
from tests.harness.running import HOST, RunningProxy, running_proxy
from tests.harness.socket_pairs import reset
from tests.harness.tunnelling import (
    TLS12,
    client_context,
    client_hello,
    fetch,
    hear,
    on_tunnel,
    open_descriptors,
    opened,
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
    async with tunnelling() as stage, opened(stage) as (sock, _):
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


# --- the end of the proxy ----------------------------------------------------------------------------------------------------


async def test_a_drain_lets_an_open_tunnel_finish() -> None:
    """A tunnel has no request to stop at: it goes on while the drain does, and its end is the drain's."""
    async with tunnelling(limits=Limits(drain_seconds=10)) as stage:
        async with opened(stage) as (sock, client):
            draining = asyncio.create_task(stage.proxy.server.drain())
            await asyncio.sleep(0)
            assert stage.proxy.server.is_draining
            assert await asyncio.to_thread(client.finish, sock, "/late") == b"GET /late 0\n"
        async with asyncio.timeout(5):
            await draining
        assert (await stage.proxy.connection())["code"] is None


async def test_a_drain_ends_an_open_tunnel_at_its_deadline() -> None:
    """`limits.drain_seconds`; the client sees a cut."""
    async with tunnelling(limits=Limits(drain_seconds=0.2)) as stage, opened(stage) as (sock, _):
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
