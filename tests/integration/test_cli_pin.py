"""`pinproxy pin HOST`: a real server is verified before its pins are printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from tests.harness.blocking_origin import blocking_origin
from tests.harness.command_line import pinproxy
from tests.harness.pki import make_intermediate, make_leaf, make_root, server_context

ROOT = make_root()
INTERMEDIATE = make_intermediate(ROOT)
LEAF = make_leaf(INTERMEDIATE, "localhost")


def roots_file(directory: Path) -> str:
    """Write the root the way `--ca-file` takes it."""
    file = directory / "roots.pem"
    file.write_bytes(ROOT.pem)
    return str(file)


def test_the_pins_of_the_verified_chain_are_printed_and_load(tmp_path: Path) -> None:
    """The anchor, which the server does not send, is there; what was printed is a configuration that `check` accepts."""
    with blocking_origin(server_context(LEAF), lambda _: None) as origin:
        done = pinproxy("pin", f"localhost:{origin.port}", "--ca-file", roots_file(tmp_path))
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    assert [str(item.pin) in done.stdout for item in (LEAF, INTERMEDIATE, ROOT)] == [True] * 3
    (tmp_path / "c.yaml").write_text(f"version: 1\n{done.stdout}", "utf-8")
    checked = pinproxy("check", "--strict", "--config", "c.yaml", cwd=tmp_path)
    assert (checked.returncode, checked.stdout) == (ExitCode.OK, "ok: 1 host, 2 pins\n"), checked.stderr


def test_every_certificate_of_a_server_is_among_its_pins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A client that asks for the other kind of key would meet one that nobody pinned; what was printed matches both."""
    other_issuer = make_intermediate(ROOT, "Another Intermediate")
    rsa_leaf = make_leaf(other_issuer, "localhost", key=rsa.generate_private_key(65537, 2048))
    context = server_context(LEAF)
    (tmp_path / "rsa.pem").write_bytes(rsa_leaf.key_pem + rsa_leaf.pem + other_issuer.pem)
    context.load_cert_chain(tmp_path / "rsa.pem")
    with blocking_origin(context, lambda _: None) as origin:
        assert invoke(["pin", f"localhost:{origin.port}", "--ca-file", roots_file(tmp_path)]) == ExitCode.OK
        (tmp_path / "c.yaml").write_text(f"version: 1\n{capsys.readouterr().out}", "utf-8")
        assert invoke(["verify", "--config", str(tmp_path / "c.yaml"), "--json"]) in (ExitCode.OK, ExitCode.FAILURE)
    (host,) = json.loads(capsys.readouterr().out)["hosts"]
    assert {item["matched_pin"] for item in host["handshakes"]} - {None} == {str(LEAF.pin), str(rsa_leaf.pin)}
    assert "mismatch" not in {item["outcome"] for item in host["handshakes"]}


def test_a_chain_that_is_not_valid_gives_no_pins(tmp_path: Path) -> None:
    """Nothing on stdout that a script could paste; the way on is named."""
    with blocking_origin(server_context(LEAF), lambda _: None) as origin:
        done = pinproxy("pin", f"localhost:{origin.port}")
    assert (done.returncode, done.stdout) == (ExitCode.FAILURE, "")
    assert "chain_invalid" in done.stderr
    assert "--ca-file" in done.stderr
    with blocking_origin(server_context(LEAF), lambda _: None) as origin:
        named = pinproxy("pin", f"127.0.0.1:{origin.port}", "--ca-file", roots_file(tmp_path))
    assert (named.returncode, named.stdout) == (ExitCode.FAILURE, "")
    assert "hostname_mismatch" in named.stderr


def test_unverified_pins_are_shown_on_demand_as_comments_with_a_warning() -> None:
    """For a person who compares them with something else; the anchor was not sent, so it is not there."""
    with blocking_origin(server_context(LEAF), lambda _: None) as origin:
        done = pinproxy("pin", f"localhost:{origin.port}", "--unsafe-unverified")
    assert done.returncode == ExitCode.OK
    assert "WARNING: not verified: chain_invalid" in done.stderr
    assert all(line.startswith("#") for line in done.stdout.splitlines())
    assert [str(item.pin) in done.stdout for item in (LEAF, INTERMEDIATE, ROOT)] == [True, True, False]


def test_a_server_that_is_not_there_is_a_failure() -> None:
    """Exit 1 with the reason code."""
    done = pinproxy("pin", "localhost:1")
    assert done.returncode == ExitCode.FAILURE
    assert done.stderr.startswith("pinproxy: dial_refused: localhost:1 ")
