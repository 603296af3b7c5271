"""SIGTERM: what is in flight finishes, what is idle ends, nothing new begins, and nothing is left behind."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from pinproxy.limits import Limits
from pinproxy.policy.table import PolicyTable
from tests.harness.clients import (
    Answer,
    connect,
    connect_head,
    get_head,
    open_intercepted,
    originate,
    read_answer,
    read_to_end,
)
from tests.harness.faults import our_tasks
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy
from tests.harness.scene import origin_and_proxy

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
CONTEXT = server_context(LEAF)
PINS, TRUST = [LEAF.pin], ROOT.anchors
in_thread = asyncio.to_thread


class SlowOrigin:
    """Answers when it is told to, and before that sends the beginning of its answer, or nothing."""

    def __init__(self, at_once: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst") -> None:
        self.at_once = at_once
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after another."""
        while await reader.readuntil(b"\r\n\r\n"):
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst-last"
            writer.write(self.at_once)
            self.asked.set()
            await self.may_answer.wait()
            writer.write(answer.removeprefix(self.at_once))


async def still_listens(proxy: RunningProxy) -> bool:
    """Tell whether a new client gets in."""
    try:
        (await in_thread(connect, proxy)).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.attack("SIGTERM with responses and tunnels in flight", expect="serve", topic="faults", motive="Envoy's drain")
@pytest.mark.parametrize("has_begun", [True, False], ids=["its body", "its head"])
async def test_a_response_in_flight_completes_and_is_the_last_of_its_connection(*, has_begun: bool) -> None:
    """The client asked for keep-alive and gets its whole answer, is told that it is the last, and gets an end in good order."""
    slow = SlowOrigin() if has_begun else SlowOrigin(b"")
    async with origin_and_proxy(CONTEXT, PINS, TRUST, slow) as (origin, proxy):

        def talk() -> tuple[Answer, bytes]:
            with connect(proxy) as client:
                client.sendall(get_head(f"http://{HOST}/"))
                return read_answer(client), read_to_end(client)

        talking = asyncio.create_task(in_thread(talk))
        await slow.asked.wait()
        draining = asyncio.create_task(proxy.server.drain())
        await asyncio.sleep(0)
        assert proxy.server.is_draining
        assert not await still_listens(proxy)
        slow.may_answer.set()
        answer, rest = await talking
        assert (answer.status, answer.body, rest) == (200, b"first-last", b"")
        # What was said before the drain cannot be taken back.
        assert has_begun or answer.fields["connection"] == "close"
        await draining
        await origin.quiet()
        assert (await proxy.connection())["code"] is None
        assert our_tasks() == []


async def test_a_request_without_a_drain_leaves_its_connection_open() -> None:
    """The twin: a second request goes over the same connection."""
    slow = SlowOrigin()
    slow.may_answer.set()
    async with origin_and_proxy(CONTEXT, PINS, TRUST, slow) as (_origin, proxy):

        def talk() -> list[bytes]:
            with connect(proxy) as client:
                bodies = []
                for _ in range(2):
                    client.sendall(get_head(f"http://{HOST}/"))
                    bodies.append(read_answer(client).body)
                return bodies

        assert await in_thread(talk) == [b"first-last"] * 2
        assert await still_listens(proxy)


@pytest.mark.attack("a request that comes while the proxy drains", expect="draining", topic="faults")
async def test_a_request_half_received_is_told_why_it_goes_no_further() -> None:
    """An end without a word would look like a fault, and be tried again by some clients at once; 503 says `draining`."""
    async with origin_and_proxy(CONTEXT, PINS, TRUST) as (origin, proxy):
        with await in_thread(connect, proxy) as client:
            # Behind a whole request: once that one is answered, the half has been read as well.
            client.sendall(get_head(f"http://{HOST}/") + get_head(f"http://{HOST}/half")[:-2])
            assert (await in_thread(read_answer, client)).status == 200
            async with asyncio.timeout(5):
                draining = asyncio.create_task(proxy.server.drain())
                answer = await in_thread(read_answer, client)
                client.close()
                await draining
        assert (answer.status, answer.code) == (503, "draining")
        assert [line["code"] for line in proxy.connections] == [None, "draining"]
        await origin.quiet()
        assert b"half" not in origin.received


async def test_idle_connections_on_both_sides_end_at_once() -> None:
    """A kept-alive client and a pooled upstream wait for nothing, so nothing waits for them."""
    async with origin_and_proxy(CONTEXT, PINS, TRUST) as (origin, proxy):
        with await in_thread(connect, proxy) as client:
            client.sendall(get_head(f"http://{HOST}/"))
            assert (await in_thread(read_answer, client)).status == 200
            async with asyncio.timeout(5):
                await proxy.server.drain()
            assert await in_thread(read_to_end, client) == b""
        await origin.quiet()
        assert our_tasks() == []


@pytest.mark.parametrize("sent_before", [1, 10], ids=["its first byte", "half of it"])
async def test_a_connect_that_is_whole_only_after_the_drain_began_is_told_so(sent_before: int) -> None:
    """A client that was connected already, and had sent only a part of its request, gets a 503 it can read."""
    async with origin_and_proxy(CONTEXT, PINS, TRUST) as (origin, proxy):
        with await in_thread(connect, proxy) as client:
            client.sendall(connect_head()[:sent_before])
            await _until_active(proxy)
            draining = asyncio.create_task(proxy.server.drain())
            await asyncio.sleep(0)
            client.sendall(connect_head()[sent_before:])
            answer = await in_thread(read_answer, client)
            assert (answer.status, answer.code) == (503, "draining")
            assert answer.fields["retry-after"]
            assert await in_thread(read_to_end, client) == b""
        await draining
        assert origin.connections == 0


async def _until_active(proxy: RunningProxy) -> None:
    """Wait until the proxy has accepted a client, which it tells nobody but the metrics."""
    async with asyncio.timeout(5):
        while not proxy.metrics.active:  # noqa: ASYNC110 - a plain counter has no event to wait for
            await asyncio.sleep(0.001)


@pytest.mark.attack("a tunnel that does not end for a drain", expect="cut", topic="faults")
async def test_tunnels_may_finish_until_the_deadline_and_are_cut_then() -> None:
    """`limits.drain_seconds`: a tunnel has no request boundary to stop at."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    async with origin_and_proxy(CONTEXT, PINS, TRUST, echo, limits=Limits(drain_seconds=0.3)) as (origin, proxy):
        with await in_thread(open_intercepted, proxy) as tls:
            draining = asyncio.create_task(proxy.server.drain())
            await asyncio.sleep(0)
            await in_thread(tls.sendall, b"still here")
            assert await in_thread(tls.recv, 10) == b"still here"
            assert not draining.done()
            with pytest.raises(ssl.SSLEOFError):
                await in_thread(tls.recv, 1)
        async with asyncio.timeout(5):
            await draining
        await origin.quiet()
        assert (await proxy.connection())["bytes_up"] == 10
        assert (proxy.metrics.active, our_tasks()) == (0, [])


async def test_a_drain_ends_with_its_last_tunnel() -> None:
    """The twin: the tunnel ends by itself, long before the deadline."""
    async with origin_and_proxy(CONTEXT, PINS, TRUST) as (_origin, proxy):
        with await in_thread(open_intercepted, proxy) as tls:
            draining = asyncio.create_task(proxy.server.drain())
            await asyncio.sleep(0)
            await in_thread(tls.unwrap)
        async with asyncio.timeout(5):
            await draining
        assert (await proxy.connection())["code"] is None


@pytest.mark.parametrize("at", ["dialling", "shaking hands", "reading a head", "after the 200", "carrying", "between requests"])
async def test_stop_ends_everything_at_once_wherever_it_is(at: str) -> None:
    """No task, no socket and no slot is left, and nobody waits for a peer that says nothing."""
    get = get_head(f"http://{HOST}/")
    first_words = {"dialling": get, "between requests": get, "reading a head": b"CONNECT api"}
    gate = asyncio.Event()
    if at not in ("dialling", "shaking hands"):
        gate.set()
    async with origin_and_proxy(CONTEXT, PINS, TRUST, gate=gate) as (origin, proxy):
        client: socket.socket
        if at == "carrying":
            client = await in_thread(open_intercepted, proxy)
        else:
            client = await in_thread(connect, proxy)
            client.sendall(first_words.get(at, connect_head()))
        if at in ("dialling", "shaking hands"):
            await origin.accepted()
        elif at in ("after the 200", "between requests"):
            assert (await in_thread(read_answer, client)).status == 200
        await _until_active(proxy)
        async with asyncio.timeout(5):
            await proxy.server.stop()
        assert (proxy.metrics.active, our_tasks()) == (0, [])
        with client, pytest.raises((OSError, EOFError)):
            await in_thread(_hear_the_end, client)


def _hear_the_end(client: socket.socket) -> None:
    """Raise, whether the connection was cut or has ended."""
    if client.recv(65536):
        client.recv(1)
    raise EOFError


async def test_a_stop_while_a_reload_is_denying_with_grace_leaves_no_timer_behind() -> None:
    """What the grace waits for is gone; the drain does not wait for the grace."""
    async with origin_and_proxy(CONTEXT, PINS, TRUST, eviction_grace_seconds=3600.0) as (_origin, proxy):
        with await in_thread(open_intercepted, proxy):
            proxy.server.swap(PolicyTable(()))
            async with asyncio.timeout(5):
                await proxy.server.stop()
        assert (await proxy.connection())["code"] == "draining"


async def test_the_proxy_serves_before_it_is_stopped() -> None:
    """The twin of them all."""
    async with origin_and_proxy(CONTEXT, PINS, TRUST) as (_origin, proxy):
        assert (await in_thread(originate, proxy)).status == 200
        assert proxy.server.is_listening
