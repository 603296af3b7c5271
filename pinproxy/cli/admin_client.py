"""Where the admin server is, and one question to it. Probes ask every few seconds, so this imports next to nothing."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import click

_DEFAULT_ADMIN = "127.0.0.1:9470"
_ADMIN = "PINPROXY_ADMIN"
_MAX_HEAD_BYTES = 4096
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


class Answer(NamedTuple):
    """What the admin server said.

    Attributes:
        status: The status code as text; `no HTTP` where another program has the port.
        body: The body, as far as the bound let it in.
    """

    status: str
    body: bytes


def find_target(config: Path | None, url: str | None, admin: str | None = None) -> Target:
    """Find the admin server: the URL or the address, else the environment, else the configuration, else the default.

    Raises:
        click.UsageError: The admin server is off, or its address cannot be read.
        SettingsError: The configuration cannot be read.
    """
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise click.UsageError(f"--url is {url!r}; expected one such as http://{_DEFAULT_ADMIN}/readyz")
        return Target(parts.hostname, parts.port or 80, parts.path if parts.path.strip("/") else "/readyz")
    said = admin if admin is not None else os.environ.get(_ADMIN)
    if said is None:
        said = _configured(config) if config is not None else _DEFAULT_ADMIN
    if said in (None, "null"):
        raise click.UsageError("the admin server is off (`admin: null`), so there is nobody to ask")
    host, _, port = said.removeprefix("http://").rstrip("/").rpartition(":")
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


def fetch(target: Target, seconds: float, max_bytes: int = 0) -> Answer:
    """Ask once.

    By a plain socket: `http.client` would double what a probe costs.

    Args:
        target: Whom, and for what.
        seconds: For everything.
        max_bytes: Of the body; what is longer is cut.

    Raises:
        OSError: Nobody answers; its text is the reason, without a number.
    """
    host = f"[{target.host}]" if ":" in target.host else target.host
    # HTTP/1.0: the answer ends with the connection.
    request = f"GET {target.path} HTTP/1.0\r\nHost: {host}:{target.port}\r\nUser-Agent: pinproxy\r\n\r\n"
    try:
        with socket.create_connection((target.host, target.port), timeout=seconds) as connection:
            connection.sendall(request.encode("ascii"))
            answer = _read_all(connection, time.monotonic() + seconds, _MAX_HEAD_BYTES + max_bytes)
    except OSError as error:
        raise OSError(error.strerror or str(error)) from error
    except UnicodeError as error:
        raise OSError(str(error)) from error
    head, _, body = answer.partition(b"\r\n\r\n")
    is_http = head.startswith(b"HTTP/1.") and head.count(b" ") >= 2
    return Answer(head.split(b" ", 2)[1].decode("ascii", "replace") if is_http else "no HTTP", body)


def _read_all(connection: socket.socket, deadline: float, max_bytes: int) -> bytes:
    """Read to the end, a bound or the deadline, whichever comes first."""
    answer = bytearray()
    while len(answer) < max_bytes and (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        piece = connection.recv(min(max_bytes - len(answer), 65536))
        if not piece:
            break
        answer += piece
    return bytes(answer)
