"""The cyclic collector at rest, and large trees freed in small steps: whoever holds the interpreter keeps every byte waiting.

Two things hold it for longer than a moment: the cyclic collector, which looks at every object there is whenever many new ones
have come (half a second with ten thousand hosts), and the end of a large tree, which is freed in one go.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from typing import Any


class _Collector:
    """The one cyclic collector of the process, and how many ask it to rest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking = 0
        self._was_enabled = False

    def rest(self) -> None:
        with self._lock:
            if not self._asking:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._asking += 1

    def resume(self) -> None:
        with self._lock:
            self._asking -= 1
            if not self._asking and self._was_enabled:
                gc.enable()


_COLLECTOR = _Collector()


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Keep the cyclic collector from running until all that asked for it are done; what has no cycles is freed as ever."""
    _COLLECTOR.rest()
    try:
        yield
    finally:
        _COLLECTOR.resume()


def free_one_by_one(*collections: list[Any] | dict[Any, Any]) -> None:
    """Empty collections that nobody needs any more, item by item, so that other threads get their turn between two items."""
    for collection in collections:
        if isinstance(collection, list):
            while collection:
                collection.pop()
        else:
            while collection:
                collection.popitem()
