"""Certificates for tests: any chain, any defect, EC keys throughout."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pinproxy.pins.chain import certificate
from pinproxy.pins.pin import Pin, spki_pin
from pinproxy.policy.rule import TrustAnchors

NOW = datetime.now(UTC).replace(microsecond=0)
YEAR = timedelta(days=365)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate with its key and its way up."""

    certificate: x509.Certificate
    key: Key = field(repr=False)
    issuer: Issued | None = None

    @property
    def der(self) -> bytes:
        """DER of the certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """PEM of the certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """PEM of the private key."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def pin(self) -> Pin:
        """The SPKI pin."""
        return spki_pin(certificate(self.der))

    @property
    def anchors(self) -> TrustAnchors:
        """A root store with this certificate alone."""
        return TrustAnchors("test roots", (self.der,))

    def sent_chain(self) -> list[Issued]:
        """The chain a well-configured server sends: leaf first, the root left out."""
        chain, current = [self], self.issuer
        while current is not None and current.issuer is not None:
            chain.append(current)
            current = current.issuer
        return chain


def make_root(name: str = "Test Root", not_after: datetime = NOW + 10 * YEAR) -> Issued:
    """Make a self-signed root."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = subject_name(name)
    builder = _builder(subject, subject, key, NOW - YEAR, not_after)
    builder = _as_ca(builder, key, None)
    return Issued(builder.sign(key, hashes.SHA256()), key)


def make_intermediate(issuer: Issued, name: str = "Test Intermediate", path_length: int | None = 0) -> Issued:
    """Make an intermediate CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(subject_name(name), issuer.certificate.subject, key, NOW - YEAR, NOW + 5 * YEAR)
    builder = _as_ca(builder, key, path_length).add_extension(_authority_key(issuer), critical=False)
    return Issued(builder.sign(issuer.key, hashes.SHA256()), key, issuer)


def make_leaf(
    issuer: Issued,
    *hosts: str,
    not_before: datetime = NOW - timedelta(days=1),
    not_after: datetime = NOW + timedelta(days=90),
    key: Key | None = None,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> Issued:
    """Make a server certificate for names and addresses; with `key`, a renewal that keeps its key; or one for a `purpose`."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = _builder(subject_name(hosts[0]), issuer.certificate.subject, key, not_before, not_after)
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(_authority_key(issuer), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Issued(builder.sign(issuer.key, hashes.SHA256()), key, issuer)


def reissue(ca: Issued, issuer: Issued, name: str | None = None) -> Issued:
    """Certify the key of a CA once more: cross-signed by another issuer, or under another name."""
    subject = subject_name(name) if name is not None else ca.certificate.subject
    builder = _builder(subject, issuer.certificate.subject, ca.key, NOW - YEAR, NOW + 5 * YEAR)
    builder = _as_ca(builder, ca.key, 0).add_extension(_authority_key(issuer), critical=False)
    return Issued(builder.sign(issuer.key, hashes.SHA256()), ca.key, issuer)


def make_client(issuer: Issued, name: str = "client.example.test", key: Key | None = None) -> Issued:
    """Make a client certificate."""
    return make_leaf(issuer, name, key=key, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)


def server_context(leaf: Issued, *appended: Issued, alpn: tuple[str, ...] = (), allows_weak_keys: bool = False) -> ssl.SSLContext:
    """Make the context of an origin that sends the leaf's chain, and whatever is appended to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if allows_weak_keys:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        chain = [*leaf.sent_chain(), *appended]
        Path(file.name).write_bytes(leaf.key_pem + b"".join(item.pem for item in chain))
        context.load_cert_chain(file.name)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _as_ca(builder: x509.CertificateBuilder, key: Key, path_length: int | None) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority_key(issuer: Issued) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


def subject_name(common_name: str) -> x509.Name:
    """Make a distinguished name of a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def general_name(host: str) -> x509.GeneralName:
    """Make the entry of a subjectAltName for a name or an address."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
