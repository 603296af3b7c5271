"""Who is connected: for the limit, for the drain, and for a policy that changes under an open connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Carrying(Protocol):
    """Something that carries a client's traffic now."""

    def drain(self) -> None:
        """Finish what is in flight, and take nothing new."""

    def abort(self) -> None:
        """End now."""

    def review(self) -> None:
        """End if the policy now in force would not have let this begin."""


class Outliving(Protocol):
    """Something in front of a client's story that lives a little longer."""

    def end(self, ended: Callable[[], None]) -> None:
        """Hear that the story is over; `ended` is to be called when this is over too. Told twice, it calls twice."""


class Slot:
    """One accepted client, from the accept to the end of whatever carries it.

    Attributes:
        task: The client's story; None once something carries its traffic and the story has ended.
        carrying: What carries its traffic now.
        outlived_by: What keeps the room after the story has given it up; None: nothing does.
    """

    __slots__ = ("_live", "_reviews_before", "carrying", "outlived_by", "task")

    def __init__(self, live: LiveConnections) -> None:
        """Take up room among the live connections."""
        self._live = live
        self._reviews_before = live.reviews
        self.task: asyncio.Task[None] | None = None
        self.carrying: Carrying | None = None
        self.outlived_by: Outliving | None = None

    @property
    def has_missed_review(self) -> bool:
        """Whether the policy changed since the client came, and what carries it may have been begun under another."""
        return self._live.reviews != self._reviews_before

    def release(self) -> None:
        """Give up the room; twice is fine."""
        if self.outlived_by is None:
            self._live.remove(self)
        else:
            self.outlived_by.end(lambda: self._live.remove(self))

    def forget(self) -> None:
        """Hold nobody any more: whoever was carried holds its room, and the two would hold each other with all they buffer."""
        self.task = self.carrying = self.outlived_by = None

    def drain(self) -> None:
        """Pass on the wish; a client that is still being read or dialled for goes on."""
        if self.carrying is not None:
            self.carrying.drain()

    def abort(self) -> None:
        """End now, whatever the client is at."""
        if self.carrying is not None:
            self.carrying.abort()
        if self.task is not None:
            self.task.cancel()


class LiveConnections:
    """Every accepted client.

    Attributes:
        reviews: How often they were held against a new policy.
    """

    def __init__(self, opened: Callable[[], None], closed: Callable[[], None]) -> None:
        """Start with none; the callbacks hear of each client that comes and goes."""
        self._opened = opened
        self._closed = closed
        self.reviews = 0
        self._slots: set[Slot] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        """Count the accepted clients."""
        return len(self._slots)

    def add(self) -> Slot:
        """Make room for a client."""
        slot = Slot(self)
        self._slots.add(slot)
        self._opened()
        self._empty.clear()
        return slot

    def remove(self, slot: Slot) -> None:
        """Free a client's room."""
        if slot not in self._slots:
            return
        self._slots.remove(slot)
        slot.forget()
        self._closed()
        if not self._slots:
            self._empty.set()

    async def wait_empty(self) -> None:
        """Wait until nobody is connected."""
        await self._empty.wait()

    def drain(self) -> None:
        """Let everything finish what is in flight."""
        for slot in list(self._slots):
            slot.drain()

    def abort(self) -> None:
        """End everything now."""
        for slot in list(self._slots):
            slot.abort()

    def review(self) -> None:
        """Hold every open connection against a new policy."""
        self.reviews += 1
        for slot in list(self._slots):
            if slot.carrying is not None:
                slot.carrying.review()
