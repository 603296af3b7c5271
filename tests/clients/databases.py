"""Redis with its own TLS, and PostgreSQL with a TLS terminator in front, each on one machine of their own: the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tests.clients.processes import run_process, running_process
from tests.harness.origin import Handler
from tests.harness.pki import Issued

_SECONDS = 30


@contextlib.asynccontextmanager
async def running_redis(directory: Path, leaf: Issued) -> AsyncIterator[int]:
    """Run Redis with TLS and no other port; yields the port."""
    (directory / "chain.pem").write_bytes(b"".join(item.pem for item in leaf.sent_chain()))
    (directory / "key.pem").write_bytes(leaf.key_pem)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    options = {
        "port": "0",
        "tls-port": str(port),
        "bind": "127.0.0.1",
        "tls-cert-file": str(directory / "chain.pem"),
        "tls-key-file": str(directory / "key.pem"),
        "tls-auth-clients": "no",
        "save": "",
        "dir": str(directory),
    }
    command = ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", value))]
    async with running_process(command, {"PATH": os.environ["PATH"]}) as process:
        await _said(process.stdout, b"Ready to accept connections")
        yield port


@contextlib.asynccontextmanager
async def running_postgres() -> AsyncIterator[Path]:
    """Run PostgreSQL on a UNIX socket alone; yields its path. Whoever connects is the superuser `app`."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryDirectory(prefix="pg") as made:
        directory, as_user = Path(made), _as_nobody_special(Path(made))
        data = directory / "data"
        outcome = await run_process(
            [*as_user, "initdb", "--no-sync", "--auth=trust", "--username=app", f"--pgdata={data}"], environment
        )
        assert outcome.code == 0, outcome
        settings = {"listen_addresses": "", "unix_socket_directories": made, "fsync": "off"}
        command = [*as_user, "postgres", "-D", str(data), *(word for item in settings.items() for word in ("-c", "=".join(item)))]
        async with running_process(command, environment) as process:
            await _said(process.stderr, b"ready to accept connections")
            yield directory / ".s.PGSQL.5432"


def _as_nobody_special(directory: Path) -> list[str]:
    """Choose the user PostgreSQL runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    os.chown(directory, user.pw_uid, user.pw_gid)
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def passing_on_to(path: Path) -> Handler:
    """Make the rest of a TLS terminator: what comes out of the TLS goes to a UNIX socket, and the other way round."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_unix_connection(str(path))
        try:
            await asyncio.gather(pump(reader, behind_writer), pump(behind_reader, writer))
        finally:
            behind_writer.close()

    return handle


async def _said(stream: asyncio.StreamReader | None, words: bytes) -> None:
    """Read a server's log until it says that it is ready."""
    assert stream is not None
    log = b""
    async with asyncio.timeout(_SECONDS):
        while words not in log:
            line = await stream.readline()
            assert line, log.decode(errors="replace")
            log += line
