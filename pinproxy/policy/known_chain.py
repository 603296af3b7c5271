"""A chain that was verified once, as far as it is worth remembering: its keys, names and dates, and no certificate. Pure values.

Keys are kept in the spelling of pins, so that what is remembered can be shown, compared and pasted without another step.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pinproxy.pins.chain import Certificate, VerifiedChain
from pinproxy.pins.pin import spki_pin


@dataclass(frozen=True, slots=True)
class KnownCertificate:
    """One certificate of a chain.

    Attributes:
        spki: Its key as a pin, `sha256/<base64>`.
        fingerprint: SHA-256 of the whole certificate, hex.
        subject: Distinguished name (RFC 4514).
        issuer: Distinguished name (RFC 4514).
        not_before: Start of its validity, UTC.
        not_after: End of its validity, UTC.
    """

    spki: str
    fingerprint: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class KnownChain:
    """A verified chain, leaf first, trust anchor last and included. Never empty."""

    certificates: tuple[KnownCertificate, ...]

    def __post_init__(self) -> None:
        """Refuse the empty chain by construction, as `VerifiedChain` does."""
        if not self.certificates:
            raise ValueError("a known chain holds at least the leaf")

    @property
    def leaf(self) -> KnownCertificate:
        """The end-entity certificate."""
        return self.certificates[0]

    @property
    def issuer(self) -> KnownCertificate:
        """The certificate whose key signed the leaf; the leaf itself where it is its own anchor."""
        return self.certificates[min(1, len(self.certificates) - 1)]

    @property
    def anchor(self) -> KnownCertificate:
        """The trust anchor."""
        return self.certificates[-1]


def remember_chain(chain: VerifiedChain) -> KnownChain:
    """Take down what is worth remembering of a verified chain."""
    return KnownChain(tuple(map(_remember, chain.certificates)))


def _remember(item: Certificate) -> KnownCertificate:
    return KnownCertificate(
        spki=str(spki_pin(item)),
        fingerprint=item.digest("cert", "sha256").hex(),
        subject=item.subject,
        issuer=item.issuer,
        not_before=item.not_before,
        not_after=item.not_after,
    )
