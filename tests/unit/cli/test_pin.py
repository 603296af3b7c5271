"""`pin`: what is printed can be pasted, and means what it says."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat

from pinproxy.authority import Authority
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from pinproxy.cli.pin_formats import FORMATS, Listing
from pinproxy.cli.pin_sources import Found, ServerAnswer
from pinproxy.pins.chain import VerifiedChain, certificate
from pinproxy.policy.verdict import Verdict, judge_pins
from pinproxy.settings.load import load_settings
from pinproxy.settings.policy import build_policy_table
from tests.harness.pki import Issued, make_intermediate, make_leaf, make_root

ROOT = make_root()
INTERMEDIATE = make_intermediate(ROOT)
LEAF = make_leaf(INTERMEDIATE, "api.example.test")


def answer(*chain: Issued, host: str = "api.example.test", port: int = 443, name: str = "", is_verified: bool = True) -> Listing:
    """Make the listing of a server with this chain."""
    found = tuple(
        Found(item.pin, "ca" if index else "leaf", name or f"certificate {index}", datetime(2027, 1, 1, tzinfo=UTC))
        for index, item in enumerate(chain)
    )
    authority = Authority(host, port)
    return Listing(str(authority), found, ServerAnswer(authority, "192.0.2.1:443", found, is_verified=is_verified))


@pytest.mark.parametrize(
    ("host", "port"), [("api.example.test", 443), ("api.example.test", 8443), ("192.0.2.1", 443), ("2001:db8::1", 443)]
)
def test_what_is_printed_loads_and_matches_the_very_chain(host: str, port: int, tmp_path: Path) -> None:
    """Behind `version: 1` it is a configuration: two pins in force, the host, and its port where it is not 443."""
    file = tmp_path / "c.yaml"
    file.write_text("version: 1\n" + FORMATS["yaml"](answer(LEAF, INTERMEDIATE, ROOT, host=host, port=port)), "utf-8")
    table = build_policy_table(load_settings(file, {}, {}), lambda: ROOT.anchors)
    rule = table.lookup(Authority(host, port))
    assert rule is not None
    assert rule.ports == (frozenset() if port == 443 else {port})
    assert rule.pin_set is not None
    assert [(str(pin), pin.position) for pin in rule.pin_set.pins] == [(str(LEAF.pin), "leaf"), (str(INTERMEDIATE.pin), "ca")]
    chain = VerifiedChain(tuple(certificate(item.der) for item in (LEAF, INTERMEDIATE, ROOT)))
    assert judge_pins(chain, rule, Authority(host, port), datetime.now(UTC)).verdict is Verdict.MATCHED


def test_what_is_above_the_issuer_is_a_comment() -> None:
    """A root in force would trust every CA below it; its pin is there for those who want it."""
    text = FORMATS["yaml"](answer(LEAF, INTERMEDIATE, ROOT))
    assert f"      # - {{pin: {ROOT.pin}, position: ca}}" in text.splitlines()
    assert "backup key" in text


def test_a_server_with_one_certificate_is_told_to_add_a_backup() -> None:
    """What is printed then does not load, and says why."""
    text = FORMATS["yaml"](answer(ROOT))
    assert "A set needs two pins" in text


def test_names_in_certificates_cannot_leave_their_comment() -> None:
    """A CA signs many a text; a line end in it must not become a line of the configuration."""
    text = FORMATS["yaml"](answer(LEAF, INTERMEDIATE, name="x\n  evil:\u2028 \x1b[31m"))
    assert "evil" in text
    assert all("#" in line.partition("evil")[0] for line in text.splitlines() if "evil" in line)
    assert text.isprintable() or {char for char in text if not char.isprintable()} == {"\n"}


def test_what_nobody_verified_is_printed_as_comments_alone() -> None:
    """Pasting it pins nothing."""
    text = FORMATS["yaml"](answer(LEAF, is_verified=False))
    assert str(LEAF.pin) in text
    assert all(line.startswith("#") for line in text.splitlines())


def _public(issued: Issued) -> bytes:
    return issued.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _request(issued: Issued) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(issued.certificate.subject)
    return builder.sign(issued.key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("--cert", LEAF.pem),
        ("--cert", LEAF.der),
        ("--key", LEAF.key_pem),
        ("--key", _public(LEAF)),
        ("--csr", _request(LEAF)),
        ("--csr", _request(LEAF).replace(b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST")),
    ],
    ids=["certificate", "DER certificate", "private key", "public key", "request", "request by older tools"],
)
def test_every_file_of_one_key_has_one_pin(
    option: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An SPKI pin is that of the key, whatever carries it."""
    file = tmp_path / "file"
    file.write_bytes(content)
    assert invoke(["pin", option, str(file)]) == ExitCode.OK
    assert capsys.readouterr().out.startswith(f"- {LEAF.pin}   # ")


def test_every_certificate_of_a_file_is_listed_in_its_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A `fullchain.pem` is leaf first."""
    file = tmp_path / "fullchain.pem"
    file.write_bytes(LEAF.pem + INTERMEDIATE.pem)
    assert invoke(["pin", "--cert", str(file)]) == ExitCode.OK
    pins = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert pins == [str(LEAF.pin), str(INTERMEDIATE.pin)]


@pytest.mark.parametrize(
    ("option", "content", "said"),
    [
        ("--cert", b"", "holds no certificate"),
        ("--cert", b"-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n", "certificate 1 of 1 cannot be decoded"),
        ("--cert", b"\x30\x00", "certificate 1 of 1 cannot be decoded"),
        ("--key", b"", "expected one public key"),
        (
            "--key",
            LEAF.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
            "unencrypted private key",
        ),
        ("--key", LEAF.pem + LEAF.key_pem, "holds 2 PEM blocks (CERTIFICATE, PRIVATE KEY); expected one public key"),
        ("--csr", LEAF.key_pem, "holds PRIVATE KEY; expected one signing request"),
        ("--csr", LEAF.der, "cannot be decoded; expected one signing request"),
        ("--csr", None, "cannot be read"),
        ("--cert", None, "cannot be read"),
    ],
)
def test_a_file_that_holds_no_key_is_refused(
    option: str, content: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what was expected."""
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    assert invoke(["pin", option, str(file)]) == ExitCode.FAILURE
    output = capsys.readouterr()
    assert said in output.err
    assert output.out == ""


def test_a_pipe_of_the_shell_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    """`pinproxy pin --key <(openssl pkey …)`."""
    reading, writing = os.pipe()
    try:
        os.write(writing, LEAF.key_pem)
        os.close(writing)
        assert invoke(["pin", "--key", f"/dev/fd/{reading}"]) == ExitCode.OK
    finally:
        os.close(reading)
    assert capsys.readouterr().out.startswith(f"- {LEAF.pin}   # key")


def test_a_file_without_an_end_is_read_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    """A device, or a disk image by mistake."""
    assert invoke(["pin", "--cert", "/dev/zero"]) == ExitCode.FAILURE
    assert "/dev/zero is larger than 16 MiB; expected certificates or a key" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["host.example", "--cert", "x"],
        ["--key", "x", "--csr", "y"],
        ["--key", "x", "--ca-file", "y"],
        ["https://host.example/"],
    ],
)
def test_what_is_asked_must_be_one_thing(arguments: list[str]) -> None:
    """Exit 2, and nobody is dialled."""
    assert invoke(["pin", *arguments]) == ExitCode.USAGE
