"""What bears out a promotion to enforce: the same pins, for long enough, with traffic and without a mismatch."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pinproxy.authority import Authority
from pinproxy.policy.pattern import parse_pattern
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import judge_pins
from pinproxy.policy.verify import Verified
from pinproxy.report.observation import Counts
from pinproxy.report.observations import Observations
from pinproxy.report.promotion import Evidence, weigh
from tests.unit.report.events import API, API_RULE, BACKUP_PIN, CHAIN, LEAF_PIN, NOW, event, rule

DAY = timedelta(days=1)
WATCHED = replace(API_RULE, mode="report-only")
LACKING = rule("api.example.com", BACKUP_PIN, mode="report-only")


def observe(observations: Observations, days_ago: int, times: int = 1, met: HostRule = WATCHED) -> None:
    """Let so many connections begin and end on a day."""
    judgement = judge_pins(CHAIN, met, API, NOW)
    observations.meet_chain(API, met, Verified(CHAIN, judgement), NOW - days_ago * DAY)
    for _ in range(times):
        observations.record(event(met, at=NOW - days_ago * DAY, judgement=judgement, decision=judgement.decision))


def weighed(observations: Observations, met: HostRule = WATCHED, days: int = 7, min_connections: int = 10) -> Evidence:
    """Weigh them today."""
    return weigh(observations.hosts, met, NOW, days, min_connections)


@pytest.fixture
def good() -> Observations:
    """Eight days of matches, one more than are asked for; ten within the window."""
    observations = Observations(NOW)
    for days_ago in range(8, -1, -1):
        observe(observations, days_ago, 1 if days_ago != 3 else 4)
    return observations


def test_a_week_of_matches_under_these_pins_bears_a_promotion_out(good: Observations) -> None:
    """The twin of every refusal below: ten connections within the window, and the one before it does not count."""
    evidence = weighed(good)
    assert (evidence.objections, evidence.counts.matched, evidence.since) == ((), 10, NOW - 8 * DAY)


def test_a_connection_that_would_have_been_denied_refuses_with_its_day_and_count(good: Observations) -> None:
    """The set lacks a key that is in use."""
    host = good.hosts[0]
    host.days[(NOW - 2 * DAY).date()].would_deny = 3
    assert weighed(good).objections == ("3 connections would have been denied in the last 7 days: 3 on 2027-05-30",)


def test_one_before_the_window_does_not(good: Observations) -> None:
    """Seven days are today and the six before it."""
    good.hosts[0].days[(NOW - 7 * DAY).date()].would_deny = 3
    assert weighed(good).objections == ()
    assert len(weighed(good, days=8).objections) == 1


def test_a_connection_that_was_denied_refuses_too(good: Observations) -> None:
    """A forbidden pin denies in report-only as well."""
    good.hosts[0].days[NOW.date()].denied = 1
    assert weighed(good).objections == ("1 connection met a forbidden pin or none in the last 7 days: 1 on 2027-06-01",)


@pytest.mark.parametrize("days_to_come", [1, 3])
def test_a_mismatch_on_a_day_to_come_refuses_as_well(good: Observations, days_to_come: int) -> None:
    """The proxy's clock was put back since, or is ahead of the one here; the twin has matches on that day."""
    day = (NOW + days_to_come * DAY).date()
    good.hosts[0].days[day] = Counts(matched=1)
    assert weighed(good).objections == ()
    good.hosts[0].days[day] = Counts(would_deny=1)
    assert weighed(good).objections == (f"1 connection would have been denied in the last 7 days: 1 on {day}",)


def test_connections_that_were_held_against_no_pins_refuse(good: Observations) -> None:
    """The same pins under `mode: disabled`, or expired into it: what they would have made of those, nobody knows."""
    unchecked = replace(WATCHED, mode="disabled")
    observe(good, 7, met=unchecked)
    assert weighed(good).objections == ()
    observe(good, 6, times=2, met=unchecked)
    assert weighed(good).objections == (
        "2 connections met no pin check (`mode: disabled`, or an expired set) in the last 7 days: 2 on 2027-05-26",
    )


def test_pins_that_are_younger_than_the_window_are_not_ripe(good: Observations) -> None:
    """Whoever changes them waits anew."""
    changed = rule("api.example.com", LEAF_PIN, mode="report-only")
    observe(good, 0, met=changed)
    (objection,) = weighed(good, changed).objections
    assert objection == "these pins are observed since 2027-06-01 12:00 UTC only; 7 days are over on 2027-06-08 12:00 UTC"


def test_pins_that_were_taken_back_meanwhile_wait_anew(good: Observations) -> None:
    """One port has seen the change and the way back, the other was quiet: the window begins with the last change."""
    other = Authority("api.example.com", 8443)
    for days_ago, met in ((8, WATCHED), (3, LACKING), (1, replace(WATCHED))):
        verified = Verified(CHAIN, judge_pins(CHAIN, met, other, NOW))
        good.meet_chain(other, met, verified, NOW - days_ago * DAY)
    (objection,) = weighed(good).objections
    assert objection.startswith("these pins are observed since 2027-05-31")


def test_a_new_host_behind_a_wildcard_is_no_change_of_pins() -> None:
    """The twin: a name that was first asked for today."""
    observations, wide = Observations(NOW), replace(WATCHED, pattern=parse_pattern("*.example.com"))
    for days_ago, host in ((8, API), (0, API), (0, Authority("new.example.com", 443))):
        judgement = judge_pins(CHAIN, wide, host, NOW)
        observations.record(
            event(wide, authority=host, at=NOW - days_ago * DAY, judgement=judgement, decision=judgement.decision)
        )
    assert weighed(observations, wide, min_connections=2).objections == ()


def test_pins_in_another_order_are_the_same_pins(good: Observations) -> None:
    """Nobody waits a week for a tidied file."""
    assert weighed(good, rule("api.example.com", BACKUP_PIN, LEAF_PIN, mode="report-only")).objections == ()


def test_pins_that_were_never_observed_refuse(good: Observations) -> None:
    """What was observed says nothing about what would be enforced."""
    (objection,) = weighed(good, LACKING).objections
    assert objection.startswith("no connection was seen under the pins of the configuration")


def test_too_little_traffic_refuses_with_what_there_was(good: Observations) -> None:
    """A host that nobody uses proves nothing."""
    (objection,) = weighed(good, min_connections=11).objections
    assert objection == (
        "10 connections matched in the last 7 days, expected 11 or more; the last one seen was on 2027-06-01 12:00 UTC"
    )


def test_a_host_that_was_never_seen_refuses() -> None:
    """Nor does one of another name count for it."""
    assert weighed(Observations(NOW)).objections == (
        "there are no observations of api.example.com: no connection to it was seen",
    )


def test_every_reason_is_told_at_once() -> None:
    """Whoever waits for one of them must not find the next a week later."""
    observations = Observations(NOW)
    observe(observations, 0, met=LACKING)
    assert len(weighed(observations, LACKING).objections) == 3
