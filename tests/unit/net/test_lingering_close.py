"""Closing after a last word, over real sockets: the peer gets to read it, whatever the peer is at."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from pinproxy.net.lingering_close import LingeringClose
from pinproxy.net.transport import SocketTransport
from tests.harness.origin import body_of
from tests.harness.socket_pairs import Recorder, read_exactly, read_to_end, socket_pair

ANSWER = b"HTTP/1.1 413 Content Too Large\r\n\r\n"
LARGE = 8 * 2**20  # more than two sockets hold


class Farewell:
    """An answer written and a lingering close begun."""

    def __init__(self, ours: socket.socket, answer: bytes, linger_seconds: float) -> None:
        """Begin."""
        self.closed = asyncio.Event()
        self.recorder = Recorder(stays_open=True)
        self.transport = SocketTransport(ours, self.recorder, 64 * 1024)
        self.transport.write(answer)
        self._closing = LingeringClose(self.closed.set, linger_seconds)

    def begin(self) -> None:
        """Close."""
        self._closing.take_over(self.transport)

    async def is_over(self) -> None:
        """Wait for the owner to be told."""
        async with asyncio.timeout(10):
            await self.closed.wait()


async def test_an_answer_is_read_though_the_peer_is_still_sending() -> None:
    """What it sends is discarded, and no reset takes the answer away (RFC 9112 §9.6)."""
    with socket_pair(is_tls=False) as (ours, peer):
        farewell = Farewell(ours, ANSWER, linger_seconds=10)
        farewell.begin()
        await asyncio.to_thread(peer.sendall, body_of(LARGE))
        assert await asyncio.to_thread(read_to_end, peer) == ANSWER
        peer.close()
        await farewell.is_over()


async def test_an_immediate_close_ends_in_a_reset() -> None:
    """The twin: what the lingering is for."""
    with socket_pair(is_tls=False) as (ours, peer):
        farewell = Farewell(ours, ANSWER, linger_seconds=10)
        farewell.transport.pause_reading()
        peer.sendall(b"unread")
        farewell.transport.close()
        await farewell.recorder.end()
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(read_to_end, peer)


async def test_a_peer_that_has_ended_already_is_not_waited_for() -> None:
    """Both directions are over with the last byte."""
    with socket_pair(is_tls=False) as (ours, peer):
        farewell = Farewell(ours, ANSWER, linger_seconds=60)
        peer.shutdown(socket.SHUT_WR)
        await farewell.recorder.until(event="eof")
        farewell.begin()
        await farewell.is_over()
        assert await asyncio.to_thread(read_to_end, peer) == ANSWER


@pytest.mark.parametrize("has_ended", [True, False])
async def test_a_slow_reader_gets_all_of_it(*, has_ended: bool) -> None:
    """The wait for its close begins only when everything is sent."""
    go_on = threading.Event()

    def read_slowly(peer: socket.socket) -> bytes:
        beginning = b""
        for _ in range(4):
            go_on.wait(0.03)  # several times as long as the lingering
            beginning += read_exactly(peer, 2**20)
        return beginning + read_to_end(peer)

    with socket_pair(is_tls=False) as (ours, peer):
        farewell = Farewell(ours, body_of(LARGE), linger_seconds=0.01)
        if has_ended:
            peer.shutdown(socket.SHUT_WR)
            await farewell.recorder.until(event="eof")
        farewell.begin()
        assert await asyncio.to_thread(read_slowly, peer) == body_of(LARGE)
        peer.close()
        await farewell.is_over()


async def test_a_peer_that_takes_nothing_is_given_up() -> None:
    """Twelve times the lingering without a byte taken, and it is cut."""
    with socket_pair(is_tls=False) as (ours, peer):
        farewell = Farewell(ours, body_of(LARGE), linger_seconds=0.005)
        farewell.begin()
        await farewell.is_over()
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(read_to_end, peer)


async def test_a_peer_that_does_not_close_is_waited_for_only_so_long() -> None:
    """The answer is out; the connection is closed from our side."""
    with socket_pair(is_tls=False) as (ours, peer):
        farewell = Farewell(ours, ANSWER, linger_seconds=0.01)
        farewell.begin()
        await farewell.is_over()
        assert await asyncio.to_thread(read_to_end, peer) == ANSWER
