"""Certificates with one thing wrong: a sound profile, of which a test leaves out or replaces exactly what it is about."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.harness.pki import NOW, YEAR, Issued, Key, general_name, subject_name

Extension = tuple[x509.ExtensionType, bool]
"""An extension, and whether it is critical."""


def forge_leaf(
    issuer: Issued | None,
    *hosts: str,
    without: Collection[type[x509.ExtensionType]] = (),
    instead: Collection[Extension] = (),
    common_name: str = "",
    key: Key | None = None,
    not_before: datetime = NOW - timedelta(days=1),
    not_after: datetime = NOW + timedelta(days=90),
    serial: int | None = None,
) -> Issued:
    """Make a server certificate.

    Args:
        issuer: Who signs it; None: itself.
        hosts: Names and addresses; none of them: no subjectAltName.
        without: Extensions to leave out.
        instead: Extensions to put in the place of those of their type, or besides.
        common_name: Its subject; by default the first host.
        key: Its key; by default a new one on P-256.
        not_before: Start of validity.
        not_after: End of validity.
        serial: Serial number; by default a random one.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    profile: list[Extension] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer.key if issuer else key).public_key()), False),
    ]
    if hosts:
        profile.append((x509.SubjectAlternativeName([general_name(host) for host in hosts]), False))
    subject = subject_name(common_name or hosts[0])
    return _sign(issuer, subject, key, (not_before, not_after), _changed(profile, without, instead), serial)


def forge_ca(
    issuer: Issued | None,
    name: str,
    *,
    without: Collection[type[x509.ExtensionType]] = (),
    instead: Collection[Extension] = (),
    not_before: datetime = NOW - YEAR,
    not_after: datetime = NOW + 5 * YEAR,
    key: Key | None = None,
) -> Issued:
    """Make a CA certificate: a root without an issuer, else an intermediate; the arguments are those of `forge_leaf`."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    profile: list[Extension] = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (key_usage(key_cert_sign=True, crl_sign=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ]
    if issuer is not None:
        profile.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False))
    return _sign(issuer, subject_name(name), key, (not_before, not_after), _changed(profile, without, instead), None)


def key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    """Make a keyUsage extension of these bits."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _changed(
    profile: list[Extension], without: Collection[type[x509.ExtensionType]], instead: Collection[Extension]
) -> list[Extension]:
    replaced = {type(extension) for extension, _ in instead}
    return [entry for entry in profile if type(entry[0]) not in {*without, *replaced}] + list(instead)


def _sign(
    issuer: Issued | None,
    subject: x509.Name,
    key: Key,
    validity: tuple[datetime, datetime],
    extensions: list[Extension],
    serial: int | None,
) -> Issued:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return Issued(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key, issuer)


class Forged(Issued):
    """A certificate whose bytes no library of ours would write; the properties give them as they are."""

    _der: bytes
    _key_pem: bytes | None = None

    @property
    def der(self) -> bytes:
        """DER of the certificate."""
        return self._der

    @property
    def pem(self) -> bytes:
        """PEM of the certificate."""
        return ssl.DER_cert_to_PEM_cert(self._der).encode("ascii")

    @property
    def key_pem(self) -> bytes:
        """PEM of the private key."""
        return super().key_pem if self._key_pem is None else self._key_pem


def reforge(issued: Issued, old: bytes, new: bytes) -> Issued:
    """Replace bytes in a certificate by as many others, and have its issuer sign it again.

    Args:
        issued: Signed by an EC key.
        old: What occurs exactly once in the signed part.
        new: What is to stand there.
    """
    tbs = issued.certificate.tbs_certificate_bytes
    assert tbs.count(old) == 1
    assert len(old) == len(new)
    return _signed_again(issued, tbs.replace(old, new))


def with_public_key(issued: Issued, spki_der: bytes, key_pem: bytes) -> Issued:
    """Give a certificate a public key in a form that our libraries read and do not write.

    Args:
        issued: Signed by an EC key.
        spki_der: The SubjectPublicKeyInfo.
        key_pem: The private key that goes with it, for a server to load.
    """
    forged = _with_field(issued, _spki(issued), spki_der)
    object.__setattr__(forged, "_key_pem", key_pem)
    return forged


def with_serial_number(issued: Issued, octets: bytes) -> Issued:
    """Give a certificate a serial number of these octets (RFC 5280 §4.1.2.2), whatever they are worth."""
    own = issued.certificate.serial_number
    return _with_field(issued, _element(0x02, own.to_bytes(own.bit_length() // 8 + 1, "big")), _element(0x02, octets))


def _with_field(issued: Issued, old: bytes, new: bytes) -> Forged:
    """Replace a whole field of the signed part, and have the issuer sign it again."""
    fields = _content(issued.certificate.tbs_certificate_bytes)
    assert fields.count(old) == 1
    return _signed_again(issued, _element(0x30, fields.replace(old, new)))


def as_version_1(issued: Issued) -> Issued:
    """Make a certificate of X.509 version 1 of another: no extensions, and nothing that tells a CA from a leaf."""
    fields = _content(issued.certificate.tbs_certificate_bytes)
    # > RFC 5280 §4.1: version [0] EXPLICIT Version DEFAULT v1, … extensions [3] EXPLICIT Extensions OPTIONAL
    version = bytes.fromhex("a003020102")
    assert fields.startswith(version)
    return _signed_again(issued, _element(0x30, fields.partition(_spki(issued))[0].removeprefix(version) + _spki(issued)))


_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_ECDSA_WITH_SHA1 = bytes.fromhex("300906072a8648ce3d0401")
_RSA_WITH_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")
_RSA_WITH_MD5 = bytes.fromhex("300d06092a864886f70d0101040500")


def signed_by_sha1(issued: Issued) -> Issued:
    """Have the issuer of a certificate, whose key is an EC one, sign it by SHA-1."""
    fields = _content(issued.certificate.tbs_certificate_bytes).replace(_ECDSA_WITH_SHA256, _ECDSA_WITH_SHA1)
    tbs, signer = _element(0x30, fields), (issued.issuer or issued).key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    return _forged(issued, tbs, _ECDSA_WITH_SHA1, signer.sign(tbs, ec.ECDSA(hashes.SHA1())))  # noqa: S303 - the defect


def signed_by_md5(issued: Issued) -> Issued:
    """Have the issuer of a certificate, whose key is an RSA one, sign it by MD5."""
    fields = _content(issued.certificate.tbs_certificate_bytes).replace(_RSA_WITH_SHA256, _RSA_WITH_MD5)
    tbs, signer = _element(0x30, fields), (issued.issuer or issued).key
    assert isinstance(signer, rsa.RSAPrivateKey)
    return _forged(issued, tbs, _RSA_WITH_MD5, signer.sign(tbs, padding.PKCS1v15(), hashes.MD5()))  # noqa: S303 - the defect


def _signed_again(issued: Issued, tbs: bytes) -> Forged:
    """Make a certificate of other bytes than its issuer, whose key is an EC one, has signed."""
    signer = (issued.issuer or issued).key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    return _forged(issued, tbs, _ECDSA_WITH_SHA256, signer.sign(tbs, ec.ECDSA(hashes.SHA256())))


def _forged(issued: Issued, tbs: bytes, algorithm: bytes, signed: bytes) -> Forged:
    # > RFC 5280 §4.1: Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue BIT STRING }
    signature = _element(0x03, b"\x00" + signed)
    forged = Forged(issued.certificate, issued.key, issued.issuer)
    object.__setattr__(forged, "_der", _element(0x30, tbs + algorithm + signature))
    return forged


def _spki(issued: Issued) -> bytes:
    return issued.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _content(element: bytes) -> bytes:
    """Take the tag and the length off a DER element."""
    first = element[1]
    return element[2:] if first < 0x80 else element[2 + (first & 0x7F) :]


def _element(tag: int, content: bytes) -> bytes:
    length = len(content)
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([length]) if length < 0x80 else bytes([0x80 | len(octets)]) + octets) + content
