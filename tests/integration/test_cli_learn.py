"""`pinproxy learn` and `promote` ask a running proxy what it has seen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pinproxy.authority import Authority
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from tests.harness.clients import get_head, read_answer
from tests.harness.command_line import BACKUP
from tests.harness.configured import configured_proxy
from tests.harness.origin import running_origin
from tests.harness.originating import certificates
from tests.harness.pki import server_context
from tests.harness.routes import connect_to
from tests.harness.running import HOST

ROOT, LEAF = certificates()
PREAMBLE = "version: 1\nlisten: [127.0.0.1:0]\nadmin: 127.0.0.1:0\nlocal_ca: {publish: null}\nlog: {format: json, level: error}\n"


def ask(address: Authority) -> int:
    """Send one GET for the host; its status."""
    with connect_to(address) as sock:
        sock.sendall(get_head(f"http://{HOST}/", further="Connection: close\r\n"))
        return read_answer(sock).status


async def test_both_read_what_a_running_proxy_observed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One connection is a pin to propose, and no ground to enforce it on."""
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    async with running_origin(server_context(LEAF)) as origin:
        text = (
            f"hosts:\n  - {{host: {HOST}, mode: report-only, trust: {{ca_file: root.pem}}, pins: [{LEAF.pin}, {BACKUP}],"
            f" upstream: {{address: 127.0.0.1, port: {origin.port}}}}}\n"
        )
        async with configured_proxy(tmp_path, text, preamble=PREAMBLE) as proxy:
            admin = f"http://{proxy.app.admin_address}"
            assert await asyncio.to_thread(ask, Authority("127.0.0.1", proxy.port)) == 200
            assert await asyncio.to_thread(invoke, ["learn", "--admin", admin, HOST]) == ExitCode.OK
            assert f"- {{pin: {LEAF.pin}, position: leaf" in capfd.readouterr().out
            command = ["promote", HOST, "--config", str(proxy.file), "--admin", admin]
            assert await asyncio.to_thread(invoke, command) == ExitCode.MISMATCH
            said = capfd.readouterr().err
    assert "these pins are observed since" in said
    assert "1 connection matched in the last 7 days, expected 10 or more" in said


async def test_where_nobody_answers_they_say_where_and_what_else_there_is(capfd: pytest.CaptureFixture[str]) -> None:
    """1 is a failure: nothing was found, neither good nor bad."""
    assert await asyncio.to_thread(invoke, ["learn", "--admin", "127.0.0.1:1"]) == ExitCode.FAILURE
    said = capfd.readouterr().err
    assert "http://127.0.0.1:1/api/observations does not answer" in said
    assert "--observations FILE" in said
