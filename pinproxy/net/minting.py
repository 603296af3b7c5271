"""Certificates that interception makes: the local root and the leaves under it (RFC 5280 §4).

Rules of this file:
- Each certificate passes `openssl verify -x509_strict`, which Python 3.13 asks for by default: key identifiers, critical
  basicConstraints and keyUsage are there.
- A root may sign leaves and nothing else (pathlen 0); a leaf is for one host and for TLS servers only.
- "Now" is an argument; the only thing taken from outside is randomness, for keys and serial numbers.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pinproxy.authority import is_ip_address

CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# Clients' clocks run behind by minutes, in containers and virtual machines by more.
_BACKDATED = timedelta(hours=1)
# Long enough that a context lives for days, short enough that a leaf copied out of a memory dump soon is worthless.
LEAF_LIFETIME = timedelta(days=7)
# > RFC 5280 Appendix A: ub-common-name-length INTEGER ::= 64
_COMMON_NAME_LENGTH = 64
# > RFC 6761 §6.4: the domain "invalid." … names do not exist.
_NO_NAME = x509.DNSName("invalid")
_EVERY_ADDRESS = (
    x509.IPAddress(ipaddress.IPv4Network("0.0.0.0/0")),
    x509.IPAddress(ipaddress.IPv6Network("::/0")),
)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a key on P-256, the fastest curve that every TLS client knows."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: CaKey) -> bytes:
    """Write a private key as PKCS #8, unencrypted: whoever could read it could read the password beside it too."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_root(
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    lifetime: timedelta,
    permitted_hosts: tuple[str, ...] | None = None,
) -> x509.Certificate:
    """Make a self-signed root.

    Args:
        key: Its key.
        now: The time, with a zone.
        lifetime: From now to its end.
        permitted_hosts: Host names (with everything below them) and IP addresses that leaves may have, as name constraints
            (RFC 5280 §4.2.1.10); None: any. With none at all, the root can name nothing.
    """
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # The key is in the name, so that two roots of two sidecars never look alike in a trust store.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"pinproxy local CA {identifier.digest[:4].hex()}")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_ca=True), critical=True)
        .add_extension(identifier, critical=False)
    )
    if permitted_hosts is not None:
        builder = builder.add_extension(_name_constraints(permitted_hosts), critical=True)
    return builder.sign(key, hashes.SHA256())


def new_leaf(
    host: str,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate,
    issuer_key: CaKey,
    now: datetime,
) -> x509.Certificate:
    """Make a leaf for one host, valid for `LEAF_LIFETIME` but never outside its issuer's validity.

    Args:
        host: A name or address in the form of `Authority.host`.
        public_key: The leaf's key.
        issuer: The root.
        issuer_key: The root's key.
        now: The time, with a zone.
    """
    is_address = is_ip_address(host)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    alternative: x509.GeneralName
    alternative = x509.IPAddress(ipaddress.ip_address(host)) if is_address else x509.DNSName(host)
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "pinproxy")]
    # For people who read it; clients read the alternative name. OpenSSL would hold an address here against name constraints.
    if not is_address and len(host) <= _COMMON_NAME_LENGTH:
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, host))
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - _BACKDATED, issuer.not_valid_before_utc))
        .not_valid_after(min(now + LEAF_LIFETIME, issuer.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    """CertSign and cRLSign for a root, digitalSignature for a leaf."""
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _name_constraints(hosts: tuple[str, ...]) -> x509.NameConstraints:
    """Permit these hosts and no other name or address."""
    addresses = [x509.IPAddress(ipaddress.ip_network(host)) for host in hosts if is_ip_address(host)]
    names = [x509.DNSName(host) for host in hosts if not is_ip_address(host)]
    # > RFC 5280 §4.2.1.10: restrictions apply only when the specified name form is present. So each form must be named.
    return x509.NameConstraints(
        permitted_subtrees=[*(names or [_NO_NAME]), *addresses],
        excluded_subtrees=None if addresses else _EVERY_ADDRESS,
    )
