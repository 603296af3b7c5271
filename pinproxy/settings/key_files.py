"""Pins and roots that stand in files beside the configuration: read once, at load, so that a bad file is a load error."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from pydantic import PlainValidator, ValidationInfo

from pinproxy.errors import SettingsError
from pinproxy.net.system_roots import load_roots_file
from pinproxy.pins.chain import Certificate
from pinproxy.pins.pin import Pin
from pinproxy.policy.rule import TrustAnchors
from pinproxy.settings.small_files import read_small_file
from pinproxy.settings.values import PATH_SCHEMA, read_path, shown

_ONE_KEY = "one public key, certificate, request or unencrypted private key"
_KINDS_SHOWN = 4
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)


def _spki_of_public_key(der: bytes) -> bytes:
    """Take the SPKI as it stands: a PUBLIC KEY block is nothing else (RFC 7468 §13)."""
    load_der_public_key(der)
    return der


def _spki_of_private_key(der: bytes) -> bytes:
    key = load_der_private_key(der, password=None)
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _spki_of_request(der: bytes) -> bytes:
    key = x509.load_der_x509_csr(der).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _spki_of_certificate(der: bytes) -> bytes:
    return Certificate(der).spki_der


_CERTIFICATE: dict[str, Callable[[bytes], bytes]] = {"CERTIFICATE": _spki_of_certificate}
# RFC 7468 §7: the label with NEW is what older tools write.
_REQUEST: dict[str, Callable[[bytes], bytes]] = {
    "CERTIFICATE REQUEST": _spki_of_request,
    "NEW CERTIFICATE REQUEST": _spki_of_request,
}
# In this order a DER file is tried, which does not say what it is.
_KEY: dict[str, Callable[[bytes], bytes]] = {
    **_CERTIFICATE,
    "PUBLIC KEY": _spki_of_public_key,
    **_REQUEST,
    "PRIVATE KEY": _spki_of_private_key,
    "EC PRIVATE KEY": _spki_of_private_key,
    "RSA PRIVATE KEY": _spki_of_private_key,
}


def key_pin(name: str, content: bytes) -> Pin:
    """Take the pin of the key in a file: a public key, a certificate, a request, or a private key without a password.

    Args:
        name: Of the file, for messages.
        content: PEM with one of them, or DER.

    Raises:
        ValueError: There is none, or more than one.
    """
    return _pin_of(name, content, _KEY, _ONE_KEY)


def request_pin(name: str, content: bytes) -> Pin:
    """Take the pin of the key that a signing request is for; the arguments are those of `key_pin`.

    Raises:
        ValueError: The file holds none, or more than one, or something else.
    """
    return _pin_of(name, content, _REQUEST, "one signing request, PEM or DER")


def _pin_of(name: str, content: bytes, readers: dict[str, Callable[[bytes], bytes]], expected: str) -> Pin:
    if content.startswith(b"\x30"):
        blocks = [(kind, content) for kind in readers]
    else:
        found = [(kind.decode("ascii"), body) for kind, body in _BLOCK.findall(content)]
        blocks = [(kind, _decoded(name, body)) for kind, body in found if kind in readers]
        if len(blocks) > 1:
            kinds = ", ".join(kind for kind, _ in blocks[:_KINDS_SHOWN]) + (", …" if len(blocks) > _KINDS_SHOWN else "")
            raise ValueError(f"{name} holds {len(blocks)} PEM blocks ({kinds}); expected {expected}: keep the one that is meant")
        if not blocks:
            kinds = ", ".join(kind for kind, _ in found) or "no PEM block"
            raise ValueError(f"{name} holds {kinds}; expected {expected}")
    for kind, der in blocks:
        try:
            spki = readers[kind](der)
        except (ValueError, TypeError):  # TypeError: a private key that wants a password
            continue
        return Pin("spki", "sha256", hashlib.sha256(spki).digest())
    raise ValueError(f"{name} cannot be decoded; expected {expected}")


def _decoded(name: str, body: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{name} holds a PEM block that is not base64; expected an unencrypted one") from error


def _read_certificate_pin(value: object, info: ValidationInfo) -> Pin:
    expected = "one certificate, PEM or DER"
    return _pin_of(shown(value), read_small_file(read_path(value, info), shown(value), expected), _CERTIFICATE, expected)


def _read_key_pin(value: object, info: ValidationInfo) -> Pin:
    # Named as the operator wrote it: the directory is that of the configuration.
    return key_pin(shown(value), read_small_file(read_path(value, info), shown(value), _ONE_KEY))


def _read_roots(value: object, info: ValidationInfo) -> TrustAnchors:
    try:
        return load_roots_file(read_path(value, info))
    except SettingsError as error:
        raise ValueError(f"{shown(value)}: {error.problems[0].message}") from error


CertificatePin = Annotated[Pin, PlainValidator(_read_certificate_pin), PATH_SCHEMA]
KeyPin = Annotated[Pin, PlainValidator(_read_key_pin), PATH_SCHEMA]
Roots = Annotated[TrustAnchors, PlainValidator(_read_roots), PATH_SCHEMA]
