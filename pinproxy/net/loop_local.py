"""One of something for each event loop, made when it is first asked for; it goes when the loop goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LoopLocal(Generic[T]):
    """Call it for what belongs to the running loop.

    It is kept in an attribute of the loop, so that both can go together even where it holds the loop, as a timer does: a weak
    mapping would hold what holds its key for ever.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        """Remember how it is made."""
        self._make = make
        self._name = f"{__name__}.{id(self):x}"

    def __call__(self) -> T:
        """Return the running loop's own."""
        loop = asyncio.get_running_loop()
        try:
            made: T = getattr(loop, self._name)
        except AttributeError:
            made = self._make()
            setattr(loop, self._name, made)
        return made
