"""`exec`: one program, behind a proxy that lives as long as it does.

1. The configuration as it is, but for what must be this run's own: the port, the directory of the CA's files, no admin server,
   no routes, and no question who the only client is.
2. Once the proxy listens, the child starts, with the variables that lead it through.
3. Signals for us are signals for the child. When it ends, the proxy does, and its exit code is ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path

import click

from pinproxy.app import App, run_app
from pinproxy.cli.client_environment import client_environment, extend
from pinproxy.cli.env import unproxied
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.options import config_option
from pinproxy.settings.model import Settings
from pinproxy.settings.source import SettingsSource

_SIGNALLED = 128  # POSIX.1-2024, XCU 2.8.2: "greater than 128"; every shell adds the signal's number
_FORWARDED = (signal.SIGTERM, signal.SIGINT)


@click.command(
    "exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}, options_metavar="[--config FILE]"
)
@config_option()
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGS]...")
def exec_child(config: Path, command: tuple[str, ...]) -> int:
    """Run one program behind a proxy of its own.

    The proxy listens on a free port and ends with the program, whose environment leads curl, Python, Node, Java, Go and others
    through it and makes them trust its CA. Its log has warnings only, unless the configuration says otherwise.

    Exits with the program's code, 128 and the number of the signal that ended it, 127 if it is not found, 126 if it cannot
    be executed.

    \b
      pinproxy exec -c pinproxy.yaml -- curl https://api.example.com/
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    if shutil.which(command[0]) is None:
        return _not_started(command[0], is_there=Path(command[0]).exists() and "/" in command[0])
    with tempfile.TemporaryDirectory(prefix="pinproxy-") as directory:  # mode 0700
        source, settings = _own_settings(config, Path(directory))
        child = _Child(command, settings)
        run_app(source, child.start)
    return child.exit_code


def _own_settings(config: Path, directory: Path) -> tuple[SettingsSource, Settings]:
    flags = {
        "--listen": "127.0.0.1:0",
        "--admin": "null",
        # Two runs at once must not write each other's CA or observations, so neither goes where the configuration says.
        "--local-ca-publish": str(directory),
        "--observations-file": "null",
        # What still talks when the child is gone is nobody's to wait for.
        "--limits-drain-seconds": "1s",
    }
    settings = SettingsSource(config, os.environ, flags, is_for_one_client=True).load()
    if "level" not in settings.log.model_fields_set:
        flags["--log-level"] = "warning"
    return SettingsSource(config, os.environ, flags, is_for_one_client=True), settings


class _Child:
    """The program, from the proxy's start to its own end."""

    def __init__(self, command: tuple[str, ...], settings: Settings) -> None:
        self.exit_code: int = ExitCode.FAILURE
        self._command = command
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._early: list[signal.Signals] = []
        self._story: asyncio.Task[None] | None = None

    def start(self, app: App) -> None:
        """Take over the signals, which until now ended the proxy, and begin."""
        loop = asyncio.get_running_loop()
        for number in _FORWARDED:
            loop.add_signal_handler(number, self._forward, number)
        self._story = loop.create_task(self._live(app))

    async def _live(self, app: App) -> None:
        variables = client_environment(app.addresses[0], unproxied(self._settings), self._settings.local_ca.publish)
        try:
            self._process = await asyncio.create_subprocess_exec(*self._command, env=extend(os.environ, variables))
            for number in self._early:
                self._forward(number)
            code = await self._process.wait()
            self.exit_code = code if code >= 0 else _SIGNALLED - code
        except OSError as error:
            self.exit_code = _not_started(self._command[0], is_there=not isinstance(error, FileNotFoundError))
        finally:
            app.stop()

    def _forward(self, number: signal.Signals) -> None:
        """Pass a signal on. Ctrl-C in a terminal reaches the whole foreground group: the child has had it already."""
        if number == signal.SIGINT and _is_foreground():
            return
        if self._process is None:
            self._early.append(number)  # it is being started
            return
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            self._process.send_signal(number)


def _is_foreground() -> bool:
    """Tell whether a terminal's signals reach us; stdin may well be a file then, so the terminal itself is asked."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def _not_started(program: str, *, is_there: bool) -> int:
    what = "cannot be executed" if is_there else "not found"
    click.echo(f"pinproxy exec: {program}: {what}", err=True)
    return ExitCode.NOT_EXECUTABLE if is_there else ExitCode.NOT_FOUND
