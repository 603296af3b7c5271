"""Deadlines of long-lived connections, kept by one timer.

A timer of its own for each request would cost more than the request's parsing; a deadline here is an attribute that its owner
moves as often as it likes, and one sweep a tick finds those that have passed. Ticks of half a second are exact enough: the
shortest default is ten seconds.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

TICK_SECONDS = 0.5


class Expiring(Protocol):
    """Something with a deadline.

    Attributes:
        deadline: Event loop time in seconds; `float("inf")`: none for now.
    """

    deadline: float

    def expire(self) -> None:
        """End, or set a new deadline; called once when the deadline has passed."""


class Deadlines:
    """Everything in one process that has a deadline."""

    def __init__(self) -> None:
        """Start with nothing to watch and no timer."""
        self._watched: set[Expiring] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: Expiring) -> None:
        """Watch an item until it is discarded."""
        self._watched.add(item)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._sweep)

    def discard(self, item: Expiring) -> None:
        """Watch it no longer; unknown items are fine."""
        self._watched.discard(item)

    def close(self) -> None:
        """Stop the timer."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for item in [item for item in self._watched if item.deadline <= now]:
            try:
                if item in self._watched:
                    item.expire()
            except Exception as error:  # noqa: BLE001 - the boundary of each expiry: one that fails must not keep the others alive
                self._watched.discard(item)
                loop.call_exception_handler({"message": "a deadline failed", "exception": error})
        self._timer = loop.call_later(TICK_SECONDS, self._sweep) if self._watched else None
