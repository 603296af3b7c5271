"""Where log lines go: a descriptor that is written to and never waited for.

Rules of this file:
- A reader that has stopped reading, or is gone, costs lines and never traffic: nothing here blocks or raises.
- Nothing is queued for a reader. A queue would only hide for a while that nobody reads, and then hold the memory as well.
- Between `hold` and `release`, where nobody waits for anything, lines gather to pieces that a pipe takes whole, in order.
"""

from __future__ import annotations

import os
import select
import stat
from typing import TextIO

# A pipe that polls as writable takes this much without blocking (POSIX.1-2017, write(2): PIPE_BUF), and takes it in one piece.
_PIECE = select.PIPE_BUF


class LineSink:
    """The last station of the log, in the shape of a structlog logger.

    Attributes:
        dropped: Lines that could not be written, in whole or in part.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Take a duplicate of the stream's descriptor.

        A duplicate, because a closed number 2 may come back as the number of somebody's connection, and log lines would go there.

        Args:
            stream: Where to write; None, as `sys.stderr` is where it was closed before the start: nowhere.
        """
        self.dropped = 0
        self._is_holding = False
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._is_torn = False
        self._descriptor = os.open(os.devnull, os.O_WRONLY) if stream is None else os.dup(stream.fileno())
        # > POSIX.1-2017, poll(): Regular files shall always poll TRUE for reading and writing.
        self._always_takes = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)

    def close(self) -> None:
        """Give the descriptor back; later lines are dropped."""
        self.release()
        if self._descriptor >= 0:
            self._poll.unregister(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def msg(self, line: bytes) -> None:
        """Write one line, end of line included; drop it where that would block or fail."""
        if not self._is_holding:
            self._write_or_drop(line, 1)
            return
        if self._held_bytes + len(line) > _PIECE:
            self._write_held()
        self._held.append(line)
        self._held_bytes += len(line)

    debug = info = warning = error = critical = msg

    def hold(self) -> None:
        """Gather what comes until `release`: a system call for each line is what a proxy under load can do without."""
        self._is_holding = True

    def release(self) -> None:
        """Write what was gathered, and gather no more."""
        self._is_holding = False
        self._write_held()

    def _write_held(self) -> None:
        if self._held:
            held, self._held, self._held_bytes = self._held, [], 0
            self._write_or_drop(b"".join(held), len(held))

    def _write_or_drop(self, text: bytes, lines: int) -> None:
        try:
            is_whole = self._write(b"\n" + text if self._is_torn else text)
        except OSError:
            is_whole = False
        if not is_whole:
            self.dropped += lines

    def _write(self, text: bytes) -> bool:
        written = 0
        while written < len(text):
            if not self._always_takes and not self._takes_now():
                self._is_torn = self._is_torn or written > 0
                return False
            written += os.write(self._descriptor, text[written : written + _PIECE])
        self._is_torn = False
        return True

    def _takes_now(self) -> bool:
        ready = self._poll.poll(0)
        return bool(ready) and bool(ready[0][1] & select.POLLOUT)
