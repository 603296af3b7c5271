"""`openssl s_client -proxy`, which asks for its tunnel in HTTP/1.0 and without a Host field."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.stage import BROKEN_PROMISES, ConnectMode, Stage, kept_promise, staged
from tests.harness.origin import answer_bodies, receipt_for, running_origin
from tests.harness.pki import server_context
from tests.harness.running import HOST

pytestmark = [pytest.mark.asyncio(loop_factories=["uvloop"]), pytest.mark.needs_tool("openssl")]

REQUEST = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello".encode()


def s_client(stage: Stage, *options: str) -> list[str]:
    """Make a command that sends its input and prints what comes back, once chain and name are verified."""
    command = ["openssl", "s_client", "-proxy", f"127.0.0.1:{stage.proxy.port}", "-connect", f"{HOST}:443"]
    command += ["-verify_return_error", "-verify_hostname", HOST, "-CAfile", str(stage.trust / "bundle.pem")]
    return [*command, "-quiet", *options]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_a_request_typed_into_s_client_is_answered(version: str, connect_mode: ConnectMode, tmp_path: Path) -> None:
    """The oldest way to look at a server works through the proxy, in either TLS version."""
    promise = kept_promise()
    async with (
        running_origin(server_context(promise.leaf), answer_bodies) as origin,
        staged(tmp_path, connect_mode, promise, origin.port) as stage,
    ):
        outcome = await stage.run(s_client(stage, version), REQUEST)
        assert outcome.code == 0, outcome
        assert outcome.stdout.endswith(receipt_for(b"hello").decode()), outcome
        await stage.assert_allowed(connect_mode.name)
        assert bytes(origin.received) == REQUEST


@pytest.mark.parametrize("code", BROKEN_PROMISES)
async def test_s_client_is_refused_before_its_tls_begins(code: str, connect_mode: ConnectMode, tmp_path: Path) -> None:
    """The twin: what is typed goes nowhere."""
    promise = BROKEN_PROMISES[code]()
    async with (
        running_origin(server_context(promise.leaf), answer_bodies) as origin,
        staged(tmp_path, connect_mode, promise, origin.port) as stage,
    ):
        outcome = await stage.run(s_client(stage), REQUEST)
        assert outcome.code != 0, outcome
        await stage.assert_denied(connect_mode.name, code)
        assert bytes(origin.received) == b""
