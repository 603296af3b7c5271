"""Finds the command, runs it, and turns what it raises into a message and an exit code.

Rules of this file:
- A command's module is imported when it is asked for, so that `--help` and the probes load neither pydantic nor aiohttp.
- A command returns an exit code, or None for 0; nobody else ends the process.
- Results go to stdout; everything else (problems, warnings, what to do) goes to stderr.
"""

from __future__ import annotations

import difflib
import errno
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import click

from pinproxy import __version__
from pinproxy.cli.exit_code import ExitCode
from pinproxy.errors import PinproxyError, SettingsError

_CANNOT_WRITE = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class Entry(NamedTuple):
    """A command: where it lives, and its line in `--help`, which a test compares with its docstring."""

    module: str
    attribute: str
    summary: str


COMMANDS: dict[str, dict[str, Entry]] = {
    "Proxy": {
        "run": Entry("run", "run", "Start the proxy."),
        "exec": Entry("exec_child", "exec_child", "Run one program behind a proxy of its own."),
        "env": Entry("env", "env", "Print the variables that lead an application through the proxy."),
    },
    "Pins and configuration": {
        "pin": Entry("pin", "pin", "Print the pins of a server, certificate, key or signing request."),
        "backup-key": Entry("backup_key", "backup_key", "Make a backup key, its signing request and its pin, offline."),
        "import": Entry("pin_exchange", "import_pins", "Turn the pin file of another program into a piece of configuration."),
        "export": Entry("pin_exchange", "export_pins", "Write the pins of a configuration as another program's pin file."),
        "check": Entry("check", "check", "Validate a configuration and point out what is seldom meant."),
        "verify": Entry("verify", "verify", "Verify every listed host as the proxy would, at each of its addresses."),
        "explain": Entry("explain", "explain", "Explain what would happen to a host, or what happened to a connection."),
        "learn": Entry("learn", "learn", "Propose pins from what the proxy has observed."),
        "promote": Entry("promote", "promote", "Turn a report-only host to enforce, if what was observed bears it out."),
        "hash-password": Entry("hash_password", "hash_password", "Print the hash of a password, for `client_auth`."),
        "schema": Entry("schema", "schema", "Print the JSON schema of the configuration, for editors."),
    },
    "Health": {
        "status": Entry("status", "status", "Show what a running proxy has seen of each host."),
        "healthcheck": Entry("probe", "healthcheck", "Tell whether the proxy is ready."),
        "wait": Entry("probe", "wait", "Wait until the proxy is ready."),
    },
    "Start here": {
        "demo": Entry("demo.command", "demo", "Show a pin held, broken and reported; needs no network."),
    },
}


class _LazyGroup(click.Group):
    """A group that imports a command when it is run, and lists commands without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the signature is click's
        for section in COMMANDS.values():
            if entry := section.get(cmd_name):
                command: click.Command = getattr(import_module(f"pinproxy.cli.{entry.module}"), entry.attribute)
                return command
        return None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in (names := self.list_commands(ctx)):
            near = difflib.get_close_matches(args[0], names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; `pinproxy --help` lists them"
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        width = max(len(name) for section in COMMANDS.values() for name in section)
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry.summary) for name, entry in section.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="`pinproxy COMMAND --help` tells more. Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 mismatch found.",
)
@click.version_option(__version__, prog_name="pinproxy", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Certificate and public-key pinning for services that have none: a forward proxy that verifies, then lets a byte through."""
    # https://no-color.org: set to anything, it wins over a terminal.
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def invoke(arguments: Sequence[str]) -> int:
    """Run a command line.

    Args:
        arguments: Without the program's name.

    Returns:
        The exit code; what went wrong was said on stderr.
    """
    try:
        code = cli.main(list(arguments), prog_name="pinproxy", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except SettingsError as error:
        count = len(error.problems)
        click.echo(f"{error}\npinproxy: {count} problem{'s' * (count != 1)}; nothing was started", err=True)
        return ExitCode.USAGE
    except PinproxyError as error:
        click.echo(f"pinproxy: {error}", err=True)
        return ExitCode.FAILURE
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        if error.errno != errno.EPIPE:  # `pinproxy … | head` has read enough, and knows it
            click.echo(f"pinproxy: cannot write: {error.strerror}", err=True)
        # What is still buffered must not fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    return ExitCode.OK if code is None else int(code)


def main() -> None:
    """Run the command line of this process, and end it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a sign is shown its number, and not a traceback.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(invoke(sys.argv[1:]))
