"""What clients need to trust the local CA, as files they know how to read: `ca.pem`, `bundle.pem`, `truststore.p12`.

Rules of this file:
- Runtimes that replace their roots (requests, Java) need ours and the system's in one file, those that add (Node) ours alone.
- Somebody else's files of these names stay: where there is one and no truststore beside it, the directory is not ours.
- Files appear whole or not at all (temporary name, then rename), readable for everybody: they hold no secret.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.serialization import NoEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore

from pinproxy.errors import SettingsError
from pinproxy.net.named_file import open_named_file
from pinproxy.net.system_roots import certificates_in, parse

CA_NAME = "ca.pem"
BUNDLE_NAME = "bundle.pem"
TRUSTSTORE_NAME = "truststore.p12"
# What Java's tools call the default; the store reads the same with any other, and with none.
TRUSTSTORE_PASSWORD = "changeit"  # noqa: S105 - public knowledge, and it protects nothing


def publish_files(directory: Path, ca_pem: bytes, system_roots_pem: bytes) -> None:
    """Write the three files, replacing older ones.

    Takes about 20 ms with the roots of a usual system.

    Args:
        directory: Where; made if missing.
        ca_pem: Our root.
        system_roots_pem: The roots that the bundle and the truststore hold besides ours; may be empty.

    Raises:
        SettingsError: The directory cannot be written to, or holds files of these names that are somebody else's.
    """
    bundle = system_roots_pem.rstrip() + b"\n" + ca_pem if system_roots_pem.strip() else ca_pem
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not (directory / TRUSTSTORE_NAME).exists():
            _refuse_others({directory / CA_NAME: ca_pem, directory / BUNDLE_NAME: bundle})
        # First, so that whoever was interrupted is known again.
        _replace(directory / TRUSTSTORE_NAME, java_truststore(bundle))
        _replace(directory / CA_NAME, ca_pem)
        _replace(directory / BUNDLE_NAME, bundle)
    except OSError as error:
        message = f"{error.strerror}; set local_ca.publish to a directory that uid {os.geteuid()} can write to"
        raise SettingsError.of(str(directory), message, "local_ca.publish") from error


def _refuse_others(contents: Mapping[Path, bytes]) -> None:
    """Refuse to replace what is there already and is not what would be written.

    Raises:
        SettingsError: There is such a file, a private CA's perhaps, by which a host is verified.
    """
    for path, content in contents.items():
        # What is replaced of a link is the link alone.
        if path.is_symlink() or not path.is_file():
            continue
        with open_named_file(path) as file:
            is_ours = file.read(len(content) + 1) == content
        if not is_ours:
            message = f"{path.name} is there already, and not by pinproxy; set local_ca.publish to a directory of its own"
            raise SettingsError.of(str(path.parent), message, "local_ca.publish")


def java_truststore(bundle_pem: bytes) -> bytes:
    """Write certificates as a PKCS #12 truststore (RFC 7292 §4.2) with the attribute that makes Java trust them.

    The store is neither encrypted nor authenticated by a password. Java skips the check of a store without a MAC, so this
    one opens with `changeit`, with any other password and without one; a store under a password would open without it too,
    but silently empty, and every handshake would fail with "trustAnchors parameter must be non-empty".

    Args:
        bundle_pem: PEM certificates; those that cannot be decoded are left out.
    """
    roots = [root for der in certificates_in(bundle_pem) if der is not None and (root := parse(der))]
    # The number keeps aliases apart: Java would merge equal ones.
    entries = [
        PKCS12Certificate(root, f"{number} {root.subject.rfc4514_string()}".encode())
        for number, root in enumerate(roots, start=1)
    ]
    return _without_mac(serialize_java_truststore(entries, NoEncryption()))


def _without_mac(store: bytes) -> bytes:
    """Drop the MAC, keyed with an empty password, that `cryptography` adds even to a store without encryption."""
    # > RFC 7292 §4: PFX ::= SEQUENCE { version INTEGER {v3(3)}(v3,...), authSafe ContentInfo, macData MacData OPTIONAL }
    version_start, _ = _content(store, 0)
    _, version_end = _content(store, version_start)
    _, auth_safe_end = _content(store, version_end)
    body = store[version_start:auth_safe_end]
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((0x30, 0x80 | len(size))) + size + body  # a store with a certificate in it is never under 128 bytes


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Find start and end of the content of the BER element at this place."""
    first = data[at + 1]
    start = at + 2 + (first & 0x7F if first & 0x80 else 0)
    size = int.from_bytes(data[at + 2 : start], "big") if first & 0x80 else first
    return start, start + size


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # whatever the umask is
            file.write(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
