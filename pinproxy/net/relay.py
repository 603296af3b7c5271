"""Bytes between two transports, both ways, until both directions have ended: backpressure, half-close, idle time, counts.

Rules of this file:
- An end (EOF, close_notify) of one side is passed on as an end; a cut (reset, no close_notify) is passed on as a cut, behind
  everything that came before it.
- What a slow reader makes us hold is bounded by the transport's buffer: its writer is not read meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import cast

from pinproxy.limits import Limits
from pinproxy.net.deadlines import Deadlines
from pinproxy.net.transport import READ_BYTES, SocketTransport

# One buffer for every relay of the process: a read is written on (or copied by the transport) before the next read begins.
_SHARED_BUFFER = memoryview(bytearray(READ_BYTES))


class Relay:
    """Two ends, joined. Await `done`; then read the counts.

    Attributes:
        bytes_up: Bytes from the client to upstream.
        bytes_down: Bytes from upstream to the client.
        deadline: When the relay ends for want of traffic.
        done: Set when both ends are closed; its result is the upstream's error, None for an orderly end.
    """

    def __init__(self, limits: Limits, deadlines: Deadlines) -> None:
        """Prepare the two protocols; give them to their transports, then call `start`."""
        self._limits = limits
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self.client = RelayEnd(self)
        self.upstream = RelayEnd(self)
        self.client.peer, self.upstream.peer = self.upstream, self.client
        self.deadline = self._loop.time() + limits.idle_seconds
        self.done: asyncio.Future[BaseException | None] = self._loop.create_future()
        self._held_bytes = 0
        deadlines.add(self)

    @property
    def bytes_up(self) -> int:
        """Bytes from the client to upstream."""
        return self.client.received_bytes

    @property
    def bytes_down(self) -> int:
        """Bytes from upstream to the client."""
        return self.upstream.received_bytes

    @property
    def has_client_ended(self) -> bool:
        """Whether the client has ended its direction."""
        return self.client.has_ended

    def abort(self) -> None:
        """Cut both ends."""
        for end in (self.client, self.upstream):
            if end.transport is not None:
                end.transport.abort()

    def expire(self) -> None:
        """End at the deadline, unless something moved since it was set."""
        ends = (self.client, self.upstream)
        now = self._loop.time()
        last_moved = max(end.last_received for end in ends)
        # A slow reader of what is held is no silence.
        held = sum(end.held_bytes for end in ends)
        if held != self._held_bytes:
            self._held_bytes, last_moved = held, now
        is_half_closed = any(end.has_ended or end.is_lost for end in ends)
        self.deadline = last_moved + (self._limits.half_closed_seconds if is_half_closed else self._limits.idle_seconds)
        if self.deadline <= now:
            self.abort()

    def end_lost(self, end: RelayEnd, error: BaseException | None) -> None:
        """Hear that one transport is gone: let the other send what it holds, then end or cut it likewise."""
        peer = end.peer.transport
        if peer is not None:
            if error is not None:
                peer.cut()
            else:
                peer.close()
        self.half_closed()
        if self.client.is_lost and self.upstream.is_lost:
            self._deadlines.discard(self)
            self.client.let_go()
            self.upstream.let_go()
            if not self.done.done():
                self.done.set_result(self.upstream.error)

    def half_closed(self) -> None:
        """Hear that one direction has ended: silence is now given less time."""
        self.deadline = min(self.deadline, self._loop.time() + self._limits.half_closed_seconds)


class RelayEnd(asyncio.BufferedProtocol):
    """One side of a relay: what it receives goes to its peer."""

    peer: RelayEnd

    def __init__(self, relay: Relay) -> None:
        """Belong to a relay; the transport comes with `connection_made`."""
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self.transport: SocketTransport | None = None
        self.received_bytes = 0
        self.last_received = self._loop.time()
        self.has_ended = False
        self.is_lost = False
        self.error: BaseException | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes that this side has not taken yet."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; until the peer has one too, nothing may be read."""
        self.transport = cast("SocketTransport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the transport reads one record at a time
        """Lend the shared buffer."""
        return _SHARED_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        self.received_bytes += nbytes
        self.last_received = self._loop.time()
        if self.peer.transport is not None:
            self.peer.transport.write(_SHARED_BUFFER[:nbytes])

    def write_first(self, data: bytes) -> None:
        """Pass on bytes that were received before the relay began."""
        self.received_bytes += len(data)
        if data and self.peer.transport is not None:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        """Pass on the end of this direction; the other goes on until it ends too."""
        self.has_ended = True
        peer = self.peer
        if peer.transport is not None:
            peer.transport.write_eof()
        if peer.has_ended:
            if peer.transport is not None:
                peer.transport.close()
            return False
        self._relay.half_closed()
        return True

    def pause_writing(self) -> None:
        """Stop reading from the peer: this side does not take it."""
        if self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the peer again."""
        if self.peer.transport is not None:
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the relay; a loss before the end of this direction is a cut."""
        self.is_lost = True
        self.error = exc
        self.transport = None  # which is over; its TLS is not to wait for the other end
        self._relay.end_lost(self, exc)

    def let_go(self) -> None:
        """Hold relay and peer no more, which hold this: what holds itself waits for the collector."""
        del self._relay, self.peer
