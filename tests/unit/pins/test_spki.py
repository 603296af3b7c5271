"""The public key cut out of a certificate is the very bytes that were signed."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pinproxy.errors import PinSyntaxError
from pinproxy.pins.spki import spki_of_certificate
from tests.unit.pins.certificates import self_signed

TBS = x509.load_der_x509_certificate(self_signed("a").der).tbs_certificate_bytes


def sequence(*parts: bytes) -> bytes:
    """Wrap short DER parts in a SEQUENCE."""
    body = b"".join(parts)
    return bytes([0x30, len(body)]) + body


INTEGER, EMPTY = b"\x02\x01\x07", b"\x30\x00"


def test_the_key_is_the_one_the_library_reads() -> None:
    """For an ordinary key, cutting and re-encoding agree."""
    key = x509.load_der_x509_certificate(self_signed("a").der).public_key()
    assert spki_of_certificate(TBS) == key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_a_version_1_certificate_has_its_key_one_field_earlier() -> None:
    """RFC 5280 §4.1: version is DEFAULT v1, so it is left out."""
    key = sequence(INTEGER)
    assert spki_of_certificate(sequence(INTEGER, EMPTY, EMPTY, EMPTY, EMPTY, key)) == key


@pytest.mark.parametrize(
    "tbs",
    [
        b"",
        b"\x30",
        EMPTY,
        TBS[:-1],
        TBS[:100],
        b"\x30\x80\x00\x00",
        b"\x30\x85\x01\x01\x01\x01\x01",
        b"\x30\x84\xff",
        sequence(INTEGER, EMPTY, EMPTY, EMPTY, EMPTY),
        sequence(INTEGER, EMPTY, EMPTY, EMPTY, EMPTY, INTEGER),
        sequence(INTEGER, EMPTY, EMPTY, EMPTY, EMPTY) + EMPTY,
    ],
    ids=[
        "nothing",
        "half a tag",
        "empty sequence",
        "one byte short",
        "100 bytes",
        "indefinite length",
        "length of five octets",
        "half a length",
        "no key",
        "an integer for a key",
        "a key behind the end",
    ],
)
def test_bytes_that_hold_no_key_are_refused(tbs: bytes) -> None:
    """Truncated, indefinite or oversized lengths, a missing key, and a key outside the certificate."""
    with pytest.raises(PinSyntaxError):
        spki_of_certificate(tbs)
