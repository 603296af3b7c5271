"""Proxies that are started on a core of their own, measured and ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.procfs import child_pids, cpu_ticks, resident_pages

REPOSITORY = Path(__file__).parents[1]
PEER_PROGRAMS = REPOSITORY / ".venv-bench" / "bin"
PROXY_CORE, OTHER_CORE = "0", "1"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass
class Running:
    """A proxy that runs on its own core.

    Attributes:
        process: The first of its processes.
        log: Where its output goes.
    """

    process: subprocess.Popen[bytes]
    log: Path

    def pids(self) -> list[int]:
        """Return its process and all below it."""
        found, pending = [], [self.process.pid]
        while pending:
            pid = pending.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    pending += child_pids((task / "children").read_text("ascii"))
        return found

    def cpu_seconds(self) -> float:
        """Return user and system time of all its processes so far."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += cpu_ticks(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace"))
        return total / _TICKS

    def resident_kib(self) -> int:
        """Return its resident memory, what processes share counted once for each."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += resident_pages(Path(f"/proc/{pid}/statm").read_text("ascii")) * _PAGE_KIB
        return total

    def wait_for_line(self, text: bytes, times: int, seconds: float) -> None:
        """Wait until a text stands in its output so many times.

        Raises:
            RuntimeError: It does not, within the time.
        """
        end = time.monotonic() + seconds
        while self.log.read_bytes().count(text) < times:
            if time.monotonic() > end:
                raise RuntimeError(f"{text.decode()!r} was not said {times} times within {seconds:g} s")
            time.sleep(0.01)  # a file tells nobody that it has grown; this is the resolution of what is timed by it


@contextlib.contextmanager
def running(command: list[str], port: int, directory: Path) -> Iterator[Running]:
    """Run a proxy on its core during the block, which begins when it listens; its output goes to a file, as a log would."""
    log = directory / f"{Path(command[0]).name}-{port}.out"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", PROXY_CORE, *command],
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            start_new_session=True,
        )
        try:
            wait_for_port(port, process)
            yield Running(process, log)
        except BaseException:
            sys.stderr.write(log.read_text("utf-8", "replace")[-2000:])
            raise
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group, politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return


def free_port() -> int:
    """Ask the kernel for a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None, seconds: float = 20) -> None:
    """Wait until somebody listens.

    Raises:
        RuntimeError: The process has ended, or nobody does within the time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)  # nothing tells that a port is bound; trying without a pause would take the core from who binds it
    raise RuntimeError(f"nobody listens on port {port}")


def find_program(name: str) -> str | None:
    """Find a program: in the bench's own environment, or on the machine."""
    own = PEER_PROGRAMS / name
    if own.exists():
        return str(own)
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
