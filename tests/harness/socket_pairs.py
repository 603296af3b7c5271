"""Connected sockets for tests of transports: ours non-blocking, the peer's blocking, plain or TLS after a real handshake."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from typing import Any

from pinproxy.net.transport import SocketTransport
from tests.harness.originating import certificates
from tests.harness.pki import server_context
from tests.harness.running import HOST

_SECONDS = 10.0


@contextlib.contextmanager
def socket_pair(*, is_tls: bool, buffer_bytes: int | None = None) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Connect two sockets over loopback; the first is for a transport, the second for the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if buffer_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        peer = socket.socket()
        if buffer_bytes is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        peer.settimeout(_SECONDS)
        peer.connect(listener.getsockname())
        ours, _ = listener.accept()
    for sock in (ours, peer):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if is_tls:
        ours, peer = _shake_hands(ours, peer)
    ours.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
    try:
        yield ours, peer
    finally:
        peer.close()
        ours.close()


def _shake_hands(ours: socket.socket, peer: socket.socket) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    root, leaf = certificates()
    context = ssl.create_default_context(cadata=root.pem.decode("ascii"))
    accepted = server_context(leaf).wrap_socket(ours, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False)
    shaking = threading.Thread(target=accepted.do_handshake)
    shaking.start()
    connected = context.wrap_socket(peer, server_hostname=HOST, suppress_ragged_eofs=False)
    shaking.join()
    return accepted, connected


class Recorder(asyncio.Protocol):
    """A protocol that keeps what it is told.

    Attributes:
        data: What was received.
        events: The other callbacks, in order.
        lost: Its result is what `connection_lost` was called with.
    """

    transport: SocketTransport

    def __init__(self, *, stays_open: bool = False) -> None:
        """Keep the connection open behind the peer's end, or not."""
        self.data = bytearray()
        self.events: list[str] = []
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._stays_open = stays_open
        self._moved = asyncio.Event()

    async def until(self, *, size: int = 0, event: str | None = None) -> bytes:
        """Wait for so many bytes, or for an event, and return the bytes so far."""
        async with asyncio.timeout(_SECONDS):
            while len(self.data) < size or (event is not None and event not in self.events):
                self._moved.clear()
                await self._moved.wait()
        return bytes(self.data)

    async def end(self) -> BaseException | None:
        """Wait for the end of the connection."""
        async with asyncio.timeout(_SECONDS):
            return await self.lost

    def _note(self, event: str) -> None:
        self.events.append(event)
        self._moved.set()

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep the data."""
        self.data += data
        self._moved.set()

    def eof_received(self) -> bool:
        """Note it."""
        self._note("eof")
        return self._stays_open

    def pause_writing(self) -> None:
        """Note it."""
        self._note("pause")

    def resume_writing(self) -> None:
        """Note it."""
        self._note("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note it."""
        self._note("lost")
        self.lost.set_result(exc)


def reset(peer: socket.socket) -> None:
    """Close with a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.socket.close(peer)


def read_exactly(peer: socket.socket, size: int) -> bytes:
    """Read so many bytes."""
    data = bytearray()
    while len(data) < size:
        piece = peer.recv(min(65536, size - len(data)))
        if not piece:
            raise EOFError(f"{size - len(data)} bytes are missing")
        data += piece
    return bytes(data)


def read_to_end(peer: socket.socket) -> bytes:
    """Read to the peer's end; a cut raises `ssl.SSLEOFError` (TLS) or `ConnectionResetError` (plain)."""
    data = bytearray()
    while piece := peer.recv(65536):
        data += piece
    return bytes(data)
