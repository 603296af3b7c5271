"""Guesses of what a client will offer by ALPN."""

from __future__ import annotations

import pytest

from pinproxy.authority import Authority
from pinproxy.proxy.alpn_offers import USUAL_OFFER, AlpnOffers

HERE, THERE, NEW = Authority("here.example", 443), Authority("there.example", 443), Authority("new.example", 443)


def test_the_guess_is_what_was_offered_there_last_else_anywhere_else_the_usual() -> None:
    """In that order."""
    offers = AlpnOffers()
    assert offers.guess(HERE) == USUAL_OFFER
    offers.learn(HERE, ("http/1.1",))
    offers.learn(THERE, ())
    assert [offers.guess(at) for at in (HERE, THERE, NEW)] == [("http/1.1",), (), ()]


def test_a_guess_that_failed_is_made_no_more() -> None:
    """Neither there, nor where nothing is known; what other servers took is still right for them."""
    offers = AlpnOffers()
    offers.learn(HERE, ("http/1.1",))
    offers.learn(THERE, ("acme/1",))
    offers.forget(THERE)
    assert [offers.guess(at) for at in (HERE, THERE, NEW)] == [("http/1.1",), USUAL_OFFER, USUAL_OFFER]


@pytest.mark.attack(
    "a client whose ALPN offer is so long that other clients' hosts do not answer a ClientHello with it",
    expect="neutralise",
    topic="faults",
)
def test_a_long_offer_is_a_guess_for_its_own_host_alone() -> None:
    """Its server took it; others need not. The twin is as long as an offer may be that is."""
    offers = AlpnOffers()
    offers.learn(HERE, ("h2", "x" * 62))
    offers.learn(THERE, ("h2", "x" * 63))
    assert [offers.guess(at) for at in (HERE, THERE, NEW)] == [("h2", "x" * 62), ("h2", "x" * 63), ("h2", "x" * 62)]


@pytest.mark.attack(
    "hosts, ports and ALPN offers without end, to fill what is remembered of each of them", expect="bound", topic="resources"
)
def test_hosts_without_number_cost_bounded_memory() -> None:
    """A wildcard rule lets clients choose the hosts."""
    offers = AlpnOffers()
    for number in range(5000):
        offers.learn(Authority(f"h{number}.example", 443), ())
    assert len(offers._by_authority) <= 4096
