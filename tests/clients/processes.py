"""Programs as processes of their own, with an end to every one of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

# Longer than the slowest client (a JVM on a busy machine) takes; shorter than the test's own limit, so that its output is seen.
_SECONDS = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished program leaves behind."""

    code: int
    stdout: str
    stderr: str


async def run_process(command: Sequence[str], environment: Mapping[str, str], stdin: bytes = b"") -> Outcome:
    """Run a program to its end in exactly this environment; one that does not come to an end is killed."""
    async with running_process(command, environment) as process:
        async with asyncio.timeout(_SECONDS):
            stdout, stderr = await process.communicate(stdin)
        return Outcome(process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


@contextlib.asynccontextmanager
async def running_process(
    command: Sequence[str], environment: Mapping[str, str], *, pass_fds: Sequence[int] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program beside the test; it is ended when the test is through with it, and its children with it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=tuple(pass_fds), start_new_session=True
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a session of its own is a process group of its own
        await process.communicate()
