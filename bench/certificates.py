"""Certificates for the stage: an origin that can be verified, and a CA for the proxies that mint."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def make_certificates(directory: Path) -> dict[str, str]:
    """Make a CA, a P-256 leaf for bench.test and what is below it, and a CA for proxies that mint; return the leaf's pin."""
    ca_key, ca = _certificate("Bench CA", None, None)
    leaf_key, leaf = _certificate("bench.test", ca_key, ca)
    bump_key, bump = _certificate("Bench Bump CA", None, None)
    _write(directory / "ca.pem", ca)
    _write(directory / "leaf-and-key.pem", leaf, leaf_key)
    _write(directory / "bump-ca.pem", bump)
    _write(directory / "bump-key.pem", None, bump_key)
    _write(directory / "bump-ca-and-key.pem", bump, bump_key)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(leaf_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    pin = base64.b64encode(digest.finalize()).decode("ascii")
    return {"pin": f"sha256/{pin}", "pin_base64": pin}


def _certificate(
    name: str, issuer_key: ec.EllipticCurvePrivateKey | None, issuer: x509.Certificate | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signer = issuer_key or key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if issuer is not None:
        named = [x509.DNSName(each) for each in (name, f"*.{name}", "localhost")]
        names = x509.SubjectAlternativeName([*named, x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    else:
        usage = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        )
        usage |= {"key_cert_sign": True, "crl_sign": True, "encipher_only": False, "decipher_only": False}
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    return key, builder.sign(signer, hashes.SHA256())


def _write(path: Path, certificate: x509.Certificate | None, key: ec.EllipticCurvePrivateKey | None = None) -> None:
    text = certificate.public_bytes(Encoding.PEM) if certificate is not None else b""
    if key is not None:
        text += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(text)
