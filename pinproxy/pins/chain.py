"""Certificates as the pin layer sees them, and the two kinds of chain that must never be confused.

A `SentChain` is what the peer claims; a `VerifiedChain` is what path validation built. Pins only ever meet the second:
an attacker may append any certificate to what he sends (CVE-2016-2402). They are two types so that a type checker keeps
them apart.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from pinproxy.errors import CertificateSyntaxError
from pinproxy.pins.spki import spki_of_certificate

Position = Literal["leaf", "ca"]

_UNREADABLE = "(unreadable)"  # names are parsed late, and some hold bytes that are no text


@dataclass(frozen=True)
class Certificate:
    """One certificate, identified by its DER bytes; everything else is derived from them, by one parser.

    Attributes:
        der: The certificate as it was verified.
    """

    der: bytes = field(repr=False)

    @cached_property
    def x509(self) -> x509.Certificate:
        """The parsed certificate.

        Raises:
            CertificateSyntaxError: It cannot be parsed, by this parser at least.
        """
        with warnings.catch_warnings():
            # Serial numbers below 1, which RFC 5280 §4.1.2.2 forbids: `chain_profile: strict` refuses them without our help.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            try:
                return x509.load_der_x509_certificate(self.der)
            except (ValueError, x509.InvalidVersion) as error:
                raise CertificateSyntaxError(f"a certificate of {len(self.der)} bytes cannot be parsed") from error

    @cached_property
    def is_readable(self) -> bool:
        """Whether everything that verdicts and texts are made of can be parsed."""
        try:
            _ = self.not_before, self.not_after, self.spki_der
        except ValueError:
            return False
        return True

    @cached_property
    def spki_der(self) -> bytes:
        """DER of the SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), the bytes an SPKI pin hashes (RFC 7469 §2.4)."""
        return spki_of_certificate(self.x509.tbs_certificate_bytes)

    @cached_property
    def digests(self) -> dict[tuple[str, str], bytes]:
        """Digests computed so far, by (`spki` | `cert`, hash name)."""
        return {}

    def digest(self, subject: str, algorithm: str) -> bytes:
        """Hash the SPKI (`subject="spki"`) or the whole certificate (`"cert"`) with the named hash."""
        found = self.digests.get((subject, algorithm))
        if found is None:
            found = hashlib.new(algorithm, self.spki_der if subject == "spki" else self.der).digest()
            self.digests[subject, algorithm] = found
        return found

    @cached_property
    def common_name(self) -> str:
        """The subject's last common name, for people only: names are checked against subjectAltName."""
        try:
            names = self.x509.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            return str(names[-1].value) if names else self.x509.subject.rfc4514_string()
        except ValueError:
            return _UNREADABLE

    @cached_property
    def subject(self) -> str:
        """The subject's distinguished name (RFC 4514)."""
        try:
            return self.x509.subject.rfc4514_string()
        except ValueError:
            return _UNREADABLE

    @cached_property
    def issuer(self) -> str:
        """The issuer's distinguished name (RFC 4514)."""
        try:
            return self.x509.issuer.rfc4514_string()
        except ValueError:
            return _UNREADABLE

    @property
    def key_name(self) -> str:
        """Kind and size of the public key, for people: `RSA 2048`, `ECDSA secp256r1`."""
        try:
            key = self.x509.public_key()
        except (ValueError, UnsupportedAlgorithm):
            return "unknown"
        if isinstance(key, rsa.RSAPublicKey):
            return f"RSA {key.key_size}"
        if isinstance(key, ec.EllipticCurvePublicKey):
            return f"ECDSA {key.curve.name}"
        return type(key).__name__.strip("_").removesuffix("PublicKey")

    @cached_property
    def not_before(self) -> datetime:
        """Start of validity, UTC."""
        return self.x509.not_valid_before_utc

    @cached_property
    def not_after(self) -> datetime:
        """End of validity, UTC; the last second is still valid (RFC 5280 §4.1.2.5)."""
        return self.x509.not_valid_after_utc

    def is_within_validity(self, now: datetime) -> bool:
        """Tell whether `now` is inside the validity period, both ends included."""
        # > RFC 5280 §4.1.2.5: The validity period … is the period of time from notBefore through notAfter, inclusive.
        return self.not_before <= now.astimezone(UTC) <= self.not_after


@lru_cache(maxsize=1024)
def certificate(der: bytes) -> Certificate:
    """Return the certificate for these DER bytes, shared, so that a chain seen again is not parsed and hashed again."""
    return Certificate(der)


@dataclass(frozen=True, slots=True)
class SentChain:
    """Certificates in the order a peer sent them, leaf first by its claim. No pin may ever meet these."""

    certificates: tuple[Certificate, ...]

    @property
    def size_bytes(self) -> int:
        """DER bytes of all certificates."""
        return sum(len(item.der) for item in self.certificates)


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """A chain that path validation built: leaf first, trust anchor last and included. Never empty.

    `policy.path` makes these, `net.handshake` of what the platform's library validated, and (with the leaf alone, and only for
    `trust: pins-only`) `policy.pins_only`.
    """

    certificates: tuple[Certificate, ...]

    def __post_init__(self) -> None:
        """Refuse the empty chain by construction: nothing to compare is not a match."""
        if not self.certificates:
            raise ValueError("a verified chain holds at least the leaf")

    @property
    def leaf(self) -> Certificate:
        """The end-entity certificate."""
        return self.certificates[0]

    @property
    def anchor(self) -> Certificate:
        """The trust anchor."""
        return self.certificates[-1]

    def positioned(self) -> tuple[tuple[Position, Certificate], ...]:
        """Pair every certificate with its position, leaf first; a self-signed leaf that is its own anchor is a leaf."""
        return tuple(("ca" if index else "leaf", item) for index, item in enumerate(self.certificates))
