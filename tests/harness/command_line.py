"""`pinproxy …` as a process of its own, as a shell runs it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.pki import Issued
from tests.harness.running import HOST

REPOSITORY = Path(__file__).parents[2]
BACKUP = "sha256/xRJYanjythfZY7DcrA7STe34LEf7hlxtjeFikyj6tL8="
_SECONDS = 30.0


def environment(**variables: str) -> dict[str, str]:
    """Make an environment without anything that could lead a client or the proxy elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY") and "PINPROXY" not in name}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **variables}


def pinproxy(*arguments: str, cwd: Path = REPOSITORY, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end. Blocks: async tests call it through `asyncio.to_thread`."""
    return subprocess.run(
        [sys.executable, "-m", "pinproxy", *arguments],
        env=environment(**variables),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@dataclass(frozen=True)
class RunningCommand:
    """A command line that goes on.

    Attributes:
        process: The process.
        log_file: What it writes to stderr.
    """

    process: subprocess.Popen[bytes]
    log_file: Path

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait until the log has a line of this event. Blocks."""
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            for line in self.log_file.read_text("utf-8").splitlines(keepends=True):
                if line.endswith("\n") and line.startswith("{") and (read := json.loads(line))["event"] == event:
                    return dict(read)
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"no {event!r} in:\n{self.log_file.read_text('utf-8')}")


@contextlib.contextmanager
def running_pinproxy(*arguments: str, **variables: str) -> Iterator[RunningCommand]:
    """Run a command line for the length of a block."""
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pinproxy", *arguments],
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            yield RunningCommand(process, Path(log.name))
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(_SECONDS)


def write_config(directory: Path, root: Issued, leaf: Issued, port: int, preamble: str = "") -> Path:
    """Write a configuration that pins `HOST` to a leaf, with its origin on a loopback port."""
    (directory / "root.pem").write_bytes(root.pem)
    file = directory / "pinproxy.yaml"
    file.write_text(
        f"version: 1\n{preamble}"
        f"hosts:\n  - host: {HOST}\n    trust: {{ca_file: root.pem}}\n"
        f"    upstream: {{address: 127.0.0.1, port: {port}}}\n    pins: [{leaf.pin}, {BACKUP}]\n",
        "utf-8",
    )
    return file
