"""A certificate of ours and its key: read at load, and refused there if they cannot serve."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from pinproxy.errors import SettingsError
from pinproxy.policy.rule import HostRule, TrustAnchors
from pinproxy.settings.load import load_settings
from pinproxy.settings.policy import build_policy_table
from pinproxy.settings.small_files import refuse_readable_by_others
from tests.harness.pki import Issued, make_client, make_intermediate, make_root


def write(directory: Path, client: Issued, key_pem: bytes | None = None, mode: int = 0o600) -> None:
    """Write `client.pem`, its chain, and `client.key`."""
    (directory / "client.pem").write_bytes(b"".join(item.pem for item in client.sent_chain()))
    (directory / "client.key").write_bytes(client.key_pem if key_pem is None else key_pem)
    (directory / "client.key").chmod(mode)


def load(directory: Path) -> HostRule:
    """Load a host that shows it."""
    path = directory / "pinproxy.yaml"
    path.write_text(
        "version: 1\nhosts:\n  - {host: a.example, mode: disabled, client_cert: {cert_file: client.pem, key_file: client.key}}\n"
    )
    (rule,) = build_policy_table(load_settings(path, {}, {}), lambda: TrustAnchors("system", ())).rules
    return rule


def problem(directory: Path) -> str:
    """Load what is refused, and return the one problem without its place."""
    with pytest.raises(SettingsError) as refused:
        load(directory)
    (only,) = refused.value.problems
    assert only.path.startswith("hosts[0].client_cert")
    return only.message


def test_certificate_and_key_stand_in_the_rule(tmp_path: Path) -> None:
    """With the intermediates; and nothing of them in its text."""
    client = make_client(make_intermediate(make_root()))
    write(tmp_path, client)
    found = load(tmp_path).client_cert
    assert found is not None
    assert found.name == str(tmp_path / "client.pem")
    assert found.chain_and_key.count(b"BEGIN CERTIFICATE") == 2
    assert "BEGIN" not in repr(load(tmp_path))


def test_a_link_to_a_key_is_followed(tmp_path: Path) -> None:
    """A mounted Secret is one."""
    write(tmp_path, make_client(make_root()))
    (tmp_path / "client.key").rename(tmp_path / "..data")
    (tmp_path / "client.key").symlink_to("..data")
    assert load(tmp_path).client_cert is not None


@pytest.mark.attack("the key of a client certificate that others may read", expect="not start", topic="secrets", motive="CWE-732")
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """It may have been read already; the twin is every other test, whose key has mode 0600."""
    write(tmp_path, make_client(make_root()), mode=mode)
    assert problem(tmp_path) == (
        f"'client.key' has mode {mode:04o}, so others may read it; expected 0600 or less: `chmod 0600` it"
    )


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    """Half of a rotation."""
    write(tmp_path, make_client(make_root()), make_client(make_root()).key_pem)
    assert problem(tmp_path) == "the first certificate of 'client.pem' does not belong to the key of 'client.key'"


def test_a_chain_that_begins_with_the_root_is_refused(tmp_path: Path) -> None:
    """Leaf first: the key belongs to the leaf."""
    client = make_client(make_root())
    write(tmp_path, client)
    assert client.issuer is not None
    (tmp_path / "client.pem").write_bytes(client.issuer.pem + client.pem)
    assert problem(tmp_path) == "the first certificate of 'client.pem' does not belong to the key of 'client.key'"


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    """Nobody is there to type its password."""
    client = make_client(make_root())
    write(tmp_path, client, client.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    assert problem(tmp_path) == "'client.key' is encrypted; expected a key without a password, in a file of mode 0600"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("client.pem", "'client.pem' holds no PEM certificate that can be decoded; expected the leaf first"),
        ("client.key", "'client.key' holds no private key that can be decoded; expected one in PEM"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """With its name and what was expected of it."""
    write(tmp_path, make_client(make_root()))
    (tmp_path / name).write_text("hello")
    assert problem(tmp_path) == text


def test_a_missing_key_is_refused(tmp_path: Path) -> None:
    """As every unreadable file."""
    write(tmp_path, make_client(make_root()))
    (tmp_path / "client.key").unlink()
    assert problem(tmp_path) == (
        "'client.key' cannot be read (No such file or directory); expected an unencrypted private key in PEM"
    )


def test_a_file_without_an_end_is_refused(tmp_path: Path) -> None:
    """It is no certificate, and must not fill the memory."""
    write(tmp_path, make_client(make_root()))
    os.truncate(tmp_path / "client.pem", 2**30)
    assert problem(tmp_path) == "'client.pem' is larger than 65536 bytes; expected PEM certificates, leaf first"


def test_a_key_that_openssl_does_not_take_is_refused(tmp_path: Path) -> None:
    """At load, and not at the first handshake."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point
    write(tmp_path, make_client(make_root(), key=weak))
    assert problem(tmp_path) == "OpenSSL does not take 'client.pem' (EE_KEY_TOO_SMALL); expected another key"


def test_a_rule_with_another_certificate_verifies_in_another_way(tmp_path: Path) -> None:
    """A connection that was opened as somebody else must not be handed on."""
    write(tmp_path, make_client(make_root()))
    before, same = load(tmp_path), load(tmp_path)
    write(tmp_path, make_client(make_root()))
    after = load(tmp_path)
    assert before == same
    assert before.verifies_like(same)
    assert before != after
    assert not before.verifies_like(after)


@pytest.mark.parametrize(
    ("mode", "owner", "is_refused"), [(0o440, 0, False), (0o644, 0, True), (0o440, 1000, True), (0o400, 1000, False)]
)
def test_a_mounted_secret_of_roots_may_be_readable_by_our_group(
    mode: int, owner: int, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So Kubernetes mounts it for a pod with an `fsGroup`; a key of our own has no such excuse."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    status = os.stat_result((0o100000 | mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))
    if is_refused:
        with pytest.raises(ValueError, match="others may read it"):
            refuse_readable_by_others(status, "client.key")
    else:
        refuse_readable_by_others(status, "client.key")
