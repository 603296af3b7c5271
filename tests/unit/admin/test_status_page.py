"""The status page: what it says about each host, and that other people's text stays text."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from pinproxy.admin.status_page import render_status_page
from pinproxy.admin.view import AdminView, Condition
from pinproxy.authority import Authority
from pinproxy.errors import Problem
from pinproxy.policy.pattern import parse_pattern
from pinproxy.policy.rule import HostRule, PinsOnly
from pinproxy.policy.table import PolicyTable
from pinproxy.policy.verdict import Decision
from pinproxy.report.metrics import Metrics
from pinproxy.report.observations import Observations
from pinproxy.report.status_book import StatusBook
from tests.unit.report.events import API_RULE, BACKUP_PIN, ISSUER_PIN, LEAF_PIN, NOW, event, refused, rule


class Page(HTMLParser):
    """The page of a proxy with these rules, parsed as a browser would."""

    def __init__(self, *rules: HostRule, condition: Condition | None = None) -> None:
        super().__init__()
        self.book = StatusBook()
        if rules:
            self.book.adopt(PolicyTable(rules), NOW)
        shown = condition or Condition(listeners_bound=True, is_draining=False)
        self._view = AdminView(lambda: shown, Metrics(), self.book, lambda: None, Observations(NOW))
        self.elements: list[str] = []
        self.cards: list[str] = []
        self.text = ""

    def show(self, after: timedelta = timedelta(minutes=2)) -> Page:
        """Render and parse."""
        self.feed(render_status_page(self._view, NOW + after))
        self.close()
        return self

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element, and the tone of a card."""
        self.elements.append(tag)
        if tag == "article":
            self.cards.append(dict(attrs)["class"] or "")

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data + "\n"

    @property
    def words(self) -> str:
        """All text, on one line."""
        return re.sub(r"\s+", " ", self.text)


def test_a_matched_host_shows_verdict_time_certificate_and_pins() -> None:
    """Everything an operator asks first."""
    page = Page(rule("api.example.com", LEAF_PIN, BACKUP_PIN, expires=NOW + timedelta(days=100)))
    page.book.record(event(page.book.records[0].rule))
    page.show()
    for expected in ("api.example.com enforce", "matched 2 minutes ago", "2027-12-31 (in 212 days)", "payments, ends 2027-09-09"):
        assert expected in page.words
    assert f"{LEAF_PIN} any 2 minutes ago" in page.words
    assert f"{BACKUP_PIN} any offline backup never" in page.words
    assert page.cards == ["card good"]


def test_a_denied_host_comes_first_and_its_text_can_be_read() -> None:
    """What is wrong is not below what is well."""
    denied = rule("z.example.com", BACKUP_PIN)
    page = Page(API_RULE, rule("never.example"), denied)
    page.book.record(event())
    page.book.record(event(denied))
    page.show()
    assert page.words.index("z.example.com") < page.words.index("api.example.com enforce")
    assert "no match, denied" in page.words
    assert f"{LEAF_PIN} leaf CN=api.example.com" in page.words
    assert page.cards == ["card bad", "card good", "card calm", "card bad"]
    assert "never seen" in page.words
    assert page.words.count("never_seen") == 2


def test_a_mismatch_in_report_only_is_said_to_have_passed() -> None:
    """It must not look like a denial, nor like a match."""
    page = Page(rule("api.example.com", BACKUP_PIN, mode="report-only"))
    page.book.record(event(page.book.records[0].rule))
    page.show()
    assert "no match, let pass" in page.words
    assert "would be denied pin_mismatch" in page.words
    assert page.cards == ["card warn", "card warn"]


def test_a_host_that_could_not_be_dialled_keeps_its_last_verdict() -> None:
    """The last decision and the last verdict are two things."""
    page = Page(API_RULE)
    page.book.record(event())
    page.book.record(event(judgement=None, decision=Decision.DENY, code="dial_timeout", at=NOW + timedelta(minutes=1)))
    assert "denied: dial_timeout 1 minute ago Last verdict matched 2 minutes ago" in page.show().words


def test_what_of_a_verification_is_switched_off_is_shown() -> None:
    """Whoever looks at the page should not have to read the configuration to know."""
    bare = rule("a.example", LEAF_PIN, BACKUP_PIN)
    page = Page(
        replace(bare, trust=PinsOnly(unsafe_skip_hostname=True, unsafe_skip_dates=True)),
        replace(bare, pattern=parse_pattern("b.example"), trust=PinsOnly()),
        replace(bare, pattern=parse_pattern("c.example")),
    )
    words = page.show().words
    assert "a.example enforce pins-only unsafe_skip_hostname unsafe_skip_dates never seen" in words
    assert "b.example enforce pins-only never seen" in words
    assert "c.example enforce never seen" in words


def test_a_missing_backup_and_an_end_that_is_near_are_warned_of() -> None:
    """While there is still time."""
    lone, ending = (
        rule("a.example", LEAF_PIN, ISSUER_PIN),
        rule("b.example", LEAF_PIN, BACKUP_PIN, expires=NOW + timedelta(days=13)),
    )
    page = Page(lone, ending)
    page.book.record(event(lone))
    page.book.record(event(ending))
    assert "No backup pin" in page.show().words
    assert page.cards == ["card warn", "card warn"]


def test_an_end_that_has_passed_is_told_as_past() -> None:
    """A set that has ended and one that will differ by more than a colour."""
    page = Page(rule("a.example", LEAF_PIN, BACKUP_PIN, expires=NOW - timedelta(days=2)))
    assert "payments, ended 2027-05-30 (2 days ago)" in page.show().words


def test_a_stale_configuration_is_said_with_its_problems() -> None:
    """The rules shown are then not those of the file."""
    page = Page(API_RULE)
    page.book.reject((Problem("p.yaml", 3, 5, "hosts[0].mod", "unknown key"),), NOW)
    assert "ready, configuration stale" in page.show().words
    assert "p.yaml:3:5: hosts[0].mod: unknown key" in page.words


def test_a_proxy_without_configuration_says_so() -> None:
    """An empty page would look like one that is broken."""
    page = Page().show()
    assert "not ready no configuration" in page.words
    assert "No host is listed." in page.words


def test_a_draining_proxy_says_so() -> None:
    """The last thing to be seen of it."""
    assert "draining" in Page(API_RULE, condition=Condition(listeners_bound=False, is_draining=True)).show().words


@pytest.mark.attack(
    "HTML in a host name or certificate, shown on the status page", expect="neutralise", topic="control", motive="CWE-79"
)
def test_text_of_other_people_is_text() -> None:
    """Names, notes and certificate subjects add no element to the page."""
    evil = "</pre></style><script>alert(1)</script><img src=//x onerror=x>'\""

    def elements(text: str) -> list[str]:
        page = Page(rule("api.example.com", replace(LEAF_PIN, note=text), BACKUP_PIN))
        page.book.record(refused("bad_request", detail=text, client=text, id=text))
        page.book.record(event(None, authority=Authority(text, 443), decision=Decision.DENY, code="x", detail=text))
        page.book.reject((Problem(text, 0, 0, text, text),), NOW)
        assert text in page.show().text
        return page.elements

    assert elements(evil) == elements("harmless")


@pytest.mark.attack(
    "HTML in a host name or certificate, shown on the status page", expect="neutralise", topic="control", motive="CWE-79"
)
def test_the_page_asks_for_nothing_from_elsewhere_and_runs_nothing() -> None:
    """In an incident there may be no network but this."""
    page = Page(API_RULE)
    page.book.record(event())
    assert not {"script", "link", "img", "iframe", "form", "object", "base"} & set(page.show().elements)
