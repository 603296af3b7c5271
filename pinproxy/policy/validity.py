"""Whether certificates are inside their validity, by our own clock."""

from __future__ import annotations

from datetime import datetime

from pinproxy.authority import Authority
from pinproxy.errors import CertificateExpired
from pinproxy.pins.chain import Certificate


def require_current(certificates: tuple[Certificate, ...], authority: Authority, now: datetime) -> None:
    """Refuse certificates one of which is outside its validity (RFC 5280 §4.1.2.5).

    Args:
        certificates: Leaf first.
        authority: Who showed them.
        now: The wall clock, UTC.

    Raises:
        CertificateExpired: The first of them that is.
    """
    for item in certificates:
        if not item.is_within_validity(now):
            raise CertificateExpired(
                f"{authority}: the certificate is valid from {item.not_before:%Y-%m-%d %H:%M:%S} "
                f"to {item.not_after:%Y-%m-%d %H:%M:%S} UTC; now is {now:%Y-%m-%d %H:%M:%S}"
            )
