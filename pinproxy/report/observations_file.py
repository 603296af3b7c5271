"""Where observations outlive the process: one file, read at the start, replaced whole at most once a minute and at the end.

Rules of this file:
- Nothing that goes wrong here stops or slows traffic: it is told in the log, and observations go on in memory.
- What could not be read is never overwritten: a damaged file of ours is set aside beside its place. Where that fails, or where it
  was never ours, it stays, and nothing is written at all: whatever has that name by mistake would be missed by others.
- The event loop only collects, a few hosts at a time; a thread writes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

from pinproxy.errors import ObservationsSyntaxError
from pinproxy.report.atomic_file import replace_file
from pinproxy.report.lean_structlog import FilteringBoundLogger
from pinproxy.report.observations import Observations
from pinproxy.report.observations_json import dump_document, dump_host, is_ours, read_document

WRITE_SECONDS = 60.0  # what a crash may cost
MAX_BYTES = 64 * 1024 * 1024  # 1,024 authorities with everything taken have some 40 MB
_HOSTS_AT_ONCE = 8  # one with 90 days takes 0.1 ms


class ObservationsFile:
    """The file, if the settings name one."""

    def __init__(self, path: Path | None, logger: FilteringBoundLogger, write_seconds: float = WRITE_SECONDS) -> None:
        """Name the file.

        Args:
            path: Where it is, or will be; None: observations end with the process.
            logger: Hears what went wrong.
            write_seconds: How long changes may wait.
        """
        self._path = path
        self._logger = logger
        self._write_seconds = write_seconds
        self._written = 0
        self._has_failed = False

    def load(self, now: datetime) -> Observations:
        """Read what was known; where there is nothing, or nothing that can be read, begin anew. Never raises."""
        if self._path is None:
            return Observations(now)
        path, data = self._path, None
        try:
            data = read_bounded(path)
            document = read_document(data)
        except FileNotFoundError:
            return Observations(now)
        except OSError as error:
            kept, problem = self._leave("it cannot be read"), str(error)
        except ObservationsSyntaxError as error:
            kept = self._set_aside(path, now) if data is not None and is_ours(data) else self._leave("it is none of ours")
            problem = str(error)
        else:
            return Observations(document.began_at, document.by_authority())
        self._logger.error("observations_unreadable", file=str(path), problem=problem, effect=f"begun anew; {kept}")
        return Observations(now)

    @contextlib.asynccontextmanager
    async def kept_up(self, observations: Observations, clock: Callable[[], datetime]) -> AsyncIterator[None]:
        """Write changes down while this lasts, and the last of them at its end."""
        if self._path is None:
            yield
            return
        path = self._path
        self._written = observations.changes
        ending = asyncio.Event()

        async def keep() -> None:
            is_last = False
            while not is_last:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._write_seconds):
                        await ending.wait()
                is_last = ending.is_set()
                await self._write(path, observations, clock())

        keeping = asyncio.create_task(keep())
        try:
            yield
        finally:
            # Not cancelled: a write that is under way in its thread would go on, and might end behind the last one.
            ending.set()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _write(self, path: Path, observations: Observations, now: datetime) -> None:
        changes = observations.changes
        if changes == self._written:
            return
        content = await dump_observations(observations, now)
        try:
            await asyncio.to_thread(replace_file, path, content, 0o600)
        except OSError as error:
            # Once: a full disk is full every minute.
            if not self._has_failed:
                self._logger.warning("observations_not_written", file=str(path), problem=str(error), effect="they stay in memory")
            self._has_failed = True
            return
        self._written, self._has_failed = changes, False

    def _set_aside(self, path: Path, now: datetime) -> str:
        aside = path.with_name(f"{path.name}.{now:%Y%m%dT%H%M%SZ}.bad")
        try:
            path.rename(aside)
        except OSError as error:
            return self._leave(f"it cannot be renamed: {error.strerror}")
        return f"it was kept as {aside.name}"

    def _leave(self, why: str) -> str:
        self._path = None
        return f"it stays where it is ({why}), and nothing is written in this run"


def read_bounded(path: Path) -> bytes:
    """Read a file of observations.

    Raises:
        OSError: It cannot be read.
        ObservationsSyntaxError: It is far too large to be one.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ObservationsSyntaxError(f"found more than {MAX_BYTES} bytes; expected observations of pinproxy")
    return data


async def dump_observations(observations: Observations, now: datetime) -> bytes:
    """Write observations as JSON, letting others go on after every few hosts."""
    hosts = []
    for number, host in enumerate(observations.hosts, start=1):
        hosts.append(dump_host(host))
        if number % _HOSTS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return dump_document(observations.began_at, now, hosts)
