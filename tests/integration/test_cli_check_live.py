"""`pinproxy check --live`: what servers show, remarked at the line of the configuration that expects otherwise."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from pinproxy.cli.check_files import read_public_suffixes
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from tests.harness.blocking_origin import blocking_origin
from tests.harness.command_line import BACKUP
from tests.harness.pki import NOW, YEAR, Issued, make_intermediate, make_leaf, make_root, server_context
from tests.harness.running import HOST

ROOT = make_root()
INTERMEDIATE = make_intermediate(ROOT)
# Longer-lived than what machines renew, so that each test below earns its own remark alone.
LEAF = make_leaf(INTERMEDIATE, HOST, not_after=NOW + YEAR)


def checked(
    capsys: pytest.CaptureFixture[str],
    directory: Path,
    served: Issued | int,
    pins: Sequence[object],
    keys: str = "",
    *arguments: str,
) -> tuple[int, str, list[str]]:
    """Run `check --live` against a server, or a port where nobody is; exit code, summary, and the remarks about servers."""

    def run(port: int) -> tuple[int, str, list[str]]:
        (directory / "root.pem").write_bytes(ROOT.pem)
        file = directory / "c.yaml"
        file.write_text(
            f"version: 1\nhosts:\n  - host: {HOST}\n    trust: {{ca_file: root.pem}}\n    pins: [{', '.join(map(str, pins))}]\n"
            f"    upstream: {{address: 127.0.0.1, port: {port}}}\n{keys}",
            "utf-8",
        )
        code = invoke(["check", "--live", "-c", str(file), *arguments])
        out, err = capsys.readouterr()
        lines = [line.removeprefix(f"{file}:") for line in err.splitlines()]
        return code, out, [line for line in lines if "CVE-" not in line and ".mode:" not in line]

    if isinstance(served, int):
        return run(served)
    with blocking_origin(server_context(served)) as origin:
        return run(origin.port)


def test_a_host_in_good_order_earns_a_note_about_its_backup_pin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pin in no chain is what a backup looks like, and what an old pin looks like too."""
    code, out, remarks = checked(capsys, tmp_path, LEAF, [LEAF.pin, BACKUP])
    assert (code, out) == (ExitCode.OK, "ok: 1 host, 2 pins\n")
    (remark,) = remarks
    assert remark.startswith("5:65: note: hosts[0].pins[1]: in no chain of any host that was asked: right for a backup key")


def test_a_server_that_would_be_denied_is_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In report-only it passes, which is a warning; a chain that does not validate is denied there as well."""
    other = make_leaf(INTERMEDIATE, HOST, not_after=NOW + YEAR)
    code, out, remarks = checked(capsys, tmp_path, other, [LEAF.pin, BACKUP])
    assert (code, out) == (ExitCode.MISMATCH, "not ok: 1 host, 2 pins; 1 mismatch\n")
    (remark,) = remarks
    assert "by TLS 1.2, ECDSA, and 1 more handshake: pin_mismatch" in remark
    assert remark.endswith("it would be denied")
    softened, out, _ = checked(capsys, tmp_path, other, [LEAF.pin, BACKUP], "    mode: report-only\n")
    assert (softened, out) == (ExitCode.OK, "ok: 1 host, 2 pins; 1 warning\n")
    foreign = make_leaf(make_root("Another Root"), HOST, key=LEAF.key)
    code, _, remarks = checked(capsys, tmp_path, foreign, [LEAF.pin, BACKUP], "    mode: report-only\n")
    assert (code, "chain_invalid" in remarks[0]) == (ExitCode.MISMATCH, True)


@pytest.mark.parametrize(
    ("pins", "leaf", "said"),
    [
        ([LEAF.pin, INTERMEDIATE.pin], LEAF, "warning: hosts[0]: every pin is in the chains that"),
        (
            [LEAF.pin, INTERMEDIATE.pin, BACKUP],
            make_leaf(INTERMEDIATE, HOST, key=LEAF.key, not_after=NOW + timedelta(days=9)),
            "ends on",
        ),
        ([LEAF.pin, BACKUP], make_leaf(INTERMEDIATE, HOST, key=LEAF.key), "only its own key is pinned"),
    ],
    ids=["no backup", "ends soon", "renewed often"],
)
def test_what_will_break_is_said_beforehand(
    pins: list[object], leaf: Issued, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each remark with the server that earns it, at exit 0; the twin is the host in good order."""
    code, _, remarks = checked(capsys, tmp_path, leaf, pins)
    assert code == ExitCode.OK
    assert len([line for line in remarks if said in line]) == 1
    _, _, sound = checked(capsys, tmp_path, LEAF, [LEAF.pin, BACKUP])
    assert not [line for line in sound if said in line]


def test_who_cannot_be_asked_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A check that could not be made is no success; a wildcard is only noted, for nobody could ask it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, out, remarks = checked(capsys, tmp_path, port, [LEAF.pin, BACKUP], "  - {host: '*.b.example', mode: disabled}\n")
    assert (code, out) == (ExitCode.FAILURE, "ok: 2 hosts, 2 pins; 1 warning\n")
    assert f"3:5: warning: hosts[0]: 127.0.0.1:{port} was not asked: dial_refused" in remarks[0]
    assert "no server was asked: a wildcard" in remarks[1]


def test_a_pinned_certificate_file_that_is_renewed_often_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without dialling; the twins are a year's certificate and a CA's."""
    short = make_leaf(ROOT, HOST, not_after=NOW + timedelta(days=60))
    files = {"short.pem": short, "long.pem": LEAF, "ca.pem": ROOT}
    for name, issued in files.items():
        (tmp_path / name).write_bytes(issued.pem)
    entries = ", ".join(f"{{cert_file: {name}}}" for name in files)
    file = tmp_path / "c.yaml"
    file.write_text(f"version: 1\nhosts:\n  - {{host: {HOST}, pins: [{entries}]}}\n", "utf-8")
    assert invoke(["check", "-c", str(file)]) == ExitCode.OK
    noted = [line for line in capsys.readouterr().err.splitlines() if "the certificate lasts" in line]
    assert [line.partition(" note: ")[2].partition(": ")[0] for line in noted] == ["hosts[0].pins[0].cert_file"]


def test_the_systems_list_of_public_suffixes_is_read_where_it_is(tmp_path: Path) -> None:
    """And where it is not, or is no text, `check` goes on without."""
    (tmp_path / "list").write_text("co.uk\n", "utf-8")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    found = [read_public_suffixes(tmp_path / name).holds("co.uk") for name in ("list", "binary", "missing")]
    assert found == [True, False, False]
