"""Large configurations, read beside the traffic. Whoever reads one holds the interpreter, and for that long no byte moves.

Two things hold it for longer than a moment: the cyclic collector, which looks at every object there is whenever many new ones
have come (half a second with ten thousand hosts), and the end of a large tree, which is freed in one go.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Keep the cyclic collector from running; what has no cycles, nearly everything, is freed as ever. May be nested."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def free_one_by_one(*collections: list[Any] | dict[Any, Any]) -> None:
    """Empty collections that nobody needs any more, item by item, so that other threads get their turn between two items."""
    for collection in collections:
        if isinstance(collection, list):
            while collection:
                collection.pop()
        else:
            while collection:
                collection.popitem()
