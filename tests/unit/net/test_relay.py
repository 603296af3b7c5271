"""Bytes between two real connections: both ways, with their ends, and never more of them held than the buffer allows."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from pinproxy.limits import Limits
from pinproxy.net.deadlines import Deadlines
from pinproxy.net.relay import Relay
from pinproxy.net.transport import READ_BYTES, SocketTransport
from tests.harness.origin import body_of
from tests.harness.socket_pairs import read_exactly, read_to_end, reset, socket_pair

BUFFER_BYTES = 64 * 1024
LARGE = 8 * 2**20  # more than two sockets hold
CUT = (ssl.SSLEOFError, ConnectionResetError)


@dataclass
class Joined:
    """A relay with the far end of either side."""

    relay: Relay
    client: socket.socket
    origin: socket.socket

    async def end(self) -> BaseException | None:
        """Wait for the end."""
        async with asyncio.timeout(10):
            return await self.relay.done


@contextlib.asynccontextmanager
async def joined(*, is_tls: bool = True, limits: Limits | None = None) -> AsyncIterator[Joined]:
    """Join two connections; `is_tls` is the origin's, the client's is plain."""
    limits = limits or Limits(buffer_bytes=BUFFER_BYTES)
    deadlines = Deadlines()
    with socket_pair(is_tls=False) as (to_client, client), socket_pair(is_tls=is_tls) as (to_origin, origin):
        relay = Relay(limits, deadlines)
        SocketTransport(to_client, relay.client, BUFFER_BYTES)
        SocketTransport(to_origin, relay.upstream, BUFFER_BYTES)
        try:
            yield Joined(relay, client, origin)
        finally:
            relay.abort()
            await relay.done
            deadlines.close()


async def until(is_so: Callable[[], object]) -> None:
    """Wait for something that nobody is told of."""
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - as said
            await asyncio.sleep(0)


def end_writing(sock: socket.socket) -> None:
    """End one direction; of TLS with a close_notify, and wait for the answer to it."""
    if isinstance(sock, ssl.SSLSocket):
        sock.unwrap()
    else:
        sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("is_tls", [True, False])
async def test_bytes_pass_both_ways_and_are_counted(*, is_tls: bool) -> None:
    """As they are."""
    up, down = body_of(LARGE), body_of(300_000)
    async with joined(is_tls=is_tls) as both:
        sending = asyncio.create_task(asyncio.to_thread(both.client.sendall, up))
        assert await asyncio.to_thread(read_exactly, both.origin, len(up)) == up
        await sending
        await asyncio.to_thread(both.origin.sendall, down)
        assert await asyncio.to_thread(read_exactly, both.client, len(down)) == down
        assert (both.relay.bytes_up, both.relay.bytes_down) == (len(up), len(down))


@pytest.mark.attack("a half-close of either side", expect="serve", topic="faults", motive="RFC 9293 §3.6")
@pytest.mark.parametrize("is_tls", [True, False])
async def test_the_end_of_one_direction_leaves_the_other_open(*, is_tls: bool) -> None:
    """The answer to what was asked before the end still comes through."""
    async with joined(is_tls=is_tls) as both:
        both.client.sendall(b"question")
        both.client.shutdown(socket.SHUT_WR)
        assert await asyncio.to_thread(read_to_end, both.origin) == b"question"
        assert not both.relay.done.done()
        await asyncio.to_thread(both.origin.sendall, b"answer")
        await asyncio.to_thread(end_writing, both.origin)
        assert await asyncio.to_thread(read_to_end, both.client) == b"answer"
        assert await both.end() is None


async def test_the_origins_end_leaves_the_clients_direction_open() -> None:
    """The twin, seen from the other side."""
    async with joined(is_tls=False) as both:
        both.origin.sendall(b"greeting")
        both.origin.shutdown(socket.SHUT_WR)
        assert await asyncio.to_thread(read_to_end, both.client) == b"greeting"
        both.client.sendall(b"farewell")
        both.client.shutdown(socket.SHUT_WR)
        assert await asyncio.to_thread(read_to_end, both.origin) == b"farewell"
        assert await both.end() is None


@pytest.mark.attack(
    "a reset behind the last bytes, overlooked or overtaking them", expect="cut", topic="faults", motive="RFC 9293 §3.10.7"
)
@pytest.mark.parametrize("is_tls", [True, False])
async def test_a_cut_is_passed_on_as_a_cut_behind_what_came_before(*, is_tls: bool) -> None:
    """The client reads all that arrived, and learns that it is not all there was."""
    async with joined(is_tls=is_tls) as both:
        await asyncio.to_thread(both.origin.sendall, b"half an answer")
        assert await asyncio.to_thread(read_exactly, both.client, 14) == b"half an answer"
        if is_tls:
            socket.socket.shutdown(both.origin, socket.SHUT_WR)  # without close_notify
        else:
            reset(both.origin)
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(read_to_end, both.client)
        assert isinstance(await both.end(), OSError)


async def test_a_client_that_is_gone_cuts_the_origins_connection() -> None:
    """Without close_notify: half of what it wanted to say is no whole."""
    async with joined() as both:
        both.client.sendall(b"half")
        assert await asyncio.to_thread(read_exactly, both.origin, 4) == b"half"
        reset(both.client)
        with pytest.raises(CUT):
            await asyncio.to_thread(read_to_end, both.origin)
        assert await both.end() is None


@pytest.mark.parametrize("is_cut", [True, False])
async def test_an_end_does_not_overtake_what_a_slow_reader_has_not_taken(*, is_cut: bool) -> None:
    """A cut, too, comes behind the bytes before it."""
    sent = body_of(BUFFER_BYTES)
    async with joined() as both:
        filler = body_of(LARGE)
        sending = asyncio.create_task(asyncio.to_thread(both.origin.sendall, filler + sent))
        await until(lambda: both.relay.client.held_bytes)
        reading = asyncio.create_task(asyncio.to_thread(read_exactly, both.client, len(filler) + len(sent)))
        await sending
        if is_cut:
            socket.socket.shutdown(both.origin, socket.SHUT_WR)
        else:
            _say_goodbye(both.origin)
        assert await reading == filler + sent


def _say_goodbye(sock: socket.socket) -> None:
    assert isinstance(sock, ssl.SSLSocket)
    sock.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
    with contextlib.suppress(ssl.SSLWantReadError):
        sock.unwrap()


@pytest.mark.attack(
    "a slow reader and a fast writer, in either direction and in each mode",
    expect="bound",
    topic="resources",
    motive="asyncio's drain(); Envoy's watermarks",
)
async def test_a_slow_reader_holds_up_the_writer() -> None:
    """What is held stays within the buffer and one read."""
    async with joined() as both:
        sending = asyncio.create_task(asyncio.to_thread(both.origin.sendall, body_of(LARGE)))
        transport = both.relay.upstream.transport
        assert transport is not None
        await until(lambda: not transport.is_reading())
        assert BUFFER_BYTES < both.relay.client.held_bytes <= BUFFER_BYTES + READ_BYTES
        assert await asyncio.to_thread(read_exactly, both.client, LARGE) == body_of(LARGE)
        await sending


@pytest.mark.attack("a tunnel in which nothing moves any more", expect="cut", topic="resources")
async def test_silence_ends_a_relay() -> None:
    """`limits.idle_seconds` without a byte either way; both ends are cut."""
    async with joined(limits=Limits(idle_seconds=0.05, buffer_bytes=BUFFER_BYTES)) as both:
        with pytest.raises(CUT):
            await asyncio.to_thread(read_to_end, both.client)
        with pytest.raises(CUT):
            await asyncio.to_thread(read_to_end, both.origin)
        assert await both.end() is None


@pytest.mark.attack("a peer that never closes its half", expect="cut", topic="resources", motive="HAProxy's timeout client-fin")
async def test_silence_behind_an_end_is_given_less_time() -> None:
    """`limits.half_closed_seconds`, where an ordinary silence may last longer."""
    async with joined(limits=Limits(half_closed_seconds=0.05, buffer_bytes=BUFFER_BYTES)) as both:
        both.client.shutdown(socket.SHUT_WR)
        assert await asyncio.to_thread(read_to_end, both.origin) == b""
        assert await both.end() is None


async def test_a_slow_reader_is_no_silence() -> None:
    """What leaves the buffer moves, though nothing new can come in."""
    async with joined(limits=Limits(idle_seconds=0.01, buffer_bytes=BUFFER_BYTES)) as both:
        relay = both.relay
        sending = asyncio.create_task(asyncio.to_thread(both.origin.sendall, body_of(LARGE)))
        await until(lambda: relay.client.held_bytes)
        time.sleep(0.02)  # noqa: ASYNC251 - the loop is not to move a byte meanwhile
        relay.expire()
        assert relay.client.transport is not None
        assert not relay.client.transport.is_closing()
        time.sleep(0.02)  # noqa: ASYNC251 - the same
        relay.expire()
        assert relay.client.transport.is_closing()
        with contextlib.suppress(OSError):
            await sending
