"""Small certificates for tests that need a key in one and no chain around it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pinproxy.pins.chain import Certificate


@cache
def self_signed(name: str) -> Certificate:
    """Make one self-signed P-256 certificate for each name, valid through 2027."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2027, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 12, 31, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    return Certificate(built.public_bytes(Encoding.DER))
