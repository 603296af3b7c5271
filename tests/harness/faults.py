"""Something goes wrong at the n-th await of the proxy's own tasks: an error out of it, a cancellation, or a peer that leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import pinproxy

PACKAGE = Path(pinproxy.__file__).parent

Fault = Callable[[], BaseException | None]
"""Does something; what it returns is raised at the await."""


class Awaits:
    """Counts the awaits of the proxy's tasks that are over, and goes wrong at one of them.

    Attributes:
        passed: How many are over.
        has_failed: Whether the fault has come.
    """

    def __init__(self) -> None:
        """Count, and let everything pass."""
        self.passed = 0
        self.has_failed = False
        self._at = 0
        self._fault: Fault = lambda: None

    def fail(self, at: int, fault: Fault) -> None:
        """Begin to count anew, and go wrong at the one of this number, from 1."""
        self.passed, self.has_failed, self._at, self._fault = 0, False, at, fault

    def pass_one(self) -> BaseException | None:
        """Count one; what is to be raised there."""
        self.passed += 1
        if self.passed != self._at:
            return None
        self.has_failed = True
        return self._fault()


class _Watched(Coroutine[Any, Any, Any]):
    """A coroutine whose awaits are counted."""

    def __init__(self, inner: Coroutine[Any, Any, Any], awaits: Awaits) -> None:
        self._inner = inner
        self._awaits = awaits
        self._has_begun = False

    def send(self, value: Any) -> Any:
        """Go on behind an await, or raise there."""
        error = self._awaits.pass_one() if self._has_begun else None
        self._has_begun = True
        return self._inner.send(value) if error is None else self._inner.throw(error)

    def throw(self, *error: Any) -> Any:
        """Pass on what the event loop raises."""
        self._has_begun = True
        return self._inner.throw(*error)

    def close(self) -> None:
        """Pass it on."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    @property
    def cr_code(self) -> Any:
        """The code, as of the coroutine itself."""
        return getattr(self._inner, "cr_code", None)


@contextlib.contextmanager
def watched_awaits() -> Iterator[Awaits]:
    """Watch the tasks that the proxy makes from now on."""
    awaits, loop = Awaits(), asyncio.get_running_loop()

    def make_task(running: asyncio.AbstractEventLoop, coro: Any, **further: Any) -> asyncio.Task[Any]:
        code = getattr(coro, "cr_code", None)
        is_ours = code is not None and PACKAGE in Path(code.co_filename).parents
        return asyncio.Task(_Watched(coro, awaits) if is_ours else coro, loop=running, **further)

    loop.set_task_factory(make_task)
    try:
        yield awaits
    finally:
        loop.set_task_factory(None)


def our_tasks() -> list[str]:
    """List the tasks whose code is the proxy's."""
    codes = [getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()]
    return [code.co_qualname for code in codes if code is not None and PACKAGE in Path(code.co_filename).parents]
