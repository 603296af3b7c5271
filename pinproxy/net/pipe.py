"""Where bytes are between being read and being written: a kernel pipe for `splice(2)`, or a buffer of our own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
from collections.abc import Callable
from typing import Protocol

_PIPE_BYTES = 256 * 1024  # four reads of a usual socket buffer; the kernel's own default is 64 KiB
_BUFFER_BYTES = 64 * 1024
_PIPES_KEPT = 16

PUT_BYTES = select.PIPE_BUF
"""What any empty pipe takes at once: above its share (pipe-user-pages-soft) a user's pipes are one or two pages, no more."""


class Pipe(Protocol):
    """Holds bytes of one direction while they are in flight.

    Attributes:
        held_bytes: What is in it.
    """

    held_bytes: int

    def fill(self, source: socket.socket) -> int:
        """Take bytes from a socket; returns how many, 0 at its end; raises BlockingIOError when there are none now."""

    def put(self, data: bytes) -> None:
        """Put bytes in; it must be empty, and they `PUT_BYTES` at most."""

    def drain(self, target: socket.socket) -> None:
        """Give bytes to a socket, until empty; raises BlockingIOError when it takes no more now."""

    def close(self) -> None:
        """Drop what is held, and free it."""


class KernelPipe:
    """A pipe whose bytes never come into Python (`splice(2)`)."""

    __slots__ = ("_reader", "_writer", "held_bytes")

    def __init__(self) -> None:
        """Open it, as large as we may."""
        self.held_bytes = 0
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Above its share of pages (pipe-user-pages-soft) an unprivileged user keeps a smaller size, which works too.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def fill(self, source: socket.socket) -> int:
        """See `Pipe`."""
        count = os.splice(source.fileno(), self._writer, _PIPE_BYTES, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
        self.held_bytes += count
        return count

    def put(self, data: bytes) -> None:
        """See `Pipe`."""
        self.held_bytes += os.write(self._writer, data)

    def drain(self, target: socket.socket) -> None:
        """See `Pipe`."""
        flags = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
        while self.held_bytes:
            self.held_bytes -= os.splice(self._reader, target.fileno(), self.held_bytes, flags=flags)

    def close(self) -> None:
        """See `Pipe`."""
        os.close(self._reader)
        os.close(self._writer)


class BufferPipe:
    """The same for platforms without `splice`: bytes are copied through Python."""

    __slots__ = ("_held", "held_bytes")

    def __init__(self) -> None:
        """Start empty."""
        self._held = memoryview(b"")
        self.held_bytes = 0

    def fill(self, source: socket.socket) -> int:
        """See `Pipe`."""
        data = source.recv(_BUFFER_BYTES)
        self.put(data)
        return len(data)

    def put(self, data: bytes) -> None:
        """See `Pipe`."""
        self._held = memoryview(data)
        self.held_bytes = len(data)

    def drain(self, target: socket.socket) -> None:
        """See `Pipe`."""
        while self.held_bytes:
            self._held = self._held[target.send(self._held) :]
            self.held_bytes = len(self._held)

    def close(self) -> None:
        """See `Pipe`."""
        self._held = memoryview(b"")
        self.held_bytes = 0


BEST_KIND: type[Pipe] = KernelPipe if hasattr(os, "splice") else BufferPipe


class PipePool:
    """Empty pipes, lent to whoever has bytes in flight: an idle tunnel has none, and costs two descriptors."""

    def __init__(self, make: Callable[[], Pipe] = BEST_KIND) -> None:
        """Make pipes of the best kind there is, when they are asked for."""
        self._make = make
        self._idle: list[Pipe] = []

    def borrow(self) -> Pipe:
        """Lend an empty pipe."""
        if self._idle:
            return self._idle.pop()
        try:
            return self._make()
        except OSError:
            # No descriptor left. Whoever is connected already goes on, at the price of copies.
            return BufferPipe()

    def give_back(self, pipe: Pipe) -> None:
        """Take a pipe back; one that still holds somebody's bytes is closed, and never lent to somebody else."""
        is_worth_keeping = len(self._idle) < _PIPES_KEPT and not isinstance(pipe, BufferPipe)
        if not pipe.held_bytes and is_worth_keeping:
            self._idle.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        """Close the idle pipes."""
        while self._idle:
            self._idle.pop().close()
