"""Bytes between two plain sockets, both ways, until both directions have ended; moved by the kernel where it can.

Rules of this file:
- A pipe is borrowed only while bytes are in flight, and what it holds is all that a slow reader makes us hold: while it is
  not empty, its writer is not read.
- An end of one side is passed on as an end (half-close), a cut (reset) as a cut.
- A tap sees the bytes of one direction, in Python, until it has seen enough: the end of a TLS handshake, say.
- No socket is closed under somebody who waits for it: until `start`, both sockets are still the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from pinproxy.limits import Limits
from pinproxy.net.deadlines import Deadlines
from pinproxy.net.pipe import PUT_BYTES, Pipe, PipePool
from pinproxy.net.reset import reset_on_close
from pinproxy.net.watch import Watch, watch_of_loop

Tap = Callable[[bytes], bool]
"""Sees bytes before they go on; returns whether it wants more. What it raises cuts the tunnel."""

_MOVES_PER_WAKE = 8  # then the other connections have their turn
_WORTH_ANOTHER_BYTES = 64 * 1024  # after less the source is most likely dry: if it is not, it tells so again


class SocketRelay:
    """Two sockets, joined both ways. From `start` on it owns them, and closes them at the end.

    Attributes:
        deadline: When it ends for want of traffic.
        done: Set when it has ended; its result is the upstream's error, None for an orderly end or one by the client.
    """

    __slots__ = (
        "_client",
        "_client_heard",
        "_deadlines",
        "_down",
        "_is_cut",
        "_last_moved",
        "_limits",
        "_loop",
        "_owns_sockets",
        "_up",
        "_upstream",
        "_upstream_error",
        "_watch",
        "deadline",
        "done",
    )

    def __init__(
        self,
        client: socket.socket,
        upstream: socket.socket,
        limits: Limits,
        deadlines: Deadlines,
        pipes: PipePool,
        tap_up: Tap | None = None,
        tap_down: Tap | None = None,
    ) -> None:
        """Stand between two connected, non-blocking sockets; `start` lets bytes flow.

        Args:
            client: The client's side.
            upstream: The other.
            limits: Bounds.
            deadlines: Watches over the relay.
            pipes: Lends pipes.
            tap_up: Sees what the client sends first.
            tap_down: Sees what comes from upstream first.
        """
        self._loop = asyncio.get_running_loop()
        self._watch = watch_of_loop()
        self._limits = limits
        self._deadlines = deadlines
        self._client, self._upstream = client, upstream
        self._owns_sockets = False
        self._upstream_error: Exception | None = None
        self._is_cut = False
        self._up = _Flow(self, self._watch, client, upstream, pipes, tap_up)
        self._down = _Flow(self, self._watch, upstream, client, pipes, tap_down)
        self._client_heard: asyncio.Future[None] | None = None
        self._last_moved = self._loop.time()
        self.deadline = self._last_moved + limits.idle_seconds
        self.done: asyncio.Future[BaseException | None] = self._loop.create_future()

    @property
    def bytes_up(self) -> int:
        """Bytes from the client to upstream."""
        return self._up.moved_bytes

    @property
    def bytes_down(self) -> int:
        """Bytes from upstream to the client."""
        return self._down.moved_bytes

    @property
    def has_client_ended(self) -> bool:
        """Whether the client has ended its direction."""
        return self._up.has_source_ended

    def start(self) -> None:
        """Take over the sockets, and let bytes flow both ways, unless it has ended already."""
        self._owns_sockets = True
        if self.done.done():
            self._close()
            return
        self.start_down()
        self._up.resume()

    def start_down(self) -> None:
        """Let bytes flow from upstream to the client alone, while the client's first bytes are still being looked at."""
        self._deadlines.add(self)
        self._down.resume()

    async def wait_for_client(self) -> None:
        """Before `start`: wait until the client has said something or ended, and leave it unread; or until this has ended."""
        self._client_heard = self._loop.create_future()
        descriptor = self._client.fileno()
        self._watch.add_reader(descriptor, self._hear_client)
        try:
            await self._client_heard
        finally:
            self._client_heard = None
            self._watch.remove_reader(descriptor)

    def _hear_client(self) -> None:
        if self._client_heard is not None and not self._client_heard.done():
            self._client_heard.set_result(None)

    def abort(self) -> None:
        """Cut both sides: they see a reset, and not an end."""
        self._is_cut = True
        self._finish()

    def release(self) -> None:
        """Stop, and leave the sockets to the caller, whose they are until `start`."""
        self._up.stop()
        self._down.stop()
        self._deadlines.discard(self)

    def expire(self) -> None:
        """End at the deadline, unless something moved since it was set."""
        is_half_closed = self._up.has_ended or self._down.has_ended
        seconds = self._limits.half_closed_seconds if is_half_closed else self._limits.idle_seconds
        self.deadline = self._last_moved + seconds
        if self.deadline <= self._loop.time():
            self.abort()

    def moved(self) -> None:
        """Hear from a flow that something moved."""
        self._last_moved = self._loop.time()

    def flow_ended(self) -> None:
        """Hear from a flow that nothing more will come through it."""
        if self._up.has_ended and self._down.has_ended:
            self._finish()
        else:
            self.deadline = min(self.deadline, self._loop.time() + self._limits.half_closed_seconds)

    def side_failed(self, side: socket.socket, error: Exception) -> None:
        """Hear from a flow that one side has failed, or what its tap has against it: the end will be a cut."""
        self._is_cut = True
        if side is self._upstream:
            # Without its traceback, which holds the frames of this relay.
            self._upstream_error = error.with_traceback(None)

    def cut(self, side: socket.socket, error: Exception) -> None:
        """Hear from a flow that nothing more will come from one side, and that it cannot be told the rest either."""
        self.side_failed(side, error)
        self._finish()

    def _finish(self) -> None:
        if self.done.done():
            return
        self.release()
        self._hear_client()
        if self._is_cut:
            reset_on_close(self._client)
            reset_on_close(self._upstream)
        if self._owns_sockets:
            self._close()
        self.done.set_result(self._upstream_error)

    def _close(self) -> None:
        self._client.close()
        self._upstream.close()


class _Flow:
    """One direction."""

    __slots__ = (
        "_from",
        "_is_reading",
        "_is_writing",
        "_pipe",
        "_pipes",
        "_relay",
        "_source",
        "_tap",
        "_target",
        "_to",
        "_watch",
        "has_ended",
        "has_source_ended",
        "moved_bytes",
    )

    def __init__(
        self, relay: SocketRelay, watch: Watch, source: socket.socket, target: socket.socket, pipes: PipePool, tap: Tap | None
    ) -> None:
        self._watch = watch
        self._relay = relay
        self._source, self._target = source, target
        self._from, self._to = source.fileno(), target.fileno()
        self._pipes = pipes
        self._pipe: Pipe | None = None
        self._tap = tap
        self._is_reading = False
        self._is_writing = False
        self.has_source_ended = False
        self.moved_bytes = 0
        self.has_ended = False

    def resume(self) -> None:
        if not (self._is_reading or self.has_source_ended or self.has_ended):
            self._is_reading = True
            self._watch.add_reader(self._from, self._pump)

    def stop(self) -> None:
        self._pause()
        self._stop_writing()
        self._return_pipe()

    def _pause(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._watch.remove_reader(self._from)

    def _stop_writing(self) -> None:
        if self._is_writing:
            self._is_writing = False
            self._watch.remove_writer(self._to)

    def _return_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._pipes.give_back(pipe)

    def _pump(self) -> None:
        """Move what is there, until the source is dry or the target full."""
        self._relay.moved()
        try:
            for _ in range(_MOVES_PER_WAKE):
                count = self._fill()
                if not (count and self._drain()) or count < _WORTH_ANOTHER_BYTES:
                    break
        except Exception as error:  # noqa: BLE001 - the boundary of this callback: the source or the tap failed, so the tunnel ends
            self._relay.cut(self._source, error)
        else:
            self._settle()

    def _fill(self) -> int:
        """Take bytes from the source; return how many."""
        self._pipe = pipe = self._pipe or self._pipes.borrow()
        try:
            count = pipe.fill(self._source) if self._tap is None else self._fill_tapped(pipe, self._tap)
        except BlockingIOError:
            return 0
        if not count:
            self.has_source_ended = True
            self._pause()
        self.moved_bytes += count
        return count

    def _fill_tapped(self, pipe: Pipe, tap: Tap) -> int:
        data = self._source.recv(PUT_BYTES)
        if data:
            if not tap(data):
                self._tap = None
            pipe.put(data)
        return len(data)

    def _drain(self) -> bool:
        """Give bytes to the target; tell whether it took them all."""
        if self._pipe is None:
            return True
        try:
            self._pipe.drain(self._target)
        except BlockingIOError:
            self._pause()
            if not self._is_writing:
                self._is_writing = True
                self._watch.add_writer(self._to, self._flush)
            return False
        except OSError as error:
            # It takes no more, but it may have answered before it hung up: what it said is for the other flow to pass on.
            self.stop()
            self.has_ended = True
            self._relay.side_failed(self._target, error)
            self._relay.flow_ended()
            return False
        return True

    def _flush(self) -> None:
        """Go on where the target was full."""
        self._relay.moved()
        if self._drain():
            self._stop_writing()
            self._settle()
            self.resume()

    def _settle(self) -> None:
        """Give an empty pipe back; pass an end on once everything before it has gone."""
        pipe = self._pipe
        if pipe is not None:
            if pipe.held_bytes:
                return
            self._pipe = None
            self._pipes.give_back(pipe)
        if self.has_source_ended and not self.has_ended:
            self.has_ended = True
            self._relay.flow_ended()
            # Unless this was the second to end: then the relay has closed both, which says the same.
            if not self._relay.done.done():
                with contextlib.suppress(OSError):
                    self._target.shutdown(socket.SHUT_WR)
