"""Observations: which chain was the last good one of a host, and that what is kept stays small."""

from __future__ import annotations

from pinproxy.authority import Authority
from pinproxy.pins.chain import VerifiedChain
from pinproxy.policy.known_chain import remember_chain
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import judge_pins
from pinproxy.policy.verify import Verified
from pinproxy.report.observations import Observations
from tests.unit.pins.certificates import self_signed
from tests.unit.report.events import API, API_RULE, BACKUP_PIN, CHAIN, NOW, rule

OTHER_CHAIN = VerifiedChain((self_signed("api.example.com"), *CHAIN.certificates[1:]))
WIDE = rule("**.example.com", BACKUP_PIN, mode="report-only")


def meet(observations: Observations, met: HostRule, authority: Authority = API, chain: VerifiedChain = CHAIN) -> None:
    """Let a handshake show a chain."""
    observations.meet_chain(authority, met, Verified(chain, judge_pins(chain, met, authority, NOW)))


def test_a_chain_that_met_a_pin_is_the_last_good_one_of_its_host_and_rule() -> None:
    """And of no other."""
    observations = Observations()
    meet(observations, API_RULE)
    assert observations.last_good(API, API_RULE) == remember_chain(CHAIN)
    assert observations.last_good(Authority("api.example.com", 8443), API_RULE) is None
    assert observations.last_good(API, WIDE) is None


def test_a_chain_that_met_none_is_not_good_in_report_only_either() -> None:
    """Passing is no vouching."""
    observations = Observations()
    meet(observations, WIDE)
    assert observations.last_good(API, WIDE) is None


def test_an_unpinned_chain_is_good_until_a_pin_was_met_and_never_again() -> None:
    """What nobody vouched for must not displace what a pin did."""
    observations, unpinned = Observations(), rule("api.example.com")
    meet(observations, unpinned, chain=OTHER_CHAIN)
    assert observations.last_good(API, unpinned) == remember_chain(OTHER_CHAIN)
    meet(observations, API_RULE)
    meet(observations, unpinned, chain=OTHER_CHAIN)
    assert observations.last_good(API, unpinned) == remember_chain(CHAIN)


def test_the_authority_met_longest_ago_is_forgotten_first() -> None:
    """A wildcard rule and a thousand hosts behind it take a bounded room."""
    observations, unpinned = Observations(authorities_kept=2), rule("**.example.com")
    first, second, third = (Authority(f"{name}.example.com", 443) for name in ("a", "b", "c"))
    for authority in (first, second, first, third):
        meet(observations, unpinned, authority)
    kept = [observations.last_good(authority, unpinned) is not None for authority in (first, second, third)]
    assert kept == [True, False, True]
