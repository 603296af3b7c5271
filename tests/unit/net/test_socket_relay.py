"""Two plain sockets joined: every byte, every end and every cut, through the kernel's pipe and through our own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from pinproxy.errors import TlsHandshakeFailed
from pinproxy.limits import Limits
from pinproxy.net.deadlines import TICK_SECONDS, Deadlines
from pinproxy.net.flow import Tap
from pinproxy.net.pipe import BufferPipe, KernelPipe, Pipe, PipePool
from pinproxy.net.socket_relay import SocketRelay
from tests.harness.socket_pairs import reset, socket_pair
from tests.harness.tunnelling import open_descriptors

each_kind = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(KernelPipe, marks=pytest.mark.skipif(not hasattr(os, "splice"), reason="the kernel has no splice(2)")),
        BufferPipe,
    ],
)
each_side = pytest.mark.parametrize("side", ["client", "origin"])
LARGE = 64 * 2**20


@dataclass
class Joined:
    """A relay with the far end of either side."""

    relay: SocketRelay
    client: socket.socket
    origin: socket.socket
    ours: tuple[socket.socket, socket.socket]

    def far(self, side: str) -> socket.socket:
        """Choose a far end by name."""
        return self.client if side == "client" else self.origin

    async def end(self) -> BaseException | None:
        """Wait for the end."""
        async with asyncio.timeout(10):
            return await self.relay.done


@contextlib.asynccontextmanager
async def joined(
    kind: Callable[[], Pipe] = BufferPipe,
    *,
    limits: Limits | None = None,
    tap_up: Tap | None = None,
    tap_down: Tap | None = None,
    is_started: bool = True,
) -> AsyncIterator[Joined]:
    """Join two connections over loopback."""
    deadlines, pipes = Deadlines(), PipePool(kind)
    with socket_pair(is_tls=False) as (to_client, client), socket_pair(is_tls=False) as (to_origin, origin):
        relay = SocketRelay(to_client, to_origin, limits or Limits(), deadlines, pipes, tap_up=tap_up, tap_down=tap_down)
        if is_started:
            relay.start()
        try:
            yield Joined(relay, client, origin, (to_client, to_origin))
        finally:
            relay.abort()
            pipes.close()
            deadlines.close()


async def in_threads(*calls: Callable[[], object]) -> list[object]:
    """Run blocking calls at the same time."""
    return list(await asyncio.gather(*(asyncio.to_thread(call) for call in calls)))


def pour(sock: socket.socket, seed: bytes, size: int) -> bytes:
    """Send bytes and the end of them; returns their digest."""
    digest, piece = hashlib.sha256(), hashlib.shake_128(seed).digest(2**20)
    for _ in range(size // len(piece)):
        digest.update(piece)
        sock.sendall(piece)
    sock.shutdown(socket.SHUT_WR)
    return digest.digest()


def drink(sock: socket.socket) -> bytes:
    """Read to the end; returns the digest."""
    digest = hashlib.sha256()
    while data := sock.recv(2**20):
        digest.update(data)
    return digest.digest()


# --- bytes -------------------------------------------------------------------------------------------------------------------


@each_kind
async def test_large_streams_cross_each_other_byte_for_byte(kind: type[Pipe]) -> None:
    """64 MiB each way at the same time, and each end passed on as an end."""
    async with joined(kind) as both:
        up, down, up_got, down_got = await in_threads(
            lambda: pour(both.client, b"up", LARGE),
            lambda: pour(both.origin, b"down", LARGE),
            lambda: drink(both.origin),
            lambda: drink(both.client),
        )
        assert (up_got, down_got) == (up, down)
        assert await both.end() is None
        assert (both.relay.bytes_up, both.relay.bytes_down) == (LARGE, LARGE)


@pytest.mark.attack(
    "a slow reader and a fast writer, in either direction and in each mode",
    expect="bound",
    topic="resources",
    motive="asyncio's drain(); Envoy's watermarks",
)
@each_kind
@each_side
async def test_a_slow_reader_makes_its_writer_wait_and_loses_nothing(kind: type[Pipe], side: str) -> None:
    """What is in flight is two sockets' buffers and one pipe, whatever a peer does; nothing is kept in Python."""
    async with joined(kind) as both:
        writer, reader = both.far(side), both.far("origin" if side == "client" else "client")
        writer.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
        sent, stalled, piece = 0, 0, b"x" * 65536
        while stalled < 20:
            try:
                sent += writer.send(piece)
                stalled = 0
            except BlockingIOError:
                stalled += 1
                await asyncio.sleep(0.005)
        flow = both.relay._up if side == "client" else both.relay._down
        assert flow._pipe is not None
        assert 0 < flow._pipe.held_bytes <= 256 * 1024
        assert not flow._is_reading
        writer.settimeout(10)
        writer.shutdown(socket.SHUT_WR)

        def count() -> int:
            total = 0
            while data := reader.recv(2**20):
                total += len(data)
            return total

        assert await asyncio.to_thread(count) == sent
        assert flow.moved_bytes == sent
        assert flow._pipe is None


@each_kind
async def test_an_idle_relay_holds_two_descriptors_and_no_pipe(kind: type[Pipe]) -> None:
    """Ten thousand idle tunnels are twenty thousand descriptors, not sixty."""
    async with joined(kind) as both:
        before = open_descriptors()
        both.client.sendall(b"hello")
        assert await asyncio.to_thread(both.origin.recv, 100) == b"hello"
        both.origin.sendall(b"world")
        assert await asyncio.to_thread(both.client.recv, 100) == b"world"
        assert (both.relay._up._pipe, both.relay._down._pipe) == (None, None)
        # The one pipe stays in the pool, for the next who has bytes in flight.
        assert open_descriptors() - before <= (4 if kind is KernelPipe else 0)


# --- ends --------------------------------------------------------------------------------------------------------------------


@pytest.mark.attack("a half-close of either side", expect="serve", topic="faults", motive="RFC 9293 §3.6")
@each_kind
@each_side
async def test_an_end_of_one_side_leaves_the_other_direction_open(kind: type[Pipe], side: str) -> None:
    """Half-close: a client may end its request and wait for the answer, a server its answer and go on reading."""
    async with joined(kind) as both:
        ending, other = both.far(side), both.far("origin" if side == "client" else "client")
        ending.sendall(b"last words")
        ending.shutdown(socket.SHUT_WR)
        assert await asyncio.to_thread(drink, other) == hashlib.sha256(b"last words").digest()
        assert both.relay.has_client_ended is (side == "client")
        other.sendall(b"still here")
        assert await asyncio.to_thread(ending.recv, 100) == b"still here"
        assert not both.relay.done.done()
        other.shutdown(socket.SHUT_WR)
        assert await both.end() is None
        assert [sock.fileno() for sock in both.ours] == [-1, -1]


@each_kind
@each_side
async def test_a_reset_is_passed_on_as_a_reset(kind: type[Pipe], side: str) -> None:
    """A cut is no end: a truncated answer must look truncated. Whose it was is told."""
    async with joined(kind) as both:
        other = both.far("origin" if side == "client" else "client")
        reset(both.far(side))
        error = await both.end()
        assert isinstance(error, ConnectionResetError) is (side == "origin")
        with pytest.raises(ConnectionResetError):
            other.recv(1)


@pytest.mark.attack(
    "a reset behind the last bytes, overlooked or overtaking them", expect="cut", topic="faults", motive="RFC 9293 §3.10.7"
)
@each_kind
async def test_a_reset_behind_bytes_is_not_overlooked(kind: type[Pipe], monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn ends before the reset is read, and libuv tells of it once: together with the bytes before it."""
    monkeypatch.setattr("pinproxy.net.flow._MOVES_PER_WAKE", 1)
    async with joined(kind, is_started=False) as both:
        both.origin.sendall(b"last words")
        reset(both.origin)
        both.relay.start()
        assert await asyncio.to_thread(both.client.recv, 100) == b"last words"
        assert isinstance(await both.end(), ConnectionResetError)


@each_kind
async def test_what_a_server_said_before_it_hung_up_reaches_a_client_that_is_still_sending(kind: type[Pipe]) -> None:
    """An early answer: the upload fails on the server's reset, and its last words are read all the same."""
    async with joined(kind, is_started=False) as both:
        both.client.sendall(b"upload")
        both.origin.sendall(b"413 too large")
        both.origin.shutdown(socket.SHUT_WR)
        # The server is gone before most of the upload arrives, so that writing it is what fails first.
        both.relay._up.resume()
        await asyncio.to_thread(both.origin.recv, 100)
        both.origin.close()
        await asyncio.to_thread(_send_until_reset, both.client)
        both.relay.start()
        assert await asyncio.to_thread(both.client.recv, 100) == b"413 too large"
        both.client.close()
        await both.end()


def _send_until_reset(sock: socket.socket) -> None:
    for _ in range(20):
        sock.sendall(b"more" * 1000)


async def test_an_abort_cuts_both_sides_once() -> None:
    """A second is nothing, and neither is one after the end."""
    async with joined() as both:
        both.relay.abort()
        both.relay.abort()
        assert await both.end() is None
        for far in (both.client, both.origin):
            with pytest.raises(ConnectionResetError):
                far.recv(1)


# --- time --------------------------------------------------------------------------------------------------------------------


@pytest.mark.attack("a tunnel in which nothing moves any more", expect="cut", topic="resources")
async def test_silence_both_ways_ends_it_and_a_byte_now_and_then_does_not() -> None:
    """`limits.idle_seconds`."""
    async with joined(limits=Limits(idle_seconds=2 * TICK_SECONDS)) as both:
        for _ in range(4):
            both.client.sendall(b"x")
            assert await asyncio.to_thread(both.origin.recv, 1) == b"x"
            await asyncio.sleep(TICK_SECONDS)
        assert not both.relay.done.done()
        assert await both.end() is None
        with pytest.raises(ConnectionResetError):
            both.origin.recv(1)


@pytest.mark.attack("a peer that never closes its half", expect="cut", topic="resources", motive="HAProxy's timeout client-fin")
async def test_silence_behind_one_end_is_given_less_time() -> None:
    """`limits.half_closed_seconds`: a peer that never answers an end must not keep it for an hour."""
    async with joined(limits=Limits(half_closed_seconds=0.1)) as both:
        both.client.shutdown(socket.SHUT_WR)
        assert await asyncio.to_thread(both.origin.recv, 1) == b""
        assert await both.end() is None


# --- taps ------------------------------------------------------------------------------------------------------------------


@each_kind
async def test_a_tap_sees_its_direction_until_it_has_seen_enough(kind: type[Pipe]) -> None:
    """And what it saw goes on as it was, with the rest behind it."""
    seen = bytearray()

    def tap(data: bytes) -> bool:
        seen.extend(data)
        return len(seen) < 10_000

    async with joined(kind, tap_down=tap) as both:
        sent, got, _ = await in_threads(
            lambda: pour(both.origin, b"down", 2**22),
            lambda: drink(both.client),
            lambda: both.client.sendall(b"not seen"),
        )
        assert got == sent
        assert 10_000 <= len(seen) < 20_000
        assert hashlib.shake_128(b"down").digest(2**20).startswith(bytes(seen))


async def test_what_a_tap_has_against_it_cuts_the_relay_before_the_bytes_go_on() -> None:
    """The reason is told as it is."""

    def tap(data: bytes) -> bool:
        raise TlsHandshakeFailed(f"{len(data)} bytes that are none")

    async with joined(tap_down=tap) as both:
        both.origin.sendall(b"forged")
        error = await both.end()
        assert isinstance(error, TlsHandshakeFailed)
        with pytest.raises(ConnectionResetError):
            both.client.recv(1)


# --- whose the sockets are -------------------------------------------------------------------------------------------------


async def test_before_the_start_the_sockets_stay_the_callers_whatever_happens() -> None:
    """Somebody looks at the client's first bytes meanwhile: a socket closed under him is a descriptor that another one gets."""
    async with joined(is_started=False) as both:
        both.relay.start_down()
        both.origin.sendall(b"220 ready\r\n")
        assert await asyncio.to_thread(both.client.recv, 100) == b"220 ready\r\n"
        reset(both.origin)
        assert isinstance(await both.end(), ConnectionResetError)
        assert all(sock.fileno() >= 0 for sock in both.ours)
        both.relay.start()
        assert [sock.fileno() for sock in both.ours] == [-1, -1]
        with pytest.raises(ConnectionResetError):
            both.client.recv(1)


async def test_a_release_leaves_two_sockets_that_nobody_watches() -> None:
    """The caller may go on with them."""
    async with joined(is_started=False) as both:
        both.relay.start_down()
        both.relay.release()
        both.origin.sendall(b"for whoever comes")
        await asyncio.sleep(0.02)
        assert both.ours[1].recv(100) == b"for whoever comes"
        assert both.relay.bytes_down == 0
