"""Observations: the last good chain of a host, the paths it showed, its days; and that what is kept stays small."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import count

import pytest

from pinproxy.authority import Authority
from pinproxy.pins.chain import VerifiedChain, certificate
from pinproxy.policy.known_chain import remember_chain
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import judge_pins
from pinproxy.policy.verify import Verified
from pinproxy.report.event import ConnectionEvent
from pinproxy.report.observation import DAYS_KEPT, PATHS_KEPT, Counts, HostObservation, digest_of_pins
from pinproxy.report.observations import Observations
from tests.harness.pki import make_leaf, make_root
from tests.unit.pins.certificates import self_signed
from tests.unit.report.events import API, API_RULE, BACKUP_PIN, CHAIN, ISSUER_PIN, LEAF_PIN, NOW, event, rule

OTHER_CHAIN = VerifiedChain((self_signed("another leaf"), *CHAIN.certificates[1:]))
WATCHED = rule("api.example.com", BACKUP_PIN, mode="report-only")
ENFORCED = rule("api.example.com", BACKUP_PIN)
UNPINNED = rule("api.example.com")
DAY = timedelta(days=1)


def meet(
    observations: Observations,
    met: HostRule,
    authority: Authority = API,
    chain: VerifiedChain = CHAIN,
    at: datetime = NOW,
) -> None:
    """Let a handshake show a chain."""
    observations.meet_chain(authority, met, Verified(chain, judge_pins(chain, met, authority, NOW)), at)


def ended(met: HostRule = API_RULE, at: datetime = NOW, chain: VerifiedChain = CHAIN) -> ConnectionEvent:
    """Tell of a connection that has ended."""
    judgement = judge_pins(chain, met, API, NOW)
    return event(met, at=at, chain=chain, judgement=judgement, decision=judgement.decision)


def observed(*events: ConnectionEvent) -> HostObservation:
    """Record events of one host."""
    observations = Observations(NOW)
    for told in events:
        observations.record(told)
    (host,) = observations.hosts
    return host


# --- the last good chain -------------------------------------------------------------------------------------------------


def test_a_chain_that_met_a_pin_is_the_last_good_one_of_its_authority() -> None:
    """And of no other."""
    observations = Observations(NOW)
    meet(observations, API_RULE)
    assert observations.last_good(API) == remember_chain(CHAIN)
    assert observations.last_good(Authority("api.example.com", 8443)) is None


def test_a_chain_that_met_none_is_not_good_in_report_only_either() -> None:
    """Passing is no vouching."""
    observations = Observations(NOW)
    meet(observations, WATCHED)
    observations.record(ended(WATCHED))
    assert observations.last_good(API) is None


def test_an_unpinned_chain_is_good_until_a_pin_was_met_and_never_again() -> None:
    """What nobody vouched for must not displace what a pin did."""
    observations = Observations(NOW)
    meet(observations, UNPINNED, chain=OTHER_CHAIN)
    assert observations.last_good(API) == remember_chain(OTHER_CHAIN)
    meet(observations, API_RULE)
    meet(observations, UNPINNED, chain=OTHER_CHAIN)
    assert observations.last_good(API) == remember_chain(CHAIN)


def test_a_good_chain_that_comes_again_is_no_change() -> None:
    """What is written to disk is what has changed."""
    observations = Observations(NOW)
    meet(observations, API_RULE)
    before = observations.changes
    meet(observations, API_RULE)
    assert observations.changes == before


# --- counts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("met", "expected"),
    [
        (API_RULE, Counts(matched=1)),
        (WATCHED, Counts(would_deny=1)),
        (ENFORCED, Counts(denied=1)),
        (UNPINNED, Counts(unpinned=1)),
    ],
)
def test_a_connection_is_counted_on_its_day_and_on_its_path(met: HostRule, expected: Counts) -> None:
    """By what the pins made of it."""
    host = observed(ended(met))
    assert host.days == {NOW.date(): expected}
    assert [(path.keys, path.counts) for path in host.paths] == [((str(LEAF_PIN), str(ISSUER_PIN)), expected)]
    assert (host.authority, host.rule, host.mode) == ("api.example.com:443", "api.example.com", met.mode)


def test_days_are_those_of_utc_and_a_path_knows_on_how_many_it_was_seen() -> None:
    """Three connections on two days."""
    host = observed(ended(), ended(at=NOW + timedelta(hours=1)), ended(at=NOW + DAY))
    assert host.days == {date(2027, 6, 1): Counts(matched=2), date(2027, 6, 2): Counts(matched=1)}
    (path,) = host.paths
    assert (path.days, path.counts.total, path.first_at, path.last_at) == (2, 3, NOW, NOW + DAY)


def test_a_path_that_was_renewed_shows_its_newest_certificates() -> None:
    """The dates that are proposed with a pin are those of today."""
    root = make_root()
    first = make_leaf(root, "api.example.com")
    renewed = make_leaf(root, "api.example.com", key=first.key, not_after=first.certificate.not_valid_after_utc + DAY)
    chains = [VerifiedChain((certificate(leaf.der), certificate(root.der))) for leaf in (first, renewed)]
    (path,) = observed(*(ended(chain=chain) for chain in chains)).paths
    assert (path.counts.total, path.chain.leaf.not_after) == (2, renewed.certificate.not_valid_after_utc)


def test_two_servers_behind_one_name_are_two_paths_however_they_take_turns() -> None:
    """And a third chain with the keys of the first is the first."""
    again = VerifiedChain(CHAIN.certificates)
    host = observed(*(ended(chain=chain) for chain in (CHAIN, OTHER_CHAIN, CHAIN, again, OTHER_CHAIN)))
    assert [path.counts.total for path in host.paths] == [3, 2]


@pytest.mark.parametrize(
    "told", [event(authority=None), event(rule=None), event(judgement=None), event(chain=None)], ids=lambda told: told.id
)
def test_what_showed_no_chain_to_a_rule_is_not_observed(told: ConnectionEvent) -> None:
    """A client that asks for a thousand names that do not exist leaves nothing here."""
    observations = Observations(NOW)
    observations.record(told)
    assert (observations.hosts, observations.changes) == ((), 0)


def test_the_rule_in_force_and_since_when_its_pins_are_is_known() -> None:
    """What stands behind a promotion must have been counted under these very pins."""
    observations, later = Observations(NOW), NOW + DAY
    meet(observations, WATCHED)
    meet(observations, API_RULE, at=later)
    meet(observations, replace(API_RULE, mode="report-only"), at=later + DAY)
    (host,) = observations.hosts
    assert (host.first_at, host.pins_since) == (NOW, later)
    assert (host.mode, host.pins) == ("report-only", digest_of_pins(API_RULE.pin_set))


def test_a_connection_that_began_under_other_pins_says_nothing_about_these() -> None:
    """A tunnel that outlives a reload ends as what it began as; one under an equal rule of an older table counts."""
    observations = Observations(NOW)
    meet(observations, WATCHED)
    meet(observations, API_RULE, at=NOW + DAY)
    observations.record(ended(WATCHED, at=NOW + DAY))
    (host,) = observations.hosts
    assert (host.days, host.paths, host.pins_since) == ({}, [], NOW + DAY)
    observations.record(ended(replace(API_RULE), at=NOW + DAY))
    assert [counts.matched for counts in host.days.values()] == [1]


def test_pins_are_the_same_whatever_their_order_and_notes_and_not_at_another_position() -> None:
    """Only what decides a verdict counts."""
    first = rule("a.example", LEAF_PIN, BACKUP_PIN).pin_set
    reordered = rule("a.example", replace(BACKUP_PIN, note="moved"), LEAF_PIN).pin_set
    moved = rule("a.example", replace(LEAF_PIN, position="ca"), BACKUP_PIN).pin_set
    assert digest_of_pins(first) == digest_of_pins(reordered) != digest_of_pins(moved)
    assert first is not None
    assert digest_of_pins(first) != digest_of_pins(replace(first, forbidden=(ISSUER_PIN,)))
    assert digest_of_pins(None) == ""


# --- bounds --------------------------------------------------------------------------------------------------------------


def test_days_beyond_the_last_ninety_are_forgotten_oldest_first() -> None:
    """A year is not remembered a day at a time."""
    host = observed(*(ended(at=NOW + number * DAY) for number in range(DAYS_KEPT + 5)))
    assert (len(host.days), min(host.days)) == (DAYS_KEPT, NOW.date() + 5 * DAY)


@pytest.mark.attack("chains without end, to push the true ones out of what is observed", expect="bound", topic="resources")
def test_somebody_who_is_denied_does_not_push_out_the_paths_that_were_let_pass() -> None:
    """A flood of impostors takes the room of other impostors, and what is forgotten is not counted on."""
    chains = [VerifiedChain((self_signed(f"impostor {number}"), *CHAIN.certificates[1:])) for number in range(PATHS_KEPT + 2)]
    minutes = (NOW + timedelta(minutes=number) for number in count(1))
    host = observed(
        ended(WATCHED),
        *(ended(ENFORCED, at=next(minutes), chain=chain) for chain in (*chains, chains[0])),
        ended(WATCHED, at=next(minutes)),
    )
    assert all(path.counts.total for path in host.paths)
    assert len(host.paths) == PATHS_KEPT
    kept = {path.keys[0]: path.counts.total for path in host.paths}
    assert kept[str(LEAF_PIN)] == 2
    assert set(kept.values()) == {1, 2}


@pytest.mark.attack("host names without end, to fill what is observed", expect="bound", topic="resources")
def test_the_authority_met_longest_ago_is_forgotten_first() -> None:
    """A wildcard rule and a thousand hosts behind it take a bounded room."""
    observations, wide = Observations(NOW, authorities_kept=2), rule("**.example.com")
    first, second, third = (Authority(f"{name}.example.com", 443) for name in ("a", "b", "c"))
    for authority in (first, second, first, third):
        meet(observations, wide, authority)
    assert [observations.last_good(authority) is not None for authority in (first, second, third)] == [True, False, True]
