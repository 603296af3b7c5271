"""The whole program, made from the text of a configuration."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pinproxy.app import App
from pinproxy.settings.source import SettingsSource

_PRIVATE = "version: 1\nlisten: [127.0.0.1:0]\nadmin: null\nlocal_ca: {publish: null}\nlog: {format: json}\n"


@dataclass(frozen=True)
class ConfiguredProxy:
    """A program that runs.

    Attributes:
        app: The program.
        port: Where it listens first, on 127.0.0.1.
        file: Its configuration.
    """

    app: App
    port: int
    file: Path


@contextlib.asynccontextmanager
async def configured_proxy(
    directory: Path, text: str, environ: Mapping[str, str] | None = None, *, preamble: str = _PRIVATE
) -> AsyncIterator[ConfiguredProxy]:
    """Run the program with a configuration.

    Args:
        directory: For the file.
        text: The keys that matter to the test.
        environ: Its environment.
        preamble: The keys that do not: a free port, nothing published, no admin server.
    """
    file = directory / "pinproxy.yaml"
    file.write_text(preamble + text, "utf-8")
    source = SettingsSource(file, environ or {}, {})
    handlers = logging.getLogger().handlers[:]
    app = App(source, source.load())
    started = asyncio.Event()
    running = asyncio.create_task(app.run(lambda _app: started.set()))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if running.done():
            running.result()
        yield ConfiguredProxy(app, app.addresses[0].port, file)
    finally:
        app.stop()
        app.stop()  # the second time: at once
        await running
        # The program takes the log of the process; pytest wants its own back.
        logging.getLogger().handlers[:] = handlers
