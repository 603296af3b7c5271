"""The transport over real sockets, plain and TLS: nothing lost, nothing unbounded, and an end that says what it was."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from pinproxy.net.close_notify import Stage, make_close_notify
from pinproxy.net.transport import SocketTransport
from tests.harness.origin import body_of
from tests.harness.socket_pairs import Recorder, read_exactly, read_to_end, reset, socket_pair

BUFFER_BYTES = 64 * 1024
LARGE = 8 * 2**20  # more than two sockets hold
Pair = tuple[socket.socket, socket.socket]
CUT = (ssl.SSLEOFError, ConnectionResetError)


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected sockets."""
    with socket_pair(is_tls=request.param) as both:
        yield both


@pytest.fixture
def tls_pair() -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """Two connected TLS sockets."""
    with socket_pair(is_tls=True) as (ours, peer):
        assert isinstance(ours, ssl.SSLSocket)
        assert isinstance(peer, ssl.SSLSocket)
        yield ours, peer


def carry(ours: socket.socket, *, stays_open: bool = False) -> tuple[SocketTransport, Recorder]:
    """Put a transport over a socket."""
    recorder = Recorder(stays_open=stays_open)
    return SocketTransport(ours, recorder, BUFFER_BYTES), recorder


async def test_bytes_pass_both_ways(pair: Pair) -> None:
    """In pieces of any size, a whole TLS record and several at once included."""
    ours, peer = pair
    transport, recorder = carry(ours)
    for data in (b"x", body_of(16384), body_of(16385), body_of(200_000)):
        recorder.data.clear()
        await asyncio.to_thread(peer.sendall, data)
        assert await recorder.until(size=len(data)) == data
        transport.write(data)
        assert await asyncio.to_thread(read_exactly, peer, len(data)) == data
    transport.abort()


async def test_what_the_socket_does_not_take_is_held_and_sent_later(pair: Pair) -> None:
    """The caller may reuse its buffer; the protocol is paused above the mark and resumed below a quarter of it."""
    ours, peer = pair
    transport, recorder = carry(ours)
    data = bytearray(body_of(LARGE))
    transport.write(data)
    held = transport.get_write_buffer_size()
    data[:] = bytes(LARGE)
    transport.write(b"behind")
    assert held > BUFFER_BYTES
    assert transport.get_write_buffer_size() == held + 6
    assert set(recorder.events) == {"pause"}
    assert await asyncio.to_thread(read_exactly, peer, LARGE) == body_of(LARGE)
    await recorder.until(event="resume")
    assert await asyncio.to_thread(read_exactly, peer, 6) == b"behind"
    assert transport.get_write_buffer_size() == 0
    transport.abort()


async def test_whoever_takes_over_a_full_transport_is_paused_with_the_first_write(pair: Pair) -> None:
    """Else it would fill a buffer without bound: it has not heard what its predecessor was told."""
    ours, _peer = pair
    transport, first = carry(ours)
    transport.write(body_of(LARGE))
    second = Recorder()
    transport.set_protocol(second)
    transport.write(b"more")
    assert (first.events, second.events) == (["pause"], ["pause"])
    transport.abort()
    assert await second.end() is None


async def test_nothing_is_read_while_reading_is_paused(pair: Pair) -> None:
    """What has been sent meanwhile comes as soon as it is resumed."""
    ours, peer = pair
    transport, recorder = carry(ours)
    transport.pause_reading()
    await asyncio.to_thread(peer.sendall, b"later")
    for _ in range(10):
        await asyncio.sleep(0)
    assert not recorder.data
    transport.resume_reading()
    assert await recorder.until(size=5) == b"later"
    transport.abort()


async def test_close_sends_what_is_held_and_says_goodbye(pair: Pair) -> None:
    """The peer reads everything, and an end that nobody can have forged."""
    ours, peer = pair
    transport, recorder = carry(ours)
    transport.write(body_of(LARGE))
    transport.close()
    transport.write(b"too late")
    assert await asyncio.to_thread(read_to_end, peer) == body_of(LARGE)
    assert await recorder.end() is None


async def test_cut_sends_what_is_held_and_no_goodbye(pair: Pair) -> None:
    """The peer reads everything, and then that it was cut."""
    ours, peer = pair
    transport, recorder = carry(ours)
    transport.write(body_of(LARGE))
    transport.cut()
    held = transport.get_write_buffer_size()
    assert await asyncio.to_thread(read_exactly, peer, LARGE - held) == body_of(LARGE)[: LARGE - held]
    with pytest.raises(CUT):
        await asyncio.to_thread(read_to_end, peer)
    assert await recorder.end() is None


async def test_abort_does_not_wait_for_a_reader(pair: Pair) -> None:
    """What is held is lost, and the peer sees a cut."""
    ours, peer = pair
    transport, recorder = carry(ours)
    transport.write(body_of(LARGE))
    transport.abort()
    assert await recorder.end() is None
    with pytest.raises(CUT):
        await asyncio.to_thread(read_to_end, peer)


async def test_one_direction_ends_and_the_other_goes_on(pair: Pair) -> None:
    """Also for what the peer has sent already and nobody has read yet, which OpenSSL throws away when left to itself."""
    ours, peer = pair
    transport, recorder = carry(ours, stays_open=True)
    transport.pause_reading()
    for piece in (b"one,", b"two,", b"three,"):
        await asyncio.to_thread(peer.sendall, piece)
    transport.write(b"last")
    transport.write_eof()
    transport.write(b"too late")
    assert await asyncio.to_thread(read_to_end, peer) == b"last"
    transport.resume_reading()
    await asyncio.to_thread(peer.sendall, b"four")
    assert await recorder.until(size=18) == b"one,two,three,four"
    if isinstance(peer, ssl.SSLSocket):
        await asyncio.to_thread(peer.unwrap)
    else:
        peer.shutdown(socket.SHUT_WR)
    await recorder.until(event="eof")
    assert transport.has_read_eof
    transport.close()
    assert await recorder.end() is None


async def test_an_end_waits_for_what_is_held(pair: Pair) -> None:
    """`write_eof` comes behind the bytes written before it."""
    ours, peer = pair
    transport, _ = carry(ours)
    transport.write(body_of(LARGE))
    transport.write_eof()
    assert await asyncio.to_thread(read_to_end, peer) == body_of(LARGE)
    transport.abort()


async def test_the_peers_end_closes_unless_the_protocol_goes_on(pair: Pair) -> None:
    """As `asyncio.Protocol.eof_received` has it."""
    ours, peer = pair
    _, recorder = carry(ours)
    if isinstance(peer, ssl.SSLSocket):
        await asyncio.to_thread(peer.unwrap)  # returns with our close_notify
    else:
        peer.shutdown(socket.SHUT_WR)
        assert await asyncio.to_thread(read_to_end, peer) == b""
    assert await recorder.end() is None
    assert recorder.events == ["eof", "lost"]


async def test_a_tls_connection_that_ends_without_close_notify_is_cut(tls_pair: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    """Anybody on the way can end a TCP connection (RFC 8446 §6.1)."""
    ours, peer = tls_pair
    _, recorder = carry(ours)
    socket.socket.shutdown(peer, socket.SHUT_WR)
    assert isinstance(await recorder.end(), ssl.SSLEOFError)
    assert "eof" not in recorder.events


async def test_the_last_words_of_a_peer_that_hung_up_are_heard(pair: Pair) -> None:
    """An early answer in several pieces is read although writing has failed (RFC 9112 §9.5)."""
    ours, peer = pair
    transport, recorder = carry(ours)
    transport.write(b"request")
    await asyncio.to_thread(read_exactly, peer, 7)
    for piece in (b"413 ", b"too ", b"large"):
        peer.sendall(piece)  # in one go with what follows: the loop has no chance to read it before
    reset(peer)
    while not transport.is_closing() and not transport._has_written_eof:
        transport.write(b"more of the request")
    assert isinstance(await recorder.end(), OSError)
    assert recorder.data == b"413 too large"


class Broken(Recorder):
    """A protocol with a defect."""

    def data_received(self, data: bytes) -> None:
        """Fail."""
        raise LookupError(data)

    resume_writing = data_received  # type: ignore[assignment]


@pytest.mark.parametrize("callback", ["data_received", "resume_writing"])
async def test_a_protocol_that_fails_ends_its_connection(pair: Pair, callback: str) -> None:
    """The failure is reported, and nothing goes on half alive."""
    ours, peer = pair
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    recorder = Broken()
    transport = SocketTransport(ours, recorder, BUFFER_BYTES)
    if callback == "resume_writing":
        transport.pause_reading()
        transport.write(body_of(LARGE))
        await asyncio.to_thread(read_exactly, peer, LARGE - BUFFER_BYTES)
    else:
        await asyncio.to_thread(peer.sendall, b"x")
    failure = await recorder.end()
    assert isinstance(failure, LookupError | TypeError)
    assert [context["exception"] for context in reported] == [failure]


async def test_a_goodbye_is_made_aside(tls_pair: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    """Nothing is sent or read on the socket itself, no descriptor is left over, and a second goodbye is empty."""
    ours, peer = tls_pair
    peer.sendall(b"unread")
    record = make_close_notify(ours)
    assert record[:1] in {b"\x15", b"\x17"}
    free = os.dup(ours.fileno())
    os.close(free)
    assert make_close_notify(ours) == b""
    assert ours.recv(100) == b"unread"
    again = os.dup(ours.fileno())
    os.close(again)
    assert again == free
    peer.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
    with pytest.raises(ssl.SSLWantReadError):
        peer.recv(1)
    socket.socket.send(ours, record)
    peer.settimeout(10)
    assert peer.recv(1) == b""


@pytest.mark.parametrize("size", [24, 512, 600])
def test_no_goodbye_finds_anything_of_the_one_before(size: int) -> None:
    """The socket aside serves one connection after the other; more than an alert is not left there for the next."""
    stage = Stage()
    for _ in range(2):
        os.write(stage.fileno(), b"x" * size)
        assert len(stage.take()) == min(size, 512)
        assert stage.take() == b""
