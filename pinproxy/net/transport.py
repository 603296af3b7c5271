"""The transport of the data path: an `asyncio.Transport` over a non-blocking socket, plain or TLS.

Why our own, beside the event loop's:
- It works on the descriptor itself (`ssl.SSLSocket`), so bulk data is not copied through memory BIOs, and nothing that was
  peeked at is lost on the way into the handshake.
- It tells a clean end (close_notify) from a cut connection, which `asyncio` reports alike: a truncated answer must look
  truncated to the client (RFC 8446 §6.1).
- It behaves the same under uvloop, asyncio's own loop, and every Python.

Rules of this file:
- The TLS handshake is finished before a transport is made, and was judged (`net.upstream`).
- `write` takes what it can at once and copies the rest: callers may reuse their buffer.
- A callback of the protocol that raises ends the connection; it never leaves one half alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from typing import Any, cast

# > RFC 8446 §5.1: … fragmented into TLSPlaintext records carrying data in chunks of 2^14 bytes or less. A read of this size takes
# the whole record, so nothing decrypted stays inside OpenSSL where the event loop would not see it.
READ_BYTES = 16 * 1024
_READS_PER_WAKE = 16  # 256 KiB, then the other connections have their turn
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_LINGER_ZERO = struct.pack("ii", 1, 0)


class SocketTransport(asyncio.Transport):
    """A full-duplex transport with backpressure and half-close, over a socket that it owns."""

    def __init__(self, sock: socket.socket, protocol: asyncio.BaseProtocol, buffer_bytes: int) -> None:
        """Take over the socket and start to read.

        Args:
            sock: Connected and non-blocking; for TLS an `ssl.SSLSocket` whose handshake is finished.
            protocol: A `Protocol` or `BufferedProtocol`; `connection_made` is called before this returns.
            buffer_bytes: High-water mark of what is held for a slow reader; low water is a quarter of it.
        """
        super().__init__({"socket": sock})
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._fd = sock.fileno()
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._high, self._low = buffer_bytes, buffer_bytes // 4
        self._is_protocol_paused = False
        self._is_reading = False
        self._is_writer_armed = False
        self._has_read_eof = False
        self._wants_write_eof = False
        self._has_written_eof = False
        self._is_closing = False
        self._is_gone = False
        self.set_protocol(protocol)
        protocol.connection_made(self)
        if not self._is_closing:
            self.resume_reading()

    # --- asyncio.BaseTransport --------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what comes next to another protocol."""
        self._protocol = cast("Any", protocol)
        self._is_buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol in charge."""
        return cast("asyncio.BaseProtocol", self._protocol)

    def is_closing(self) -> bool:
        """Tell whether the transport is closed or about to be."""
        return self._is_closing

    def close(self) -> None:
        """Send what is held, say goodbye (close_notify), close."""
        if self._is_closing:
            return
        self._is_closing = True
        self.pause_reading()
        if not self._backlog:
            self._finish(None, says_goodbye=True)

    def abort(self) -> None:
        """Close at once, without goodbye, so that the peer sees a cut and not an end."""
        if not self._is_gone:
            self._is_closing = True
            if not self._is_tls:
                # A plain peer can tell a cut from an end only by a reset.
                with contextlib.suppress(OSError):
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            self._finish(None, says_goodbye=False)

    # --- reading ----------------------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Tell whether the protocol is fed."""
        return self._is_reading

    def pause_reading(self) -> None:
        """Stop feeding the protocol; the kernel's window then closes towards the peer."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Feed the protocol again."""
        if not self._is_reading and not self._is_closing and not self._has_read_eof:
            self._is_reading = True
            self._loop.add_reader(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        try:
            self._read_some()
        except Exception as error:  # noqa: BLE001 - the boundary of every protocol callback: log, close, never go on
            self._loop.call_exception_handler({"message": "a protocol failed", "exception": error, "transport": self})
            self._is_closing = True
            self._finish(error, says_goodbye=False)

    def _read_some(self) -> None:
        for _ in range(_READS_PER_WAKE):
            try:
                count = self._read_once()
            except _WOULD_BLOCK:
                return
            except OSError as error:
                # A reset, a TLS alert, or an end without close_notify: whatever was to come is cut.
                self._is_closing = True
                self._finish(error, says_goodbye=False)
                return
            if count == 0:
                self._on_read_eof()
                return
            if not self._is_reading or count < READ_BYTES:
                return

    def _read_once(self) -> int:
        if self._is_buffered:
            count = self._sock.recv_into(self._protocol.get_buffer(READ_BYTES), READ_BYTES)
            if count:
                self._protocol.buffer_updated(count)
            return count
        data = self._sock.recv(READ_BYTES)
        if data:
            self._protocol.data_received(data)
        return len(data)

    def _on_read_eof(self) -> None:
        self.pause_reading()
        self._has_read_eof = True
        if not self._protocol.eof_received():
            self.close()

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send the data, or hold a copy of what the socket does not take now."""
        if self._is_closing or self._wants_write_eof or not data:
            return
        if self._backlog:
            self._hold(bytes(data))
            return
        view = memoryview(data)
        try:
            while view:
                view = view[self._sock.send(view) :]
        except _WOULD_BLOCK:
            self._hold(bytes(view))
        except OSError as error:
            self._lose_soon(error)

    def _hold(self, data: bytes) -> None:
        self._backlog.append(data)
        self._backlog_bytes += len(data)
        if not self._is_writer_armed:
            self._is_writer_armed = True
            self._loop.add_writer(self._fd, self._on_writable)
        if self._backlog_bytes > self._high and not self._is_protocol_paused:
            self._is_protocol_paused = True
            self._protocol.pause_writing()

    def _on_writable(self) -> None:
        try:
            while self._backlog:
                head = self._backlog[0]
                sent = self._sock.send(head)
                self._backlog_bytes -= sent
                if sent == len(head):
                    self._backlog.popleft()
                else:
                    self._backlog[0] = head[sent:]
        except _WOULD_BLOCK:
            pass
        except OSError as error:
            self._is_closing = True
            self._finish(error, says_goodbye=False)
            return
        if self._is_protocol_paused and self._backlog_bytes <= self._low:
            self._is_protocol_paused = False
            self._protocol.resume_writing()
        if not self._backlog:
            self._disarm_writer()
            if self._is_closing:
                self._finish(None, says_goodbye=True)
            elif self._wants_write_eof:
                self._send_eof()

    def _disarm_writer(self) -> None:
        if self._is_writer_armed:
            self._is_writer_armed = False
            self._loop.remove_writer(self._fd)

    def can_write_eof(self) -> bool:
        """Half-close works, plain and TLS."""
        return True

    def write_eof(self) -> None:
        """End our direction after what is held; the other goes on."""
        if self._is_closing or self._wants_write_eof:
            return
        self._wants_write_eof = True
        if not self._backlog:
            self._send_eof()

    def _send_eof(self) -> None:
        if self._has_written_eof:
            return
        self._has_written_eof = True
        if self._is_tls and self._is_reading:
            # OpenSSL takes data that is already here for a protocol error once our close_notify is out: read it first.
            self._on_readable()
        if self._is_gone:
            return
        if self._is_tls:
            self._send_close_notify()
        else:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)

    def _send_close_notify(self) -> None:
        # > RFC 8446 §6.1: Each party MUST send a "close_notify" alert before closing its write side of the connection … This does
        # > not have any effect on its read side of the connection.
        try:
            cast("ssl.SSLSocket", self._sock).unwrap()
        except (OSError, ValueError):
            return  # sent; the peer's own close_notify has yet to come, or the connection is gone and a read will say so
        self._has_read_eof = True
        self.pause_reading()

    def get_write_buffer_size(self) -> int:
        """Return the bytes held for a slow reader."""
        return self._backlog_bytes

    # --- the end ----------------------------------------------------------------------------------------------------

    def _lose_soon(self, error: OSError) -> None:
        """Close from inside `write`: the protocol hears of it later, as it may be in the middle of something."""
        self._is_closing = True
        self._finish(error, says_goodbye=False)

    def _finish(self, error: Exception | None, *, says_goodbye: bool) -> None:
        if self._is_gone:
            return
        self._is_gone = True
        self.pause_reading()
        self._disarm_writer()
        self._backlog.clear()
        self._backlog_bytes = 0
        if says_goodbye and self._is_tls and not self._has_written_eof:
            self._send_close_notify()
        self._sock.close()
        self._loop.call_soon(self._protocol.connection_lost, error)
