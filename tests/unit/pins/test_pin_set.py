"""When a verified chain meets a set of pins."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pinproxy.pins.chain import VerifiedChain
from pinproxy.pins.pin import Pin, spki_pin
from pinproxy.pins.pin_set import Match, PinSet
from tests.unit.pins.certificates import self_signed

LEAF, ISSUER, STRANGER = self_signed("leaf"), self_signed("issuer"), self_signed("stranger")
CHAIN = VerifiedChain((LEAF, ISSUER))
NOW = datetime(2027, 5, 1, tzinfo=UTC)
BACKUP = spki_pin(STRANGER)


@pytest.mark.attack(
    "an empty list of pins that is taken for leave",
    expect="not start",
    topic="pins",
    motive="a gateway where an empty list allowed everybody",
)
def test_an_empty_pin_set_cannot_be_made() -> None:
    """An empty list must never come to mean "allow all"."""
    with pytest.raises(ValueError, match="'payments' is empty"):
        PinSet("payments", ())


def test_one_pin_met_anywhere_is_enough() -> None:
    """RFC 7469 §2.6: the intersection is not empty."""
    pin = spki_pin(ISSUER)
    assert PinSet("payments", (BACKUP, pin)).match(CHAIN, NOW) == Match(pin, ISSUER, "ca")


def test_a_chain_that_meets_no_pin_does_not_match() -> None:
    """The twin: the same chain, with the issuer's pin gone."""
    assert PinSet("payments", (BACKUP,)).match(CHAIN, NOW) is None


def test_the_match_nearest_the_leaf_is_the_one_reported() -> None:
    """Whatever the order of the pins."""
    pins = (spki_pin(ISSUER), spki_pin(LEAF))
    found = PinSet("payments", pins).match(CHAIN, NOW)
    assert found == Match(pins[1], LEAF, "leaf")


@pytest.mark.parametrize(
    "change", [{"not_after": NOW - timedelta(days=1)}, {"not_before": NOW + timedelta(days=1)}, {"position": "leaf"}]
)
def test_a_pin_outside_its_dates_or_position_is_not_met(change: dict[str, object]) -> None:
    """Each change alone turns a match into none."""
    pin = spki_pin(ISSUER)
    assert PinSet("payments", (pin,)).match(CHAIN, NOW) is not None
    narrowed: Pin = replace(pin, **change)  # type: ignore[arg-type]
    assert PinSet("payments", (narrowed,)).match(CHAIN, NOW) is None


def test_a_forbidden_pin_is_found_beside_a_match() -> None:
    """Matching and forbidden are two questions; the verdict asks both."""
    pin_set = PinSet("payments", (spki_pin(LEAF),), forbidden=(spki_pin(ISSUER),))
    assert pin_set.match(CHAIN, NOW) is not None
    assert pin_set.match_forbidden(CHAIN, NOW) == Match(spki_pin(ISSUER), ISSUER, "ca")
    assert replace(pin_set, forbidden=(BACKUP,)).match_forbidden(CHAIN, NOW) is None


def test_a_set_is_expired_after_its_last_instant_only() -> None:
    """A set without a date never is."""
    pin_set = PinSet("payments", (BACKUP,), expires=NOW)
    assert not pin_set.is_expired(NOW)
    assert pin_set.is_expired(NOW + timedelta(microseconds=1))
    assert not replace(pin_set, expires=None).is_expired(NOW)
