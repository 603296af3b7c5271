"""A set of pins, the unit a host is pinned to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pinproxy.pins.chain import Certificate, Position, VerifiedChain
from pinproxy.pins.pin import Pin

OnExpiry = Literal["enforce", "report-only", "disabled"]


@dataclass(frozen=True, slots=True)
class Match:
    """The first pin met: which, by which certificate, where."""

    pin: Pin
    certificate: Certificate
    position: Position


@dataclass(frozen=True, slots=True)
class PinSet:
    """The pins of a host policy.

    Attributes:
        name: Name in the configuration; for pins written at the host itself, the host's pattern.
        pins: One or more; a chain that meets any of them matches.
        forbidden: SPKI pins that deny wherever they appear in the verified chain.
        expires: Last instant at which the set counts as maintained; None: no end.
        on_expiry: What a mismatch means afterwards. `enforce` keeps denying.
    """

    name: str
    pins: tuple[Pin, ...]
    forbidden: tuple[Pin, ...] = ()
    expires: datetime | None = None
    on_expiry: OnExpiry = "enforce"

    def __post_init__(self) -> None:
        """Refuse the empty set by construction: an API gateway once read an empty list as "allow all"."""
        if not self.pins:
            raise ValueError(f"pin set {self.name!r} is empty")

    def is_expired(self, now: datetime) -> bool:
        """Tell whether `now` is past `expires`."""
        return self.expires is not None and now > self.expires

    def current(self, now: datetime) -> tuple[Pin, ...]:
        """List the pins that count at `now`, in the order of the configuration."""
        return tuple(pin for pin in self.pins if pin.is_current(now))

    def met_by(self, chain: VerifiedChain, now: datetime) -> tuple[Pin, ...]:
        """List every current pin that the verified chain meets, not only the first.

        A current pin that no chain meets is a backup pin (RFC 7469 §4.3); where there is none, a lost key is an outage.
        """
        positioned = chain.positioned()
        return tuple(pin for pin in self.current(now) if any(pin.is_met_by(item, position) for position, item in positioned))

    def match(self, chain: VerifiedChain, now: datetime) -> Match | None:
        """Find the first pin, leaf first, that a certificate of the verified chain meets (RFC 7469 §2.6)."""
        return _first(self.pins, chain, now)

    def match_forbidden(self, chain: VerifiedChain, now: datetime) -> Match | None:
        """Find the first forbidden pin that a certificate of the verified chain meets."""
        return _first(self.forbidden, chain, now)


def _first(pins: tuple[Pin, ...], chain: VerifiedChain, now: datetime) -> Match | None:
    # > RFC 7469 §2.6: If there is an intersection between the set of SPKI fingerprints in the chain and the set of pins,
    # > then Pin Validation succeeds.
    for position, item in chain.positioned():
        for pin in pins:
            if pin.is_current(now) and pin.is_met_by(item, position):
                return Match(pin, item, position)
    return None
