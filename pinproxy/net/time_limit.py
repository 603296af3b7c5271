"""A time limit on a piece of a story: `asyncio.timeout` by the one timer that `net.deadlines` keeps for everybody.

A timer of its own costs uvloop a handle of libuv's to make and to close, several times for each connection, and all but never
rings. Limits shorter than a tick are kept exactly; others may be kept up to a tick late.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from pinproxy.net.deadlines import TICK_SECONDS, Deadlines
from pinproxy.net.loop_local import LoopLocal

_deadlines_of_loop: LoopLocal[Deadlines] = LoopLocal(Deadlines)


class time_limit:  # noqa: N801 - read as a statement: `with time_limit(seconds):`
    """Cancel what the running task waits for inside, once the time is up, and raise TimeoutError in its place.

    Attributes:
        deadline: When the time is up, in seconds of the event loop's clock.
    """

    __slots__ = ("_cancelling", "_deadlines", "_is_over", "_seconds", "_task", "_timer", "deadline")

    def __init__(self, seconds: float) -> None:
        """Allow some seconds, from the moment it is entered."""
        self._seconds = seconds
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        """Begin to watch the running task."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a time limit outside a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._deadlines = _deadlines_of_loop()
        self.deadline = loop.time() + self._seconds
        if self._seconds < TICK_SECONDS:
            self._timer = loop.call_at(self.deadline, self.expire)
        else:
            self._deadlines.add(self)

    def expire(self) -> None:
        """Cancel (`net.deadlines.Expiring`)."""
        self._stop()
        self._is_over = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        """Tell the end of the time from a cancellation by somebody else, which goes on as one.

        Raises:
            TimeoutError: The time was up.
        """
        self._stop()
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _stop(self) -> None:
        self._deadlines.discard(self)
        if self._timer is not None:
            self._timer.cancel()
