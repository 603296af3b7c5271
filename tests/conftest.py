"""What holds for every test: both event loops, no forgotten failure, and no silent skip.

Certificates, origins and proxies that tests start live in tests/harness/, not here.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
from collections.abc import Callable, Iterator

import pytest
import uvloop

from tests.attacks import read_mark

# A developer's own PINPROXY_… variables are settings, and an unknown one is an error: no test may inherit either.
if os.environ.pop("PINPROXY_CI", None):
    os.environ["CI"] = "true"
for _variable in [name for name in os.environ if name.startswith("PINPROXY_")]:
    del os.environ[_variable]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a second run, as on another Python, be content with the loop that users get."""
    parser.addoption("--uvloop-only", action="store_true", help="run async tests on uvloop and not also on asyncio's own loop")


def pytest_asyncio_loop_factories(config: pytest.Config) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every async test on each loop: `[uvloop]`, the one users get, and `[asyncio]`, its stand-in."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if not config.getoption("--uvloop-only"):
        factories["asyncio"] = asyncio.new_event_loop
    return factories


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuse a mark that docs/security.md cannot hold: an unknown topic or reason code, or no test of its own."""
    for node, mark in item.iter_markers_with_node("attack"):
        if node is not item:
            raise pytest.UsageError(f"{node.nodeid}: the mark `attack` stands on a test, or on a row of its table")
        try:
            read_mark(mark)
        except ValueError as error:
            raise pytest.UsageError(f"{item.nodeid}: {error}") from error


def pytest_collection_finish() -> None:
    """Put what exists by now beyond the collector's reach, so that the collection after each test costs little."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are missing and name them; under CI fail it: there, a skip is a hole nobody sees."""
    names = [name for marker in item.iter_markers("needs_tool") for name in marker.args]
    missing = [name for name in names if shutil.which(name) is None]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}, which this machine does not have"
    if os.environ.get("CI") or os.environ.get("PINPROXY_CI"):
        pytest.fail(f"{reason}; .ci/run installs what the tests need", pytrace=False)
    pytest.skip(reason)


class _ErrorsOfAsyncio(logging.Handler):
    """Keeps what the event loops could tell nobody but the log, such as "Task exception was never retrieved"."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text with its traceback."""
        self.texts.append(logging.Formatter().format(record))


@pytest.fixture(autouse=True)
def no_forgotten_failure() -> Iterator[None]:
    """Fail a test that leaves a failed task or callback behind, even if everything it asserted holds.

    A forgotten task reports itself when it is collected, so the collection is forced here, after the loop is closed:
    this fixture is the first to be set up and thus the last to be torn down. Coroutines never awaited come up as
    warnings at the same moment, and warnings are errors.
    """
    handler = _ErrorsOfAsyncio()
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    try:
        yield
        gc.collect()
    finally:
        logger.removeHandler(handler)
    if handler.texts:
        pytest.fail("the event loop was left with failures:\n" + "\n".join(handler.texts), pytrace=False)
