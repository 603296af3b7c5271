"""The local CA of a directory: two files, made once, and refused wherever somebody else may have had a hand in them."""

from __future__ import annotations

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import NameOID

from pinproxy.errors import SettingsError
from pinproxy.net import ca_files, minting
from pinproxy.net.local_ca import LocalCa

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)

a_key_in_other_hands = pytest.mark.attack(
    "the local CA's key: readable by others, a link, somebody else's, half there, or in a repository",
    expect="not start",
    topic="secrets",
    motive="Superfish; eDellRoot",
)


def test_the_ca_of_a_directory_is_made_once_and_kept(tmp_path: Path) -> None:
    """First start makes both files, the key for the owner only; the second start changes neither."""
    directory = tmp_path / "ca"
    first = LocalCa.load_or_create(directory, NOW)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in directory.iterdir()}
    assert sorted(before) == ["ca.key", "ca.pem"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600
    assert LocalCa.load_or_create(directory, NOW + DAY).ca_pem == first.ca_pem == before["ca.pem"][0]
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in directory.iterdir()} == before


def _root_and_key() -> tuple[x509.Certificate, minting.CaKey]:
    key = minting.new_key()
    return minting.new_root(key, NOW, 365 * DAY), key


def _stored(directory: Path) -> tuple[Path, Path]:
    """Certificate and key file of a new CA."""
    LocalCa.load_or_create(directory, NOW)
    return directory / "ca.pem", directory / "ca.key"


def _refusal(directory: Path, now: datetime = NOW) -> str:
    with pytest.raises(SettingsError) as refusal:
        LocalCa.load_or_create(directory, now)
    return str(refusal.value)


@a_key_in_other_hands
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """Who could read it once may still have it; mode 0600 (and 0400) pass."""
    _, key = _stored(tmp_path)
    key.chmod(mode)
    assert f"{key}: local_ca.directory: mode {mode:04o}; expected 0600" in _refusal(tmp_path)
    key.chmod(0o400)
    assert LocalCa.load_or_create(tmp_path, NOW).ca_pem


@a_key_in_other_hands
def test_a_key_behind_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    """A link may point to what somebody else controls; the file itself passes."""
    _, key = _stored(tmp_path)
    elsewhere = tmp_path / "elsewhere.key"
    key.rename(elsewhere)
    key.symlink_to(elsewhere)
    assert "a symbolic link" in _refusal(tmp_path)
    elsewhere.replace(key)
    assert LocalCa.load_or_create(tmp_path, NOW).ca_pem


def test_a_key_that_is_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    """Opening it must not hang the start."""
    _, key = _stored(tmp_path)
    key.unlink()
    subprocess.run(["mkfifo", "-m", "600", str(key)], check=True)
    assert "not a regular file" in _refusal(tmp_path)


@a_key_in_other_hands
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this process's user and root may own it; seen by a process of another uid."""
    _, key = _stored(tmp_path)
    os.chown(key, 12345, -1)
    assert "owned by uid 12345" in _refusal(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    assert LocalCa.load_or_create(tmp_path, NOW).ca_pem


@a_key_in_other_hands
@pytest.mark.parametrize("name", ["ca.key", "ca.pem"])
def test_half_a_ca_is_refused_and_not_replaced(tmp_path: Path, name: str) -> None:
    """The file that is left may be trusted by clients, so nothing is made anew over it."""
    _stored(tmp_path)
    (tmp_path / name).unlink()
    left = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert f"{tmp_path / name}: local_ca.directory: missing" in _refusal(tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == left


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    """A link put there beforehand cannot choose where the key goes."""
    for name in ("ca.key", "ca.pem"):
        (tmp_path / name).symlink_to(tmp_path / f"stolen-{name}")
    assert "No such file" in _refusal(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ca.key", "ca.pem"]


@pytest.mark.attack("a race for the file of the local CA's key", expect="not start", topic="secrets", motive="CWE-367")
def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """O_EXCL: of two processes that start at once, one makes the CA and the other stops."""

    def make() -> tuple[bytes, bytes]:
        (tmp_path / "ca.key").write_bytes(b"of the other process")
        return b"certificate", b"key"

    with pytest.raises(SettingsError, match="another pinproxy"):
        ca_files.load_or_create_files(tmp_path, make)
    assert (tmp_path / "ca.key").read_bytes() == b"of the other process"
    (tmp_path / "ca.key").unlink()
    assert ca_files.load_or_create_files(tmp_path, lambda: (b"certificate", b"key")) == (b"certificate", b"key")


@a_key_in_other_hands
def test_a_directory_in_a_repository_is_refused(tmp_path: Path) -> None:
    """What lies there gets committed; without the repository the same directory passes."""
    (tmp_path / ".git").mkdir()
    assert "inside the repository" in _refusal(tmp_path / "ca")
    (tmp_path / ".git").rmdir()
    assert LocalCa.load_or_create(tmp_path / "ca", NOW).ca_pem


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """The message names the place and what is expected."""
    assert "expected a directory" in _refusal(tmp_path / "missing" / "ca")


def test_a_ca_past_its_end_is_refused(tmp_path: Path) -> None:
    """At its last second it loads, at its end not."""
    certificate, _ = _stored(tmp_path)
    end = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    assert LocalCa.load_or_create(tmp_path, end - timedelta(seconds=1)).ca_pem
    assert "remove both files" in _refusal(tmp_path, end)


def test_a_certificate_of_another_key_is_refused(tmp_path: Path) -> None:
    """Two CAs mixed up would make leaves nobody trusts."""
    certificate, _ = _stored(tmp_path / "a")
    other, _ = _stored(tmp_path / "b")
    certificate.write_bytes(other.read_bytes())
    assert "does not belong to the key" in _refusal(tmp_path / "a")


def test_a_certificate_that_is_no_ca_is_refused(tmp_path: Path) -> None:
    """Clients would refuse every leaf; also one without any extension."""
    certificate, _ = _stored(tmp_path)
    root, key = _root_and_key()
    key_file = tmp_path / "ca.key"
    key_file.write_bytes(minting.key_pem(key))
    leaf_key = minting.new_key()
    leaf = minting.new_leaf("a.example", leaf_key.public_key(), root, key, NOW)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bare")])
    bare = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + DAY).sign(key, hashes.SHA256())
    certificate.write_bytes(leaf.public_bytes(Encoding.PEM))
    assert "not a CA certificate" in _refusal(tmp_path)
    certificate.write_bytes(bare.public_bytes(Encoding.PEM))
    assert "lacks an extension" in _refusal(tmp_path)
    certificate.write_bytes(root.public_bytes(Encoding.PEM) * 2)
    assert "exactly one PEM certificate" in _refusal(tmp_path)
    certificate.write_bytes(root.public_bytes(Encoding.PEM))
    assert LocalCa.load_or_create(tmp_path, NOW).ca_pem


def test_an_encrypted_or_broken_key_is_refused(tmp_path: Path) -> None:
    """There is nobody to ask for a password at start."""
    _, key_file = _stored(tmp_path)
    key = minting.new_key()
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    assert "encrypted" in _refusal(tmp_path)
    key_file.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert "no private key" in _refusal(tmp_path)
