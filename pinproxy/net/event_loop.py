"""The loop that everything runs on, and the pauses that the interpreter itself makes."""

from __future__ import annotations

import asyncio
import gc
import sys

_NEW_OBJECTS_PER_COLLECTION = 10_000  # half a millisecond to look at


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make uvloop's loop, or asyncio's own where there is no uvloop."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def keep_pauses_short() -> None:
    """Settle the interpreter down once everything is there, before the first client: for a process that serves until it ends."""
    # What is there now stays: or each full collection would look at all modules and rules again, for a tenth of a second.
    # Not collected before, which would take as long; what that leaves behind, it leaves once.
    gc.freeze()
    # What a connection leaves goes by its reference counts, and the collector finds nothing. By default it looks whenever
    # 700 objects are new, which eight connections make.
    gc.set_threshold(_NEW_OBJECTS_PER_COLLECTION)
    # How long the loop waits for a thread that computes. A reload of ten thousand rules does, for seconds, and every request
    # waits several times; the default is 5 ms.
    sys.setswitchinterval(0.001)
