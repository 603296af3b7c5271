"""Chains as the pin layer sees them: never empty, leaf first, anchor last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pinproxy.pins.chain import SentChain, VerifiedChain, certificate
from tests.unit.pins.certificates import self_signed

LEAF, ISSUER, ROOT = self_signed("leaf"), self_signed("issuer"), self_signed("root")


def test_an_empty_verified_chain_cannot_be_made() -> None:
    """Nothing to compare is not a match: a resumed session gives an empty chain."""
    with pytest.raises(ValueError, match="at least the leaf"):
        VerifiedChain(())
    assert SentChain(()).size_bytes == 0


def test_everything_above_the_leaf_is_a_ca() -> None:
    """Leaf first, anchor last."""
    chain = VerifiedChain((LEAF, ISSUER, ROOT))
    assert chain.positioned() == (("leaf", LEAF), ("ca", ISSUER), ("ca", ROOT))
    assert (chain.leaf, chain.anchor) == (LEAF, ROOT)


def test_a_leaf_that_is_its_own_anchor_is_a_leaf() -> None:
    """A self-signed server certificate meets leaf pins only."""
    assert VerifiedChain((LEAF,)).positioned() == (("leaf", LEAF),)


def test_a_sent_chain_counts_the_bytes_it_would_cost() -> None:
    """The limit on chains is one of bytes."""
    assert SentChain((LEAF, ISSUER)).size_bytes == len(LEAF.der) + len(ISSUER.der)


def test_validity_includes_its_first_and_its_last_second() -> None:
    """RFC 5280 §4.1.2.5: from notBefore through notAfter, inclusive."""
    second = timedelta(seconds=1)
    start, end = LEAF.not_before, LEAF.not_after
    assert [LEAF.is_within_validity(now) for now in (start - second, start, end, end + second)] == [
        False,
        True,
        True,
        False,
    ]
    assert (start, end) == (datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 12, 31, tzinfo=UTC))


def test_equal_bytes_are_one_certificate() -> None:
    """A chain seen again is not parsed and hashed again."""
    assert certificate(LEAF.der) is certificate(bytes(bytearray(LEAF.der)))
    assert certificate(LEAF.der) == LEAF
    assert certificate(LEAF.der) != ISSUER


def test_a_certificate_is_named_by_its_common_name() -> None:
    """For people only."""
    assert LEAF.common_name == "leaf"
