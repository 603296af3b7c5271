"""A time limit, as `asyncio.timeout` would keep it."""

from __future__ import annotations

import asyncio

import pytest

from pinproxy.net import deadlines
from pinproxy.net.time_limit import time_limit

SHORT = 0.02  # under a tick: by a timer of its own


@pytest.fixture(params=["timer", "sweep"])
def seconds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """A short limit, kept by a timer of its own or by the sweep."""
    if request.param == "sweep":
        monkeypatch.setattr(deadlines, "TICK_SECONDS", SHORT / 2)
        monkeypatch.setattr("pinproxy.net.time_limit.TICK_SECONDS", SHORT / 2)
    return SHORT


async def test_what_takes_too_long_is_ended(seconds: float) -> None:
    """TimeoutError, and the task goes on unharmed; twice, for the first leaves nothing behind."""
    for _ in range(2):
        with pytest.raises(TimeoutError), time_limit(seconds):
            await asyncio.Event().wait()
    await asyncio.sleep(0)


async def test_what_is_done_in_time_is_left_alone(seconds: float) -> None:
    """The twin: nothing rings afterwards."""
    with time_limit(seconds):
        await asyncio.sleep(0)
    await asyncio.sleep(3 * seconds)


async def test_an_error_inside_is_that_error(seconds: float) -> None:
    """The limit has no opinion on it."""
    with pytest.raises(ValueError, match="mine"), time_limit(seconds):
        raise ValueError("mine")


async def test_a_cancellation_by_somebody_else_stays_one(seconds: float) -> None:
    """Also where the time is up at the same moment."""

    async def wait() -> None:
        with time_limit(seconds):
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waiting.cancelled()


async def test_the_inner_of_two_limits_rings_alone(seconds: float) -> None:
    """The outer one goes on counting."""
    with time_limit(60):
        with pytest.raises(TimeoutError), time_limit(seconds):
            await asyncio.Event().wait()
        await asyncio.sleep(0)
