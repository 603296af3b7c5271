"""Trust anchors from files: the system's, or those of one `ca_file`.

Rules of this file:
- No root is worse than an error: a store that yields none is refused, with the way to get one.
- The system's store is taken as it is: a block in it that cannot be decoded is left out, which only refuses more. A
  `ca_file` is the operator's own and must be right in full.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
import warnings
from pathlib import Path

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from pinproxy.errors import SettingsError
from pinproxy.net.named_file import open_named_file
from pinproxy.policy.rule import TrustAnchors

_BLOCK = re.compile(rb"-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----(.*?)-----END (?:TRUSTED |X509 )?CERTIFICATE-----", re.DOTALL)
_MAX_BYTES = 16 * 1024 * 1024  # a system's store has 250 KiB
# OpenSSL looks into a directory by these names only (X509_LOOKUP_hash_dir(3)); others in it are no anchors.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def load_system_roots() -> TrustAnchors:
    """Load the roots that OpenSSL's defaults name: SSL_CERT_FILE, SSL_CERT_DIR, then the system's own places.

    A file wins over a directory; a variable that names nothing is an error and no reason to fall back on more roots.

    Returns:
        The roots, each once, in the order found.

    Raises:
        SettingsError: No root is found, or a variable points nowhere.
    """
    paths = ssl.get_default_verify_paths()
    for variable, is_there in ((paths.openssl_cafile_env, os.path.isfile), (paths.openssl_capath_env, os.path.isdir)):
        named = os.environ.get(variable)
        if named and not is_there(named):
            raise _refused(named, f"{variable} names it and it does not exist; correct the variable or unset it")
    # SSL_CERT_DIR on its own replaces the system's file too: it was set to say where the roots are.
    is_directory_asked = paths.openssl_capath_env in os.environ and paths.openssl_cafile_env not in os.environ
    if paths.cafile and not is_directory_asked:
        source = paths.cafile
        found = certificates_in(_read(Path(source)))
    else:
        source = paths.capath or paths.openssl_capath
        found = [der for file in _hashed_files(Path(source)) for der in certificates_in(_read(file))]
    roots = tuple(dict.fromkeys(der for der in found if der is not None and parse(der)))
    if not roots:
        raise _refused(
            source,
            "holds no root certificate; install the package ca-certificates, or give each host `trust: {ca_file: …}`",
        )
    return TrustAnchors("system", roots)


def load_roots_file(path: Path) -> TrustAnchors:
    """Load the roots of a `ca_file`.

    Args:
        path: PEM certificates, or a single DER one.

    Returns:
        The roots, each once, in the order of the file.

    Raises:
        SettingsError: The file cannot be read, holds no certificate, or holds one that cannot be decoded.
    """
    content = _read(path)
    found = [content] if content.startswith(b"\x30") else certificates_in(content)
    if not found:
        what = "a private key" if b"PRIVATE KEY-----" in content else f"{len(content)} bytes"
        raise _refused(path, f"holds {what} and no certificate; expected PEM with BEGIN CERTIFICATE lines")
    for number, der in enumerate(found, start=1):
        if der is None or not parse(der):
            raise _refused(path, f"certificate {number} of {len(found)} cannot be decoded; replace or remove it")
    return TrustAnchors(str(path), tuple(dict.fromkeys(der for der in found if der is not None)))


def roots_pem(anchors: TrustAnchors) -> bytes:
    """Write trust anchors as one PEM bundle, in their order."""
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in anchors.roots).encode("ascii")


def certificates_in(pem: bytes) -> list[bytes | None]:
    """Find the certificates of a PEM text, whatever stands between them.

    Returns:
        DER in the order of the text; None in the place of a block that is not base64.
    """
    return [_decoded(kind, body) for kind, body in _BLOCK.findall(pem)]


def parse(der: bytes) -> x509.Certificate | None:
    """Parse a root, also one whose serial number is 0, as a handful of well-known old roots have it (RFC 5280 §4.1.2.2)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return x509.load_der_x509_certificate(der)
    except ValueError:
        return None


def _decoded(kind: bytes, body: bytes) -> bytes | None:
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        return None
    # OpenSSL's own TRUSTED form has trust settings behind the certificate; only the certificate is taken.
    return der[: _der_length(der)] if kind == b"TRUSTED " else der


def _der_length(der: bytes) -> int:
    """Bytes of the first DER element."""
    if len(der) < 2 or der[1] < 0x80:
        return 2 + (der[1] if len(der) > 1 else 0)
    size = der[1] & 0x7F
    return 2 + size + int.from_bytes(der[2 : 2 + size], "big")


def _hashed_files(directory: Path) -> list[Path]:
    try:
        return sorted(file for file in directory.iterdir() if _HASHED_NAME.fullmatch(file.name) and file.is_file())
    except OSError:
        return []


def _read(path: Path) -> bytes:
    try:
        with open_named_file(path) as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _refused(path, f"{error.strerror}; expected a readable file of PEM certificates") from error
    if len(content) > _MAX_BYTES:
        raise _refused(path, f"is larger than {_MAX_BYTES // 1024**2} MiB; expected a file of PEM certificates")
    return content


def _refused(file: Path | str, message: str) -> SettingsError:
    return SettingsError.of(str(file), message, "trust")
