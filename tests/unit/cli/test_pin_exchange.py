"""`import`, `export`, `backup-key` and the formats of `pin`: what goes where, and with which exit code."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pinproxy.authority import Authority
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from pinproxy.cli.pin_formats import WRITERS, Listing, write_listing
from pinproxy.cli.pin_sources import Found, ServerAnswer
from tests.harness.command_line import environment
from tests.harness.pki import make_intermediate, make_leaf, make_root
from tests.unit.pins.formats import examples

ROOT = make_root()
INTERMEDIATE = make_intermediate(ROOT)
LEAF = make_leaf(INTERMEDIATE, "api.example.test")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a directory that holds the examples."""
    monkeypatch.chdir(tmp_path)
    for name in ("ANDROID", "CURL", "CHROMIUM", "CHROMIUM_PINS"):
        (tmp_path / name.lower()).write_text(getattr(examples, name), "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["android", "android"],
        ["curl", "curl", "--host", "api.example"],
        ["curl", "curl"],
        ["chromium", "chromium", "--pins", "chromium_pins"],
    ],
    ids=" ".join,
)
def test_what_is_imported_passes_check(arguments: list[str], directory: Path, capsys: Capture) -> None:
    """Behind `version: 1`, stdout is a configuration."""
    assert invoke(["import", *arguments]) == ExitCode.OK
    (directory / "c.yaml").write_text("version: 1\n" + capsys.readouterr().out, "utf-8")
    assert invoke(["check", "-c", "c.yaml"]) == ExitCode.OK


def test_a_file_may_come_by_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """`curl -sI https://api.example | pinproxy import rfc7469 - --host api.example`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(examples.RFC7469.encode())))
    assert invoke(["import", "rfc7469", "-", "--host", "api.example"]) == ExitCode.OK
    assert '{host: "**.api.example", pin_set: api-example}' in capsys.readouterr().out


def test_notes_go_to_stderr(directory: Path, capsys: Capture) -> None:
    """A redirected stdout holds YAML alone."""
    assert directory.exists()
    assert invoke(["import", "android", "android"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert "on_expiry: disabled" in captured.out
    assert captured.err.startswith("note: android:5: expiration 2018-01-01 switches the pins off")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["android", "curl"], "curl:1:1: not XML"),
        (["android", "gone"], "gone cannot be read"),
        (["android", "android", "--host", "a.example"], "names its hosts itself"),
        (["chromium", "chromium"], "--pins goes with chromium"),
    ],
)
def test_what_cannot_be_imported_is_a_usage_error(arguments: list[str], said: str, directory: Path, capsys: Capture) -> None:
    """Exit 2, and nothing on stdout that could be pasted."""
    assert directory.exists()
    assert invoke(["import", *arguments]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_is_exported(form: str, directory: Path, capsys: Capture) -> None:
    """The hosts that fit are written; the one that does not is named on stderr."""
    (directory / "c.yaml").write_text(
        "version: 1\nhosts:\n"
        f"  - {{host: api.example, pins: [{{pin: {LEAF.pin}, position: leaf}}, {{pin: {INTERMEDIATE.pin}, position: leaf}}]}}\n"
        f"  - {{host: off.example, mode: disabled}}\n",
        "utf-8",
    )
    assert invoke(["export", form, "-c", "c.yaml"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert "api.example" in captured.out
    assert "off.example" not in captured.out
    assert "off.example: left out: it is not pinned" in captured.err


def server(*, is_verified: bool = True) -> Listing:
    """Make the listing of a server."""
    chain = enumerate((LEAF, INTERMEDIATE, ROOT))
    found = tuple(Found(item.pin, "ca" if index else "leaf") for index, item in chain)
    return Listing(
        "api.example.test", found, ServerAnswer(Authority("api.example.test", 443), "x", found, is_verified=is_verified)
    )


@pytest.mark.parametrize("form", WRITERS)
def test_a_server_is_printed_in_every_format(form: str) -> None:
    """Its leaf is there; its root, which would trust every CA below it, is not."""
    text = write_listing(form, server()).text
    assert "api.example.test" in text
    leaf, root = (item.pin.digest.hex() if form == "tlsa" else str(item.pin).partition("/")[2] for item in (LEAF, ROOT))
    assert (leaf in text, root in text) == (True, False)


@pytest.mark.parametrize("form", [form for form in WRITERS if form != "tlsa"])
def test_the_port_that_everybody_means_is_not_said_to_be_lost(form: str) -> None:
    """No format but TLSA has ports; a note at every run is read by nobody. Its twin: another port is lost, and said."""
    said = "written for every port"
    assert not any(said in note for note in write_listing(form, server()).notes)
    other = server()
    assert other.answer is not None
    other = replace(other, answer=replace(other.answer, authority=Authority("api.example.test", 8443)))
    assert any(said in note for note in write_listing(form, other).notes)


def test_of_very_many_problems_the_first_are_told(directory: Path, capsys: Capture) -> None:
    """A file of another format has one in every line; the count says that it is one."""
    (directory / "words").write_text("word\n" * 6_000, "utf-8")
    assert invoke(["import", "okhttp", "words"]) == ExitCode.USAGE
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "words:1:1: found 'word' alone; expected a host and its pins"
    assert lines[50:] == ["… and 5,951 more; is words in the format okhttp?"]


def test_what_a_pin_file_says_nothing_of_is_told(directory: Path, capsys: Capture) -> None:
    """Its reader verifies chains by roots of its own; the twin rests on the system's, and is not mentioned."""
    (directory / "root.pem").write_bytes(ROOT.pem)
    pins = f"pins: [{LEAF.pin}, {INTERMEDIATE.pin}]"
    (directory / "c.yaml").write_text(
        f"version: 1\nhosts:\n  - {{host: a.example, {pins}, trust: pins-only}}\n"
        f"  - {{host: b.example, {pins}, trust: {{ca_file: root.pem}}}}\n  - {{host: c.example, {pins}}}\n",
        "utf-8",
    )
    assert invoke(["export", "okhttp", "-c", "c.yaml"]) == ExitCode.OK
    assert capsys.readouterr().err.splitlines() == [
        "note: a.example: `trust: pins-only` is not written: whoever reads this will ask for a valid chain besides",
        "note: b.example: its roots are not written: whoever reads this must trust them as well",
    ]


def test_what_nobody_verified_has_no_other_format() -> None:
    """Only YAML has the comments that keep it out of force."""
    with pytest.raises(ValueError, match="nobody verified"):
        write_listing("okhttp", server(is_verified=False))


def test_a_file_is_printed_for_a_host_to_be_filled_in(directory: Path, capsys: Capture) -> None:
    """A certificate file is not asked of anybody, and so names no host."""
    (directory / "leaf.pem").write_bytes(LEAF.pem)
    assert invoke(["pin", "--cert", "leaf.pem", "--format", "okhttp"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out == f'.add("host.example", "{LEAF.pin}")\n'
    assert "host.example stands for your host" in captured.err


def test_a_backup_key_that_cannot_be_written_leaves_nothing(directory: Path) -> None:
    """Half a key would stand in the way of the next try, or be taken for one; here no file may have a byte."""
    command = 'ulimit -f 0; exec "$0" -m pinproxy backup-key'
    ended = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], env=environment(), cwd=directory, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (ExitCode.FAILURE, "")
    assert ended.stderr == "Error: backup.key cannot be written (File too large); nothing was made\n"
    assert not list(directory.glob("backup*"))


@pytest.mark.parametrize("out", ["safe", "."])
def test_a_backup_key_is_made_for_its_owner_alone(out: str, directory: Path, capsys: Capture) -> None:
    """Key, request and pin are of one EC P-256 key; the request asks for the host."""
    assert invoke(["backup-key", "--out", out, "--host", "api.example"]) == ExitCode.OK
    prefix = directory / ("backup" if out == "." else out)
    key_file, request_file = prefix.with_suffix(".key"), prefix.with_suffix(".csr")
    assert key_file.stat().st_mode & 0o777 == 0o600
    key = load_pem_private_key(key_file.read_bytes(), None)
    request = x509.load_pem_x509_csr(request_file.read_bytes())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert request.is_signature_valid
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["api.example"]
    printed = capsys.readouterr().out
    assert invoke(["pin", "--csr", str(request_file)]) == ExitCode.OK
    assert capsys.readouterr().out.split()[1] in printed


@pytest.mark.parametrize("suffix", [".key", ".csr"])
def test_a_key_is_never_overwritten(suffix: str, directory: Path, capsys: Capture) -> None:
    """Neither file is touched when one of them is there, be it a link that leads nowhere."""
    (directory / f"backup{suffix}").symlink_to("gone")
    assert invoke(["backup-key"]) == ExitCode.USAGE
    assert f"backup{suffix} is there already" in capsys.readouterr().err
    assert [path.name for path in directory.glob("backup*")] == [f"backup{suffix}"]
    assert not (directory / "gone").exists()
