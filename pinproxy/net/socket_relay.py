"""Bytes between two plain sockets, both ways, until both directions have ended; moved by the kernel where it can.

Rules of this file:
- Each direction is a flow (`net.flow`) that ends by itself; the relay ends with the second, or when one side is cut.
- A cut (reset) of one side is passed on as a cut, an end as an end.
- No socket is closed under somebody who waits for it: until `start`, both sockets are still the caller's.
"""

from __future__ import annotations

import asyncio
import socket

from pinproxy.limits import Limits
from pinproxy.net.deadlines import Deadlines
from pinproxy.net.flow import Flow, Tap
from pinproxy.net.pipe import PipePool
from pinproxy.net.reset import reset_on_close
from pinproxy.net.watch import watch_of_loop


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
        self._up = Flow(self, self._watch, client, upstream, pipes, tap_up)
        self._down = Flow(self, self._watch, upstream, client, pipes, tap_down)
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
