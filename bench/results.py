"""What a run found, as values and as JSON: everything that a report needs, and everything that another run would need."""

from __future__ import annotations

import json
import os
import platform
import ssl
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import Figure, Row, Scale
from bench.process import REPOSITORY
from bench.procfs import processor_name

_FORMAT = 1


@dataclass
class Found:
    """The rows of one scenario.

    Attributes:
        title: Of the scenario.
        figures: Its figures.
        rows: One for each peer asked.
        left_out: Why, for each peer not asked.
        took_seconds: To measure.
    """

    title: str
    figures: tuple[Figure, ...]
    rows: list[Row]
    left_out: dict[str, str]
    took_seconds: float = 0.0


@dataclass
class Results:
    """One run.

    Attributes:
        command: As it was typed.
        began: UTC, ISO 8601.
        is_quick: Whether it was a first look only.
        scale: How long and how much.
        machine: What it ran on, by name.
        versions: What each peer calls itself.
        configurations: Of the peers, filled in, by name of their template.
        scenarios: What was found, by name.
        took_seconds: All of it.
    """

    command: str
    began: str
    is_quick: bool
    scale: dict[str, Any]
    machine: dict[str, str]
    versions: dict[str, str]
    configurations: dict[str, str] = field(default_factory=dict)
    scenarios: dict[str, Found] = field(default_factory=dict)
    took_seconds: float = 0.0

    @property
    def rows(self) -> dict[str, list[Row]]:
        """The rows by scenario."""
        return {name: found.rows for name, found in self.scenarios.items()}

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        path.write_text(json.dumps({"format": _FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `write` wrote.

        Raises:
            OSError: There is no such file.
            ValueError: It holds something else.
        """
        value = json.loads(path.read_text("utf-8"))
        if value.pop("format", None) != _FORMAT:
            raise ValueError(f"{path} holds no results in format {_FORMAT}")
        scenarios = {
            name: Found(
                found["title"],
                tuple(Figure(**figure) for figure in found["figures"]),
                [Row(**row) for row in found["rows"]],
                found["left_out"],
                found["took_seconds"],
            )
            for name, found in value.pop("scenarios").items()
        }
        return cls(**value, scenarios=scenarios)


def scale_as_json(scale: Scale) -> dict[str, Any]:
    """Give a scale as plain values."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(scale).items()}


def this_machine() -> dict[str, str]:
    """Describe what the run stands on."""
    return {
        "commit": _commit(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": f"{ssl.OPENSSL_VERSION} (Python's, and so pinproxy's)",
        "kernel": f"{platform.system()} {platform.release()}",
        "processor": f"{os.cpu_count()} x {processor_name(Path('/proc/cpuinfo').read_text('utf-8'))}, {platform.machine()}",
        "system": _system_name(),
    }


def _commit() -> str:
    """Name the commit, and say when the files differ from it."""
    git = ["git", "-C", str(REPOSITORY)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with changes that are not committed" if changed.stdout.strip() else commit


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return sys.platform
