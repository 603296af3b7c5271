"""The book: what it remembers of a rule, what a reload leaves of that, and that it stays small."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pinproxy.errors import Problem
from pinproxy.pins.pin import Pin
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable
from pinproxy.policy.verdict import Decision, Verdict
from pinproxy.report.status_book import RuleRecord, StatusBook
from tests.unit.report.events import API_RULE, BACKUP_PIN, ISSUER_PIN, LEAF, LEAF_PIN, NOW, event, refused, rule


def book_of(*rules: HostRule) -> StatusBook:
    """Open a book on these rules."""
    book = StatusBook()
    book.adopt(PolicyTable(rules), NOW)
    return book


def only(book: StatusBook) -> RuleRecord:
    """Take the one record of a book on one rule."""
    (record,) = book.records
    return record


def test_a_rule_remembers_its_last_verdict_decision_and_certificate() -> None:
    """What the status page shows of a host."""
    book = book_of(API_RULE)
    book.record(event())
    record = only(book)
    assert (record.verdict, record.verdict_at, record.decision, record.decided_at) == (Verdict.MATCHED, NOW, Decision.ALLOW, NOW)
    assert (record.certificate_expires, record.last_matches, record.tally.allowed) == (LEAF.not_after, {LEAF_PIN: NOW}, 1)


def test_a_connection_without_verdict_keeps_the_last_one() -> None:
    """A failed dial says nothing about pins."""
    book = book_of(API_RULE)
    book.record(event())
    later = NOW + timedelta(minutes=1)
    book.record(event(at=later, judgement=None, chain=None, decision=Decision.DENY, code="dial_timeout", handshake_seconds=None))
    record = only(book)
    assert (record.verdict, record.verdict_at) == (Verdict.MATCHED, NOW)
    assert (record.decision, record.decided_at, record.code) == (Decision.DENY, later, "dial_timeout")


def test_the_certificate_of_a_denied_handshake_is_not_the_hosts() -> None:
    """An impostor's dates would silence the alarm about the real certificate's end."""
    book = book_of(rule("api.example.com", BACKUP_PIN))
    book.record(event(only(book).rule))
    assert only(book).certificate_expires is None


@pytest.mark.parametrize(
    ("pins", "is_missing"),
    [
        ((LEAF_PIN, BACKUP_PIN), False),
        ((LEAF_PIN,), True),
        ((LEAF_PIN, ISSUER_PIN), True),
        ((LEAF_PIN, ISSUER_PIN, BACKUP_PIN), False),
        ((LEAF_PIN, replace(BACKUP_PIN, not_after=NOW - timedelta(days=1))), True),
        ((LEAF_PIN, replace(BACKUP_PIN, not_after=NOW + timedelta(days=1))), False),
        ((LEAF_PIN, replace(ISSUER_PIN, position="leaf")), False),
    ],
)
def test_a_set_whose_current_pins_are_all_served_has_no_backup(pins: tuple[Pin, ...], is_missing: bool) -> None:
    """RFC 7469 §4.3: a backup pin is one of a key that is not deployed."""
    book = book_of(rule("api.example.com", *pins))
    changed = book.record(event(only(book).rule))
    assert only(book).is_backup_missing is is_missing
    assert (changed is only(book)) is is_missing


def test_only_a_change_of_the_backup_is_news() -> None:
    """Once for each rule and change, not for each handshake."""
    lone, backed = rule("api.example.com", LEAF_PIN), API_RULE
    book = book_of(lone)
    assert book.record(event(lone)) is only(book)
    assert book.record(event(lone)) is None
    book.adopt(PolicyTable((backed,)), NOW)
    assert book.record(event(backed)) is None
    book.adopt(PolicyTable((lone,)), NOW)
    assert book.record(event(lone)) is only(book)


def test_a_mismatch_says_nothing_about_the_backup() -> None:
    """A set that no pin of is served is not one with many backups."""
    book = book_of(rule("api.example.com", BACKUP_PIN, mode="report-only"))
    book.record(event(only(book).rule))
    assert only(book).is_backup_missing is None


def test_every_pin_the_chain_meets_has_a_last_match() -> None:
    """Verification stops at the first; an operator who reads "never" of the second would remove it."""
    book = book_of(rule("api.example.com", LEAF_PIN, ISSUER_PIN, BACKUP_PIN))
    book.record(event(only(book).rule))
    assert only(book).last_matches == {LEAF_PIN: NOW, ISSUER_PIN: NOW}


def test_a_pooled_connection_renews_the_match_of_its_pin() -> None:
    """Traffic that runs on one connection for a week is no week without a match."""
    book = book_of(API_RULE)
    book.record(event())
    later = NOW + timedelta(days=7)
    book.record(event(at=later, handshake_seconds=None))
    assert only(book).last_matches == {LEAF_PIN: later}


def test_a_reload_keeps_what_is_still_true() -> None:
    """History and the matches of pins that stay; not those of pins that go, nor the backup state of another set."""
    book = book_of(rule("api.example.com", LEAF_PIN, ISSUER_PIN))
    book.record(event(only(book).rule))
    book.adopt(PolicyTable((API_RULE, rule("new.example.com", LEAF_PIN))), NOW)
    record, new = book.records
    assert (record.rule, record.verdict, record.tally.allowed) == (API_RULE, Verdict.MATCHED, 1)
    assert (record.last_matches, record.is_backup_missing) == ({LEAF_PIN: NOW}, None)
    assert new.verdict is None


def test_an_event_of_an_older_rule_writes_no_facts_about_the_new_one() -> None:
    """A connection verified under pins that are gone is counted, and that is all."""
    book = book_of(rule("api.example.com", BACKUP_PIN))
    book.record(event(API_RULE))
    record = only(book)
    assert (record.tally.allowed, record.verdict, record.last_matches) == (1, None, {})


def test_an_equal_rule_of_a_later_table_is_the_same_rule() -> None:
    """Rules are compared by value: a reload that changes nothing interrupts nothing."""
    book = book_of(API_RULE)
    book.record(event(replace(API_RULE)))
    assert only(book).verdict is Verdict.MATCHED


def test_equal_refusals_are_one_with_a_count_and_the_last_text() -> None:
    """A client that tries again and again fills no page."""
    book = book_of(API_RULE)
    for number in range(5):
        book.record(refused("host_not_listed", detail=f"text {number}", at=NOW + timedelta(seconds=number)))
    (refusal,) = book.refusals
    assert (refusal.count, refusal.text, refusal.first_at, refusal.last_at) == (5, "text 4", NOW, NOW + timedelta(seconds=4))


def test_the_fifty_refusals_of_late_are_kept_newest_first() -> None:
    """Bounded, whatever is asked for."""
    book = book_of(API_RULE)
    for number in range(60):
        book.record(refused("host_not_listed", host=f"h{number}.example", at=NOW + timedelta(seconds=number)))
    authorities = [refusal.authority for refusal in book.refusals]
    assert authorities == [f"h{number}.example:443" for number in range(59, 9, -1)]


@pytest.mark.attack("refusals without end, to push the one that matters off the status page", expect="bound", topic="resources")
def test_unlisted_hosts_do_not_push_out_the_refusal_of_a_listed_one() -> None:
    """An impostor's tracks are not wiped by a scan."""
    enforced = rule("api.example.com", BACKUP_PIN)
    book = book_of(enforced)
    book.record(event(enforced))
    for number in range(60):
        book.record(refused("host_not_listed", host=f"h{number}.example", at=NOW + timedelta(seconds=1)))
    assert [refusal.code for refusal in book.refusals if refusal.rule] == ["pin_mismatch"]


def test_a_refusal_that_uses_a_peers_words_keeps_4096_of_them() -> None:
    """Fifty texts of any length would be memory of any size."""
    book = book_of(API_RULE)
    book.record(refused("bad_request", detail="x" * 100_000))
    assert len(book.refusals[0].text) == 4096


def test_what_report_only_let_pass_is_among_the_refusals() -> None:
    """Its text is what the operator needs before going to enforce."""
    report_only = rule("api.example.com", BACKUP_PIN, mode="report-only")
    book = book_of(report_only)
    book.record(event(report_only))
    (refusal,) = book.refusals
    assert (refusal.decision, only(book).tally.reported) == (Decision.ALLOW_AND_REPORT, 1)
    assert str(LEAF_PIN) in refusal.text


def test_a_rejected_configuration_is_remembered_until_a_good_one_comes() -> None:
    """And the rules in force stay those of the last good one."""
    book = book_of(API_RULE)
    problem = Problem("pinproxy.yaml", 3, 1, "hosts[0]", "no")
    book.reject((problem,), NOW)
    assert (book.failed_at, book.problems, only(book).rule) == (NOW, (problem,), API_RULE)
    book.adopt(PolicyTable((API_RULE,)), NOW)
    assert (book.failed_at, book.problems) == (None, ())
