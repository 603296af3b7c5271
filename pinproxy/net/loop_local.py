"""One of something for each event loop, made when it is first asked for; it goes when the loop goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class LoopLocal(Generic[T]):
    """Call it for what belongs to the running loop. What is made must not hold the loop, or neither would ever go."""

    def __init__(self, make: Callable[[], T]) -> None:
        """Remember how it is made."""
        self._make = make
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def __call__(self) -> T:
        """Return the running loop's own."""
        loop = asyncio.get_running_loop()
        try:
            return self._made[loop]
        except KeyError:
            made = self._made[loop] = self._make()
            return made
