"""`pinproxy status`: what a running proxy says, put into a table and an exit code."""

from __future__ import annotations

import asyncio
import json
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
from tests.harness.pki import Issued, make_leaf, server_context
from tests.harness.routes import connect_to
from tests.harness.running import HOST

ROOT, LEAF = certificates()
OTHER = make_leaf(ROOT, HOST)
PREAMBLE = "version: 1\nlisten: [127.0.0.1:0]\nadmin: 127.0.0.1:0\nlocal_ca: {publish: null}\nlog: {format: json, level: error}\n"


def ask(address: Authority) -> int:
    """Send one GET for the host; its status."""
    with connect_to(address) as sock:
        sock.sendall(get_head(f"http://{HOST}/", further="Connection: close\r\n"))
        return read_answer(sock).status


@pytest.mark.parametrize(
    ("pinned", "seen", "code"),
    [(LEAF, ("matched", 200), ExitCode.OK), (OTHER, ("no_match", 403), ExitCode.MISMATCH)],
    ids=["pinned", "other key"],
)
async def test_the_last_verdict_of_each_rule_decides_the_exit_code(
    pinned: Issued, seen: tuple[str, int], code: ExitCode, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A rule that denies is a mismatch; its refusal stands below the table, with the id to ask about."""
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    verdict, answered = seen
    async with running_origin(server_context(LEAF)) as origin:
        text = (
            f"hosts:\n  - {{host: {HOST}, trust: {{ca_file: root.pem}}, pins: [{pinned.pin}, {BACKUP}],"
            f" upstream: {{address: 127.0.0.1, port: {origin.port}}}}}\n"
        )
        async with configured_proxy(tmp_path, text, preamble=PREAMBLE) as proxy:
            assert await asyncio.to_thread(ask, proxy.app.addresses[0]) == answered
            admin = str(proxy.app.admin_address)
            capfd.readouterr()
            assert await asyncio.to_thread(invoke, ["status", "--admin", admin]) == code
            table = capfd.readouterr().out
            assert await asyncio.to_thread(invoke, ["status", "--admin", admin, "--json"]) == code
            answer = json.loads(capfd.readouterr().out)
    row = table.splitlines()[1].split()
    assert row[:3] == [HOST, "enforce", verdict]
    assert answer["hosts"][0]["last_verdict"] == verdict
    assert [(refusal["id"] in table, refusal["code"]) for refusal in answer["refusals"]] == (
        [] if code is ExitCode.OK else [(True, "pin_mismatch")]
    )
