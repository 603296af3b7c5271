from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from pinproxy.errors import SettingsError
from pinproxy.net.system_roots import load_roots_file, load_system_roots, roots_pem


@pytest.fixture(scope="module")
def pems() -> tuple[bytes, bytes]:
    """Two roots."""
    return trustme.CA().cert_pem.bytes(), trustme.CA().cert_pem.bytes()


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own places."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def der(pem: bytes) -> bytes:
    """One certificate decoded."""
    return ssl.PEM_cert_to_DER_cert(pem.decode())


@pytest.mark.usefixtures("no_variables")
def test_the_systems_roots_are_those_openssl_loads() -> None:
    """The same certificates that `ssl.create_default_context` trusts, serial number 0 or not."""
    paths = ssl.get_default_verify_paths()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=b"".join(load_system_roots().roots))
    expected = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    expected.load_verify_locations(cafile=paths.cafile or "/etc/ssl/certs/ca-certificates.crt")
    assert context.cert_store_stats() == expected.cert_store_stats()


def test_a_file_named_by_the_environment_wins(tmp_path: Path, pems: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE replaces the system's roots; each root counts once."""
    (tmp_path / "roots.pem").write_bytes(b"# comment\n" + pems[0] + pems[1] + pems[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    assert load_system_roots().roots == (der(pems[0]), der(pems[1]))


@pytest.mark.usefixtures("no_variables")
def test_a_directory_named_by_the_environment_wins(
    tmp_path: Path, pems: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_DIR is read as OpenSSL reads it: files by hashed name only."""
    (tmp_path / "0a1b2c3d.0").write_bytes(pems[0])
    (tmp_path / "stray.pem").write_bytes(pems[1])
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert load_system_roots().roots == (der(pems[0]),)


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_variable_that_points_nowhere_is_refused(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Falling back on the system's roots would trust more than was asked for."""
    monkeypatch.setenv(variable, str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match=f"{variable} names it"):
        load_system_roots()


@pytest.mark.usefixtures("no_variables")
def test_a_system_without_roots_is_told_how_to_get_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty store is refused, with both remedies."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match=r"ca-certificates, or give each host `trust: \{ca_file"):
        load_system_roots()


def test_an_undecodable_block_of_the_system_is_left_out(
    tmp_path: Path, pems: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the system's store still works; a `ca_file` with the same content is refused."""
    broken = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n"
    file = tmp_path / "roots.pem"
    file.write_bytes(broken + pems[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert load_system_roots().roots == (der(pems[0]),)
    with pytest.raises(SettingsError, match=r"roots\.pem: trust: certificate 1 of 2 cannot be decoded"):
        load_roots_file(file)


def test_a_ca_file_is_read_in_pem_der_and_openssls_trusted_form(tmp_path: Path, pems: tuple[bytes, bytes]) -> None:
    """The anchors carry the file's name, for messages."""
    file = tmp_path / "ca.pem"
    file.write_bytes(pems[1] + pems[0])
    assert (load_roots_file(file).name, load_roots_file(file).roots) == (str(file), (der(pems[1]), der(pems[0])))
    file.write_bytes(der(pems[0]))
    assert load_roots_file(file).roots == (der(pems[0]),)
    trusted = ssl.DER_cert_to_PEM_cert(der(pems[0]) + b"\x30\x03\x02\x01\x00").replace("CERTIFICATE", "TRUSTED CERTIFICATE")
    file.write_text(trusted)
    assert load_roots_file(file).roots == (der(pems[0]),)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "holds 0 bytes and no certificate"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds a private key and no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 of 1 cannot be decoded"),
        (b"\x30\x03\x02\x01\x00", "certificate 1 of 1 cannot be decoded"),
    ],
)
def test_a_ca_file_without_a_usable_certificate_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    """The message names the file and what was found in it."""
    (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(SettingsError, match=rf"ca\.pem: trust: {expected}"):
        load_roots_file(tmp_path / "ca.pem")


def test_a_missing_ca_file_is_refused(tmp_path: Path) -> None:
    """So is a directory in its place."""
    with pytest.raises(SettingsError, match="No such file"):
        load_roots_file(tmp_path / "missing.pem")
    with pytest.raises(SettingsError, match="it is a directory"):
        load_roots_file(tmp_path)


def test_roots_can_be_written_as_one_bundle(tmp_path: Path, pems: tuple[bytes, bytes]) -> None:
    """What is written reads back the same."""
    (tmp_path / "ca.pem").write_bytes(pems[0] + pems[1])
    anchors = load_roots_file(tmp_path / "ca.pem")
    (tmp_path / "again.pem").write_bytes(roots_pem(anchors))
    assert load_roots_file(tmp_path / "again.pem").roots == anchors.roots
