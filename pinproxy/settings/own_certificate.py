"""A certificate of ours with its key, read once, at load: shown to servers (`client_cert`) or to clients (`listen_tls`)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import Field, PlainValidator, ValidationInfo, model_validator

from pinproxy.net.own_chain import load_own_chain
from pinproxy.settings.section import Section
from pinproxy.settings.small_files import read_secret, read_small_file
from pinproxy.settings.values import PATH_SCHEMA, read_path, shown


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
    file = PemFile(path, name, read_small_file(path, name, "PEM certificates, leaf first"))
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
