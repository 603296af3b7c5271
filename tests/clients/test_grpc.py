"""gRPC through CONNECT: HTTP/2 with streams and trailers, and a client that insists on ALPN `h2`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.processes import running_process
from tests.clients.stage import BROKEN_PROMISES, ConnectMode, Promise, kept_promise, staged
from tests.clients.table import SCRIPTS
from tests.harness.origin import running_origin
from tests.harness.pki import server_context
from tests.harness.running import HOST

pytestmark = [pytest.mark.asyncio(loop_factories=["uvloop"]), pytest.mark.timeout(120)]

CLIENT = [sys.executable, str(SCRIPTS / "call_grpc.py"), f"{HOST}:443"]


@contextlib.asynccontextmanager
async def running_grpc_origin(directory: Path, promise: Promise) -> AsyncIterator[int]:
    """Run a gRPC server as a process of its own, and yield its port."""
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(b"".join(item.pem for item in promise.leaf.sent_chain()))
    key.write_bytes(promise.leaf.key_pem)
    command = [sys.executable, str(SCRIPTS / "grpc_origin.py"), str(chain), str(key)]
    async with running_process(command, {"PATH": os.environ["PATH"]}) as process:
        assert process.stdout is not None
        yield int(await process.stdout.readline())


async def test_calls_streams_and_statuses_pass(connect_mode: ConnectMode, tmp_path: Path) -> None:
    """A large message, interleaved messages both ways and a status in trailers: HTTP/2 passes byte for byte."""
    promise = kept_promise()
    async with (
        running_grpc_origin(tmp_path, promise) as port,
        staged(tmp_path, connect_mode, promise, port) as stage,
    ):
        outcome = await stage.run(CLIENT)
        assert outcome.code == 0, outcome
        assert outcome.stdout.splitlines() == ["once", "each", "FAILED_PRECONDITION as asked"]
        (line,) = await stage.assert_allowed(connect_mode.name)
        assert line["alpn"] in connect_mode.shown("h2")


@pytest.mark.parametrize("code", BROKEN_PROMISES)
async def test_no_call_reaches_an_origin_that_breaks_its_promise(code: str, connect_mode: ConnectMode, tmp_path: Path) -> None:
    """The twin: not even the connection preface is sent."""
    promise = BROKEN_PROMISES[code]()
    async with (
        running_origin(server_context(promise.leaf, alpn=("h2",))) as origin,
        staged(tmp_path, connect_mode, promise, origin.port) as stage,
    ):
        outcome = await stage.run(CLIENT)
        assert outcome.code != 0, outcome
        assert "UNAVAILABLE" in outcome.stderr
        await stage.assert_denied(connect_mode.name, code)
        assert bytes(origin.received) == b""
