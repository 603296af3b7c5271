"""What belongs to a loop: one for each, and gone with it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest
import uvloop

from pinproxy.net.loop_local import LoopLocal


class Clock:
    """Holds the loop it was made in, as whoever has a timer does."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()


async def test_a_loop_has_one_of_each_kind() -> None:
    """Asked for twice, it is the same; of another kind, it is another."""
    one, other = LoopLocal(Clock), LoopLocal(Clock)
    assert one() is one()
    assert one() is not other()


@pytest.mark.parametrize("new_event_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_what_holds_its_loop_goes_with_it(new_event_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A thousand loops one after the other would else be a thousand loops, timers and descriptors."""
    clock_of_loop = LoopLocal(Clock)

    async def make() -> weakref.ref[Clock]:
        return weakref.ref(clock_of_loop())

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        made = runner.run(make())
        assert made() is not None
    del runner
    gc.collect()
    assert made() is None
