"""Sets the demo: servers on loopback, a configuration in a file, and `pinproxy run` as a process of its own, its log kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pinproxy.authority import Authority, parse_authority
from pinproxy.cli.client_environment import client_environment
from pinproxy.cli.demo.authority import issue, make_authority
from pinproxy.cli.demo.clients import Answer, fetch
from pinproxy.cli.demo.origin import Origin, running_origin
from pinproxy.cli.demo.story import SCENES, WAYS, Outcome, Scene, Server, Way, host_of
from pinproxy.errors import PinproxyError
from pinproxy.pins.pin import Pin

CA_VARIABLES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE")
"""What the demo's clients read: Python and curl."""

_PATIENCE_SECONDS = 20.0
_PAUSE_SECONDS = 0.01


class StageError(PinproxyError):
    """The proxy did not start, or did not say what it must."""


@dataclass(slots=True)
class Stage:
    """Everything that runs.

    Attributes:
        origins: The servers.
        pins: Their pins.
        configuration: The text of the file.
        config_file: Where it is.
        published: Where the proxy has put the files that clients trust.
        demo_ca: The CA of the servers.
        log_file: What the proxy says.
        proxy: Where the proxy listens.
    """

    origins: Mapping[Server, Origin]
    pins: Mapping[Server, Pin]
    configuration: str
    config_file: Path
    published: Path
    demo_ca: Path
    log_file: Path
    proxy: Authority
    _log_lines: int = field(default=0)

    def environment(self, way: Way) -> dict[str, str]:
        """List a client's variables, as `pinproxy env` prints them; one that sees the server's certificate trusts the Demo CA."""
        variables = client_environment(self.proxy, (), self.published)
        return variables | dict.fromkeys(CA_VARIABLES, str(self.demo_ca)) if way.is_end_to_end else variables

    async def play(self, scene: Scene, way: Way) -> tuple[Answer, dict[str, Any], Outcome]:
        """Let a client ask for a scene's host, one way.

        Returns:
            What the client printed, the proxy's log line, and what happened.

        Raises:
            StageError: The proxy said nothing of it.
        """
        origin = self.origins[scene.server]
        before = origin.received_bytes
        answer = await fetch(f"{way.scheme}://{host_of(scene, way)}/hello", self.environment(way))
        try:
            line = await self._next_connection_line()
            if not scene.is_request_let_through:
                # A byte on its way is counted too.
                await origin.wait_quiet(_PATIENCE_SECONDS)
        except TimeoutError as error:
            raise StageError(f"the proxy has neither logged nor closed its connection for `{answer.command}`") from error
        return answer, line, Outcome(answer.status, line.get("decision"), line.get("code"), origin.received_bytes - before)

    async def _next_connection_line(self) -> dict[str, Any]:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                lines = [line for line in _log_lines(self.log_file) if line["event"] == "connection"]
                if len(lines) > self._log_lines:
                    self._log_lines += 1
                    return lines[self._log_lines - 1]
                await asyncio.sleep(_PAUSE_SECONDS)


@contextlib.asynccontextmanager
async def set_stage() -> AsyncIterator[Stage]:
    """Start everything for the length of a block.

    Raises:
        StageError: The proxy did not start.
    """
    authority = make_authority()
    real, impostor = issue(authority, *_hosts("real")), issue(authority, *_hosts("impostor"))
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pinproxy-demo-")))
        origins: dict[Server, Origin] = {
            "real": await stack.enter_async_context(running_origin("hello from the real server", real.server_context())),
            "impostor": await stack.enter_async_context(running_origin("hello from the impostor", impostor.server_context())),
        }
        demo_ca = directory / "demo-ca.pem"
        demo_ca.write_bytes(authority.pem)
        text = _configuration(real.pin, issue(authority, "backup.example.test").pin, origins)
        config_file = directory / "pinproxy.yaml"
        config_file.write_text(text, "utf-8")
        log_file = directory / "log"
        proxy = await stack.enter_async_context(_running_proxy(config_file, log_file))
        yield Stage(
            origins=origins,
            pins={"real": real.pin, "impostor": impostor.pin},
            configuration=text,
            config_file=config_file,
            published=directory / "published",
            demo_ca=demo_ca,
            log_file=log_file,
            proxy=proxy,
        )


def _hosts(server: Server) -> list[str]:
    """List the hosts at whose addresses a server answers, so that its certificate can name them all."""
    return list(dict.fromkeys(host_of(scene, way) for scene in SCENES for way in WAYS if scene.server == server))


def _configuration(pinned: Pin, backup: Pin, origins: Mapping[Server, Origin]) -> str:
    hosts = ""
    for domain, options in {way.domain: way.options for way in WAYS}.items():
        for scene in SCENES:
            said = [f"host: {scene.name}.{domain}", *([] if scene.mode == "enforce" else [f"mode: {scene.mode}"]), *options]
            said.append(f"upstream: {{address: 127.0.0.1, port: {origins[scene.server].port}}}")
            hosts += f"  - {{{', '.join(said)}}}\n"
    return f"""\
version: 1
listen: [127.0.0.1:0]
admin: null
local_ca: {{publish: published}}
defaults: {{pin_set: demo, trust: {{ca_file: demo-ca.pem}}}}
pin_sets:
  demo:
    pins:
      - {{pin: {pinned}, note: the real server}}
      - {{pin: {backup}, note: a backup in a safe}}
hosts:
{hosts}"""


@contextlib.asynccontextmanager
async def _running_proxy(config_file: Path, log_file: Path) -> AsyncIterator[Authority]:
    """Run the proxy as a user would, and wait until it says where it listens."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PINPROXY_")}
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pinproxy",
            "run",
            "--config",
            str(config_file),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=log,
        )
    try:
        yield await _where_it_listens(process, log_file)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _where_it_listens(process: asyncio.subprocess.Process, log_file: Path) -> Authority:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while process.returncode is None:
                for line in _log_lines(log_file):
                    if line["event"] == "started":
                        return parse_authority(line["listen"][0])
                await asyncio.sleep(_PAUSE_SECONDS)
    raise _not_started(log_file)


def _not_started(log_file: Path) -> StageError:
    return StageError(f"the proxy did not start:\n{log_file.read_text('utf-8')}")


def _log_lines(log_file: Path) -> list[dict[str, Any]]:
    """Read the log so far; a line that is still being written is for the next time."""
    complete, _, _ = log_file.read_text("utf-8").rpartition("\n")
    return [json.loads(line) for line in complete.splitlines() if line.startswith("{")]
