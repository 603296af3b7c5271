"""One timer for everybody's deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pinproxy.net import deadlines
from pinproxy.net.deadlines import Deadlines


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweep every hundredth of a second."""
    monkeypatch.setattr(deadlines, "TICK_SECONDS", 0.01)


class Waiter:
    """Something with a deadline that is passed at once."""

    def __init__(self, watch: Deadlines, does: Callable[[], None] = lambda: None, *, lasts: bool = False) -> None:
        self.deadline = 0.0
        self.expired = asyncio.Event()
        self.expiries = 0
        self._watch = watch
        self._does = does
        self._lasts = lasts

    def expire(self) -> None:
        """Remember, and leave, unless it is to last."""
        self.expiries += 1
        self.expired.set()
        if self._lasts:
            self.deadline = float("inf")
        else:
            self._watch.discard(self)
        self._does()


async def passed(*waiters: Waiter) -> None:
    """Wait until each has expired."""
    async with asyncio.timeout(5):
        for waiter in waiters:
            await waiter.expired.wait()


async def sweeps(watch: Deadlines, count: int = 2) -> None:
    """Wait for some sweeps: each ends with another that is due."""
    for _ in range(count):
        probe = Waiter(watch)
        watch.add(probe)
        await passed(probe)


async def test_what_is_past_its_deadline_expires_once_and_the_rest_waits() -> None:
    """A deadline that is moved away is not met again."""
    watch = Deadlines()
    due, later = Waiter(watch, lasts=True), Waiter(watch)
    later.deadline = float("inf")
    watch.add(due)
    watch.add(later)
    await sweeps(watch)
    assert (due.expiries, later.expiries) == (1, 0)
    watch.close()


async def test_a_deadline_that_comes_back_is_met_again() -> None:
    """The owner moves it as often as it likes."""
    watch = Deadlines()
    waiter = Waiter(watch, lasts=True)
    watch.add(waiter)
    await sweeps(watch)
    waiter.deadline = 0.0
    await sweeps(watch)
    assert waiter.expiries == 2
    watch.close()


async def test_what_was_discarded_does_not_expire() -> None:
    """Not even where another one's expiry discards it within the same sweep."""
    watch = Deadlines()
    others: list[Waiter] = []

    def discard_others() -> None:
        for other in others:
            watch.discard(other)

    others += [Waiter(watch, discard_others), Waiter(watch, discard_others)]
    for other in others:
        watch.add(other)
    await sweeps(watch)
    assert sum(other.expiries for other in others) == 1
    watch.close()


async def test_an_expiry_that_fails_keeps_nobody_else_alive() -> None:
    """It is told to the loop, once, and the sweep goes on."""
    watch = Deadlines()
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["message"]))

    def fail() -> None:
        raise RuntimeError("a defect")

    broken = [Waiter(watch, fail, lasts=True) for _ in range(2)]
    sound = Waiter(watch)
    for waiter in (broken[0], sound, broken[1]):
        watch.add(waiter)
    await passed(sound, *broken)
    await sweeps(watch)
    assert told == ["a deadline failed"] * 2
    watch.close()


async def test_the_timer_rests_when_nobody_is_watched_and_runs_again_for_the_next() -> None:
    """An idle proxy wakes up for nothing."""
    watch = Deadlines()
    await sweeps(watch)
    async with asyncio.timeout(5):
        while watch._timer is not None:  # noqa: ASYNC110 - the end of the last sweep has no event
            await asyncio.sleep(0.001)
    await sweeps(watch)
    watch.close()


async def test_nothing_expires_after_the_close() -> None:
    """The loop is about to end."""
    watch = Deadlines()
    waiter = Waiter(watch)
    watch.add(waiter)
    watch.close()
    other = Deadlines()
    await sweeps(other)
    other.close()
    assert waiter.expiries == 0
