"""One direction of a relay: bytes from one plain socket to another, by way of a pipe that is borrowed while they are in flight.

Rules of this file:
- While the pipe is not empty, its source is not read: what it holds is all that a slow reader makes us hold.
- An end is passed on as an end (half-close), once everything before it has gone.
- A tap sees the bytes, in Python, until it has seen enough: the end of a TLS handshake, say. From then on the kernel moves them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from pinproxy.net.pipe import PUT_BYTES, Pipe, PipePool
from pinproxy.net.watch import Watch

Tap = Callable[[bytes], bool]
"""Sees bytes before they go on; returns whether it wants more. What it raises cuts the tunnel."""

_MOVES_PER_WAKE = 8  # then the other connections have their turn
_WORTH_ANOTHER_BYTES = 64 * 1024  # after less the source is most likely dry: if it is not, it tells so again


class FlowOwner(Protocol):
    """Whom a flow tells how it goes.

    Attributes:
        done: Set when it has ended; both sockets may be closed then.
    """

    done: asyncio.Future[BaseException | None]

    def moved(self) -> None:
        """Hear that something moved."""

    def flow_ended(self) -> None:
        """Hear that nothing more will come through."""

    def side_failed(self, side: socket.socket, error: Exception) -> None:
        """Hear that one side has failed, or what the tap has against it."""

    def cut(self, side: socket.socket, error: Exception) -> None:
        """Hear that nothing more will come from one side, and that it cannot be told the rest either."""


class Flow:
    """One direction. It owns neither socket, and tells its owner how it goes.

    Attributes:
        has_source_ended: Whether the source has said all it will say.
        has_ended: Whether nothing more will come through.
        moved_bytes: What the source has given so far.
    """

    __slots__ = (
        "_from",
        "_is_reading",
        "_is_writing",
        "_owner",
        "_pipe",
        "_pipes",
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
        self, owner: FlowOwner, watch: Watch, source: socket.socket, target: socket.socket, pipes: PipePool, tap: Tap | None
    ) -> None:
        """Stand between two connected, non-blocking sockets; `resume` lets bytes flow.

        Args:
            owner: Hears how it goes.
            watch: Wakes it.
            source: Where bytes come from.
            target: Where they go.
            pipes: Lends pipes.
            tap: Sees the first bytes; None: nobody does.
        """
        self._watch = watch
        self._owner = owner
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
        """Read from the source, while it has anything to say."""
        if not (self._is_reading or self.has_source_ended or self.has_ended):
            self._is_reading = True
            self._watch.add_reader(self._from, self._pump)

    def stop(self) -> None:
        """Neither read nor write any more; what is in flight is lost."""
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
        self._owner.moved()
        try:
            for _ in range(_MOVES_PER_WAKE):
                count = self._fill()
                if not (count and self._drain()) or count < _WORTH_ANOTHER_BYTES:
                    break
        except Exception as error:  # noqa: BLE001 - the boundary of this callback: the source or the tap failed, so both directions end
            self._owner.cut(self._source, error)
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
            self._owner.side_failed(self._target, error)
            self._owner.flow_ended()
            return False
        return True

    def _flush(self) -> None:
        """Go on where the target was full."""
        self._owner.moved()
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
            self._owner.flow_ended()
            # Unless this was the second to end: then the relay has closed both, which says the same.
            if not self._owner.done.done():
                with contextlib.suppress(OSError):
                    self._target.shutdown(socket.SHUT_WR)
