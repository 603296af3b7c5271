"""`observations.file`: what a proxy knew of a host, the next one knows."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from pinproxy.report.observation import Counts
from pinproxy.report.observations_json import read_document
from tests.harness.clients import Answer, get_head, read_answer
from tests.harness.configured import ConfiguredProxy, configured_proxy
from tests.harness.origin import running_origin
from tests.harness.pki import Issued, make_leaf, make_root, server_context
from tests.harness.running import HOST

BACKUP = "sha256/xRJYanjythfZY7DcrA7STe34LEf7hlxtjeFikyj6tL8="
ROOT = make_root()
LEAF, NEW_KEY = make_leaf(ROOT, HOST), make_leaf(ROOT, HOST)


def ask(proxy: ConfiguredProxy) -> Answer:
    """Ask for `/` in plain HTTP."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as sock:
        sock.sendall(get_head(f"http://{HOST}/", further="Connection: close\r\n"))
        return read_answer(sock)


async def ask_once(directory: Path, shown: Issued, observations: str) -> Answer:
    """Run the program against a server that shows this leaf, and ask once."""
    (directory / "root.pem").write_bytes(ROOT.pem)
    async with running_origin(server_context(shown)) as origin:
        text = (
            f"{observations}hosts:\n  - host: {HOST}\n    trust: {{ca_file: root.pem}}\n"
            f"    upstream: {{address: 127.0.0.1, port: {origin.port}}}\n    pins: [{LEAF.pin}, {BACKUP}]\n"
        )
        async with configured_proxy(directory, text) as proxy:
            return await asyncio.to_thread(ask, proxy)


def files(directory: Path, pattern: str) -> list[Path]:
    """List what was left behind."""
    return list(directory.glob(pattern))


def written(directory: Path, pattern: str) -> list[tuple[str, int, int]]:
    """List the hosts that were written down, with what matched and what was denied."""
    hosts = [host for file in files(directory, pattern) for host in read_document(file.read_bytes()).hosts]
    counts = [sum(host.days.values(), Counts()) for host in hosts]
    return [(host.authority, total.matched, total.denied) for host, total in zip(hosts, counts, strict=True)]


@pytest.mark.parametrize(
    ("observations", "mismatch"), [("observations: {file: seen.json}\n", "new_key_same_issuer"), ("", "never_seen")]
)
async def test_a_mismatch_after_a_restart_is_held_against_the_chain_of_before(
    tmp_path: Path, observations: str, mismatch: str
) -> None:
    """With the file; without it, every start begins with nothing."""
    assert (await ask_once(tmp_path, LEAF, observations)).status == 200
    refusal = await ask_once(tmp_path, NEW_KEY, observations)
    assert (refusal.code, refusal.problem["mismatch_class"]) == ("pin_mismatch", mismatch)
    assert written(tmp_path, "seen.json") == ([(f"{HOST}:443", 1, 1)] if observations else [])


async def test_a_file_that_is_somebody_elses_stops_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is told, stays what it is, and traffic goes on."""
    (tmp_path / "seen.json").write_text('{"version": 7}')
    assert (await ask_once(tmp_path, LEAF, "observations: {file: seen.json}\n")).status == 200
    assert "observations_unreadable" in capfd.readouterr().err
    assert [file.read_text() for file in files(tmp_path, "seen.json*")] == ['{"version": 7}']


async def test_a_damaged_file_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    """The twin: it was ours, and is begun anew."""
    damaged = '{"kind":"pinproxy-observations","version":'
    (tmp_path / "seen.json").write_text(damaged)
    assert (await ask_once(tmp_path, LEAF, "observations: {file: seen.json}\n")).status == 200
    assert [file.read_text() for file in files(tmp_path, "seen.json.*.bad")] == [damaged]
    assert written(tmp_path, "seen.json") == [(f"{HOST}:443", 1, 0)]
