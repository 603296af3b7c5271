"""A certificate of ours with its key, read once, at load: what we show to servers (`client_cert`) or to clients (`listen_tls`).

A key that others may read is refused and not repaired: it may have been read already. The rule is that of PostgreSQL's libpq,
which fits a mounted Kubernetes Secret as well as a file in a home directory: 0600 or less where the user pinproxy runs as owns
the key, 0640 or less where root does.
"""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import Field, PlainValidator, ValidationInfo, model_validator

from pinproxy.net.named_file import open_named_file
from pinproxy.net.own_chain import load_own_chain
from pinproxy.settings.section import Section
from pinproxy.settings.values import PATH_SCHEMA, read_path, shown

_MAX_BYTES = 64 * 1024  # a chain has 2 to 8 KiB, a key at most 4
_OF_OTHERS, _OF_GROUP_AND_OTHERS = 0o037, 0o077  # the bits that root's key, and anybody else's, must not have


@dataclass(frozen=True, slots=True)
class PemFile:
    """What a PEM file held when it was read.

    Attributes:
        path: Where it is.
        name: The same as the operator wrote it, for messages.
        pem: Its content, never shown.
    """

    path: Path
    name: str
    pem: bytes = field(repr=False)


def _read_chain(value: object, info: ValidationInfo) -> PemFile:
    path, name = read_path(value, info), shown(value)
    file = PemFile(path, name, _read(path, name, "PEM certificates, leaf first", is_secret=False))
    try:
        x509.load_pem_x509_certificates(file.pem)
    except ValueError as error:
        raise ValueError(f"{name} holds no PEM certificate that can be decoded; expected the leaf first") from error
    return file


def _read_key(value: object, info: ValidationInfo) -> PemFile:
    path, name = read_path(value, info), shown(value)
    file = PemFile(path, name, read_secret(path, name, "an unencrypted private key in PEM"))
    _parsed_key(file)
    return file


def _parsed_key(file: PemFile) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(file.pem, password=None)
    except TypeError as error:
        raise ValueError(f"{file.name} is encrypted; expected a key without a password, in a file of mode 0600") from error
    except ValueError as error:
        raise ValueError(f"{file.name} holds no private key that can be decoded; expected one in PEM") from error


def read_secret(path: Path, name: str, expected: str) -> bytes:
    """Read a small file that nobody else may read.

    Args:
        path: Where it is.
        name: The same as the operator wrote it.
        expected: What it should be, for messages.

    Raises:
        ValueError: Unreadable, too large, or readable by others.
    """
    return _read(path, name, expected, is_secret=True)


def _read(path: Path, name: str, expected: str, *, is_secret: bool) -> bytes:
    """Read through one descriptor, so that what was checked is what is read; a Secret's file is a link to one."""
    try:
        with open_named_file(path) as file:
            if is_secret:
                refuse_readable_by_others(os.fstat(file.fileno()), name)
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror}); expected {expected}") from error
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{name} is larger than {_MAX_BYTES} bytes; expected {expected}")
    return content


def refuse_readable_by_others(status: os.stat_result, name: str) -> None:
    """Refuse a secret's file that others may read.

    Args:
        status: Of the open file.
        name: As the operator wrote it.

    Raises:
        ValueError: Its mode, and the one expected.
    """
    is_roots = status.st_uid == 0 and os.geteuid() != 0
    if status.st_mode & (_OF_OTHERS if is_roots else _OF_GROUP_AND_OTHERS):
        mode, wanted = stat.S_IMODE(status.st_mode), "0640" if is_roots else "0600"
        raise ValueError(f"{name} has mode {mode:04o}, so others may read it; expected {wanted} or less: `chmod {wanted}` it")


ChainFile = Annotated[PemFile, PlainValidator(_read_chain), PATH_SCHEMA]
SecretKeyFile = Annotated[PemFile, PlainValidator(_read_key), PATH_SCHEMA]


class OwnCertificateSection(Section):
    """A certificate of ours and its key."""

    cert_file: ChainFile = Field(description="Certificate and intermediates in PEM, leaf first. Relative to this file.")
    key_file: SecretKeyFile = Field(
        description="Its private key in PEM, unencrypted, readable by nobody else (mode 0600). Relative to this file."
    )

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        leaf = x509.load_pem_x509_certificates(self.cert_file.pem)[0]
        if leaf.public_key() != _parsed_key(self.key_file).public_key():
            raise ValueError(f"the first certificate of {self.cert_file.name} does not belong to the key of {self.key_file.name}")
        try:
            load_own_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.chain_and_key)
        except ssl.SSLError as error:
            raise ValueError(f"OpenSSL does not take {self.cert_file.name} ({error.reason}); expected another key") from error
        return self

    @property
    def chain_and_key(self) -> bytes:
        """Both files' content, as `net.own_chain` wants it."""
        return self.cert_file.pem.rstrip() + b"\n" + self.key_file.pem
