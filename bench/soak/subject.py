"""The proxy of a soak: `pinproxy run`, and on SIGUSR1 a census of what lives in it, as JSON in a file.

python -m bench.soak.subject CONFIGURATION CENSUS
"""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import signal
import sys
from pathlib import Path

from pinproxy.app import App, run_app
from pinproxy.settings.source import SettingsSource

COUNTED_ROOMS = ("pinproxy", "ssl", "_ssl", "socket", "asyncio", "_asyncio", "uvloop")


def main() -> None:
    """Run the proxy until it is told to stop."""
    configuration, census = map(Path, sys.argv[1:])

    def started(_app: App) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, take_census, census)

    run_app(SettingsSource(configuration, {}, {}), started)


def take_census(path: Path) -> None:
    """Write how many tasks and objects of each type there are; what is only waiting for the collector is collected first."""
    gc.collect()
    types = collections.Counter(f"{type(item).__module__}.{type(item).__qualname__}" for item in gc.get_objects())
    counted = {name: number for name, number in types.items() if name.split(".")[0] in COUNTED_ROOMS}
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({"tasks": len(asyncio.all_tasks()), "types": counted}), "utf-8")
    unfinished.replace(path)


if __name__ == "__main__":
    main()
