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
- `pause_writing` is said again with every write that is held above the mark: the protocol may be another one by then.
- A peer that hung up, of which `net.watch` tells until it is read, is read to the end first: its last words may be the answer.
- A callback of the protocol that raises ends the connection; it never leaves one half alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from pinproxy.net.close_notify import make_close_notify
from pinproxy.net.reset import reset_on_close, unsent_bytes
from pinproxy.net.watch import watch_of_loop

# > RFC 8446 §5.1: … fragmented into TLSPlaintext records carrying data in chunks of 2^14 bytes or less. A read of this size takes
# the whole record, so nothing decrypted stays inside OpenSSL where the event loop would not see it.
READ_BYTES = 16 * 1024
_PIECE_BYTES = 256  # what a held piece costs besides its bytes: two objects and a place in the queue
_READS_PER_WAKE = 16  # 256 KiB, then the other connections have their turn
_SHORT_READ_BYTES = 4 * 1024  # what comes in smaller pieces is a message and no stream: the next read is left to the next waking
_NOTHING_HELD: deque[memoryview] = deque(maxlen=0)  # one for all: an empty one takes 760 bytes
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_RECHECK_SECONDS = 0.05  # the kernel tells nobody that everything was acknowledged


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
        self._watch = watch_of_loop()
        self._sock, self._fd = sock, sock.fileno()
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        # What SSLSocket's own methods call after some checks: on the data path these are called for every record.
        tls = getattr(sock, "_sslobj", None)
        self._recv: Callable[..., Any] = tls.read if tls is not None else sock.recv
        self._send: Callable[[Any], int] = tls.write if tls is not None else sock.send
        self._backlog, self._backlog_bytes = _NOTHING_HELD, 0
        self._farewell = b""
        self._high, self._low = buffer_bytes, buffer_bytes // 4
        self.first_read: Callable[[], None] | None = None  # called once, behind the first data
        self._is_protocol_paused = self._is_reading = self._is_writer_armed = False
        self._has_read_eof = self._wants_write_eof = self._has_written_eof = False
        self._reset: OSError | None = None
        self._is_closing = self._is_cutting = self._is_gone = False
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
            self._end_writing()

    def cut(self) -> None:
        """Send what is held, then close without goodbye, so that the peer sees a cut and not an end."""
        self._is_closing = self._is_cutting = True
        self.pause_reading()
        if not self._backlog:
            self._cut_when_sent()

    def _cut_when_sent(self) -> None:
        """Cut as soon as the kernel has nothing left to send, which a plain connection's reset would throw away."""
        if not self._is_gone and not self._is_tls and unsent_bytes(self._sock):
            self._loop.call_later(_RECHECK_SECONDS, self._cut_when_sent)
        else:
            self.abort()

    def abort(self) -> None:
        """Cut at once; what is held is lost."""
        if not self._is_gone:
            if not self._is_tls:
                reset_on_close(self._sock)
            self._finish(None)

    # --- reading ----------------------------------------------------------------------------------------------------

    @property
    def has_read_eof(self) -> bool:
        """Whether the peer has ended its direction."""
        return self._has_read_eof

    def is_reading(self) -> bool:
        """Tell whether the protocol is fed."""
        return self._is_reading

    def pause_reading(self) -> None:
        """Stop feeding the protocol; the kernel's window then closes towards the peer."""
        if self._is_reading:
            self._is_reading = False
            self._watch.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Feed the protocol again."""
        if not self._is_reading and not self._is_closing and not self._has_read_eof:
            self._is_reading = True
            self._watch.add_reader(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        try:
            self._read_some()
        except Exception as error:  # noqa: BLE001 - the boundary of every protocol callback: log, close, never go on
            self._protocol_failed(error)

    def _read_some(self) -> bool:
        """Read until nothing is left or the others should have their turn; tell whether there may be more."""
        for _ in range(_READS_PER_WAKE):
            data = b""
            try:
                if self._is_buffered:
                    buffer = self._protocol.get_buffer(READ_BYTES)
                    count = self._recv(READ_BYTES, buffer) if self._is_tls else self._sock.recv_into(buffer)
                else:
                    data = self._recv(READ_BYTES)
                    count = len(data)
            except _WOULD_BLOCK:
                return False
            except ssl.SSLZeroReturnError:
                count = 0  # a close_notify as Python reports it once ours is out
            except OSError as error:
                # A reset, a TLS alert, or an end without close_notify: whatever was to come is cut.
                self._finish(error)
                return False
            if data:
                self._protocol.data_received(data)
            elif count:
                self._protocol.buffer_updated(count)
            else:
                self._on_read_eof()
                return False
            if self.first_read is not None:
                first_read, self.first_read = self.first_read, None
                first_read()
                self._write_nothing()
            # Behind a failed write there is no waking: what is left is read now.
            if not self._is_reading or (count < _SHORT_READ_BYTES and self._reset is None):
                return False
        return True

    def _write_nothing(self) -> None:
        # The tickets of TLS 1.3, which come before the first data, make OpenSSL allocate 16 KiB to write from. It frees them with
        # the next write, and one of nothing sends nothing (SSL_write_ex(3)): an idle connection is not to hold them.
        if self._is_tls and not (self._backlog or self._is_closing or self._wants_write_eof):
            with contextlib.suppress(OSError):  # whatever is wrong, the next write or read says it
                self._send(b"")

    def _on_read_eof(self) -> None:
        if self._reset is not None:
            self._finish(self._reset)  # the kernel told of it once, and now tells of an end
            return
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
        sent = 0
        try:
            sent = self._send(data)
            while sent < len(data):
                sent += self._send(memoryview(data)[sent:])
        except _WOULD_BLOCK:
            self._hold(bytes(memoryview(data)[sent:]))
        except OSError as error:
            self._give_up_writing(error)

    def _hold(self, data: bytes) -> None:
        if not self._backlog:
            self._backlog = deque()
        self._backlog.append(memoryview(data))
        self._backlog_bytes += len(data)
        self._arm_writer()
        if self._held_cost > self._high:
            self._is_protocol_paused = True
            self._protocol.pause_writing()

    @property
    def _held_cost(self) -> int:
        """What the held data costs: a writer of single bytes must not fill the memory with their objects."""
        return self._backlog_bytes + _PIECE_BYTES * len(self._backlog)

    def _on_writable(self) -> None:
        try:
            self._send_held()
            if self._is_protocol_paused and self._held_cost <= self._low and not self._is_gone:
                self._is_protocol_paused = False
                self._protocol.resume_writing()
        except OSError as error:
            self._give_up_writing(error)
        except Exception as error:  # noqa: BLE001 - the boundary of every protocol callback: log, close, never go on
            self._protocol_failed(error)
        if self._backlog or self._is_gone:
            return
        self._drop_backlog()
        if self._is_cutting:
            self._cut_when_sent()
        elif self._is_closing or self._wants_write_eof:
            self._end_writing()

    def _send_held(self) -> None:
        with contextlib.suppress(*_WOULD_BLOCK):
            while self._backlog:
                head = self._backlog[0]
                sent = self._send(head)
                self._backlog_bytes -= sent
                if sent == len(head):
                    self._backlog.popleft()
                else:
                    self._backlog[0] = head[sent:]

    def _give_up_writing(self, error: OSError) -> None:
        """Write no more. The protocol hears of it later, as it may be in the middle of something."""
        self._wants_write_eof = self._has_written_eof = True
        self._reset = error
        self._drop_backlog()
        self._loop.call_soon(self._read_last_words)

    def _read_last_words(self) -> None:
        # > RFC 9112 §9.5: A client sending a message body SHOULD monitor the … connection for an error response while it is
        # > transmitting the request.
        # What arrived before the reset is still to be read.
        try:
            while self._is_reading and self._read_some():
                pass
        except Exception as failure:  # noqa: BLE001 - the boundary of every protocol callback: log, close, never go on
            self._protocol_failed(failure)
        self._finish(self._reset)

    def can_write_eof(self) -> bool:
        """Half-close works, plain and TLS."""
        return True

    def write_eof(self) -> None:
        """End our direction after what is held; the other goes on."""
        if self._is_closing or self._wants_write_eof:
            return
        self._wants_write_eof = True
        if not self._backlog:
            self._end_writing()

    def _end_writing(self) -> None:
        """Say goodbye, and close if that was asked for; `_on_writable` comes back here if the socket must be waited for."""
        if not self._has_written_eof:
            try:
                self._say_goodbye()
            except _WOULD_BLOCK:
                self._arm_writer()
                return
            except OSError:
                pass  # the peer is gone already; a read says how
            self._has_written_eof = True
        if self._is_closing:
            self._finish(None)

    def _say_goodbye(self) -> None:
        if isinstance(self._sock, ssl.SSLSocket):
            self._farewell = self._farewell or make_close_notify(self._sock)
            while self._farewell:
                self._farewell = self._farewell[socket.socket.send(self._sock, self._farewell) :]
        elif not self._is_closing:
            self._sock.shutdown(socket.SHUT_WR)

    def get_write_buffer_size(self) -> int:
        """Return the bytes held for a slow reader."""
        return self._backlog_bytes

    def _arm_writer(self) -> None:
        if not self._is_writer_armed:
            self._is_writer_armed = True
            self._watch.add_writer(self._fd, self._on_writable)

    def _disarm_writer(self) -> None:
        if self._is_writer_armed:
            self._is_writer_armed = False
            self._watch.remove_writer(self._fd)

    def _drop_backlog(self) -> None:
        self._disarm_writer()
        self._backlog, self._backlog_bytes = _NOTHING_HELD, 0

    def _protocol_failed(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "a protocol failed", "exception": error, "transport": self})
        self._finish(error)

    def _finish(self, error: Exception | None) -> None:
        if self._is_gone:
            return
        self._is_closing = self._is_gone = True
        self.pause_reading()
        self._drop_backlog()
        self._sock.close()
        self._loop.call_soon(self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        # Neither the protocol nor the error's traceback stays with us: what holds itself waits for the collector.
        protocol, self._protocol = self._protocol, asyncio.Protocol()
        protocol.connection_lost(error and error.with_traceback(None))
