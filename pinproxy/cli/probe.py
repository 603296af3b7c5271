"""`healthcheck` and `wait`: is the proxy ready? Container runtimes ask every few seconds, so this imports next to nothing."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import click

from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.options import config_option

_DEFAULT_ADMIN = "127.0.0.1:9470"
_ADMIN = "PINPROXY_ADMIN"
_PAUSE_SECONDS = 0.1
_MAX_STATUS_LINE = 4096
# Where to ask what listens on every address.
_REACHABLE_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not bound


class Target(NamedTuple):
    """Where to ask, and what for."""

    host: str
    port: int
    path: str = "/readyz"

    def __str__(self) -> str:
        """Format as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.path}"


_url_option = click.option(
    "--url", metavar="URL", help="Ask there, instead of where --config, PINPROXY_ADMIN or the default say the admin server is."
)


@click.command()
@config_option(required=False)
@_url_option
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=2.0, show_default=True, metavar="SECONDS")
def healthcheck(config: Path | None, url: str | None, timeout: float) -> int:
    """Tell whether the proxy is ready.

    Asks the admin server for /readyz and exits with 0 or 1. It says yes while the configuration in force is valid and the
    listeners are bound, and no while draining.
    """
    problem = ask(find_target(config, url), timeout)
    click.echo(problem or "ready", err=bool(problem))
    return ExitCode.FAILURE if problem else ExitCode.OK


@click.command()
@config_option(required=False)
@_url_option
@click.option("--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="SECONDS")
def wait(config: Path | None, url: str | None, timeout: float) -> int:
    """Wait until the proxy is ready.

    For a program that must not start before it: `pinproxy wait && exec app`. Exits with 1 if that takes too long.
    """
    target = find_target(config, url)
    deadline = time.monotonic() + timeout
    while problem := ask(target, max(deadline - time.monotonic(), _PAUSE_SECONDS)):
        if time.monotonic() >= deadline:
            click.echo(f"{problem}; gave up after {timeout:g} s", err=True)
            return ExitCode.FAILURE
        time.sleep(_PAUSE_SECONDS)
    return ExitCode.OK


def find_target(config: Path | None, url: str | None) -> Target:
    """Find the admin server: the URL, else the environment, else the configuration, else the default.

    Raises:
        click.UsageError: The admin server is off, or its address cannot be read.
        SettingsError: The configuration cannot be read.
    """
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise click.UsageError(f"--url is {url!r}; expected one such as http://{_DEFAULT_ADMIN}/readyz")
        return Target(parts.hostname, parts.port or 80, parts.path if parts.path.strip("/") else "/readyz")
    said = os.environ.get(_ADMIN)
    if said is None:
        said = _configured(config) if config is not None else _DEFAULT_ADMIN
    if said in (None, "null"):
        raise click.UsageError("the admin server is off (`admin: null`), so there is nobody to ask")
    host, _, port = said.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal():
        raise click.UsageError(f"the admin address is {said!r}; expected one such as {_DEFAULT_ADMIN}")
    return Target(_REACHABLE_AT.get(host, host), int(port))


def _configured(config: Path) -> str | None:
    """Read the one key of the file; whether the rest is valid is what the proxy itself says when asked."""
    from pinproxy.settings.document import read_document  # noqa: PLC0415 - the YAML parser is for those who name a file

    document = read_document(config)
    admin = document.root.get("admin", _DEFAULT_ADMIN) if isinstance(document.root, dict) else _DEFAULT_ADMIN
    return None if admin is None else str(admin)


def ask(target: Target, seconds: float) -> str | None:
    """Ask once.

    By a plain socket: `http.client` would double what this command costs, and one line of the answer is all that counts.

    Returns:
        What is wrong; None: ready.
    """
    host = f"[{target.host}]" if ":" in target.host else target.host
    # HTTP/1.0: the answer ends with the connection.
    request = f"GET {target.path} HTTP/1.0\r\nHost: {host}:{target.port}\r\nUser-Agent: pinproxy\r\n\r\n"
    try:
        with socket.create_connection((target.host, target.port), timeout=seconds) as connection:
            connection.sendall(request.encode("ascii"))
            answer = _read_all(connection, time.monotonic() + seconds)
    except (OSError, UnicodeError) as error:
        return f"not ready: {target} does not answer ({error})"
    head, _, body = answer.decode("utf-8", "replace").partition("\r\n\r\n")
    status = head.split(" ", 2)[1] if head.startswith("HTTP/1.") and head.count(" ") >= 2 else "no HTTP"
    if status == "200":
        return None
    said = " ".join(body.split())[:200]
    return f"not ready: {target} answered {status}{f': {said}' if said else ''}"


def _read_all(connection: socket.socket, deadline: float) -> bytes:
    """Read to the end, a bound or the deadline, whichever comes first."""
    answer = b""
    while len(answer) < _MAX_STATUS_LINE and (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        piece = connection.recv(_MAX_STATUS_LINE)
        if not piece:
            break
        answer += piece
    return answer
