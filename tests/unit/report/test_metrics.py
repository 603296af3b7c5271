"""The counters: what they count, that clients cannot make series, and that the documentation has every name."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pinproxy.errors import Problem
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable
from pinproxy.report.exposition import Exposition
from pinproxy.report.metrics import Metrics
from pinproxy.report.status_book import StatusBook
from tests.unit.report.events import API_RULE, BACKUP_PIN, ISSUER_PIN, LEAF, LEAF_PIN, NOW, event, refused, rule

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "metrics.md"


class Scraped:
    """Counters and book of one proxy, fed with events and read as Prometheus reads them."""

    def __init__(self, *rules: HostRule) -> None:
        self.metrics, self.book = Metrics(), StatusBook()
        self._exposition = Exposition(self.metrics, self.book)
        self.adopt(*rules)

    def adopt(self, *rules: HostRule) -> None:
        """Bring a configuration into force."""
        table = PolicyTable(rules)
        self.metrics.adopt(table)
        self.book.adopt(table, NOW)

    def feed(self, *events: object) -> None:
        """Record events as the reporter does."""
        for told in events:
            self.metrics.record(told)  # type: ignore[arg-type]  # object keeps the signature short; they are all events
            self.book.record(told)  # type: ignore[arg-type]  # the same

    def sample(self, name: str, **labels: str) -> float | None:
        """Read one sample; None: there is no such series."""
        body, _ = self._exposition.render()
        for family in text_string_to_metric_families(body.decode()):
            for found in family.samples:
                if found.name == name and found.labels == labels:
                    return found.value
        return None

    @property
    def text(self) -> str:
        """All of it."""
        return self._exposition.render()[0].decode()


def test_a_connection_is_counted_by_rule_mode_decision_and_code() -> None:
    """The three ways a connection ends are three series."""
    report_only = rule("r.example.com", BACKUP_PIN, mode="report-only")
    enforced = rule("e.example.com", BACKUP_PIN)
    scraped = Scraped(API_RULE, report_only, enforced)
    scraped.feed(event(), event(), event(report_only), event(enforced), refused("host_not_listed"))
    counted = "pinproxy_connections_total"
    assert scraped.sample(counted, rule="api.example.com", mode="interception", decision="allow", code="") == 2
    labels = {"mode": "interception", "code": "pin_mismatch"}
    assert scraped.sample(counted, rule="r.example.com", decision="allow_and_report", **labels) == 1
    assert scraped.sample(counted, rule="e.example.com", decision="deny", **labels) == 1
    assert scraped.sample(counted, rule="(unlisted)", mode="none", decision="deny", code="host_not_listed") == 1


def test_a_verdict_is_counted_whatever_was_done_about_it() -> None:
    """Fact and act are counted apart."""
    report_only = rule("r.example.com", BACKUP_PIN, mode="report-only")
    scraped = Scraped(API_RULE, report_only)
    scraped.feed(event(), event(report_only))
    assert scraped.sample("pinproxy_pin_verdicts_total", rule="api.example.com", verdict="matched") == 1
    assert scraped.sample("pinproxy_pin_verdicts_total", rule="r.example.com", verdict="no_match") == 1
    assert scraped.sample("pinproxy_would_deny_total", rule="r.example.com") == 1
    assert scraped.sample("pinproxy_would_deny_total", rule="api.example.com") == 0


def test_a_pin_failure_is_counted_by_its_class_in_report_only_too() -> None:
    """A renewal and a foreign CA are not the same alarm."""
    report_only, enforced = rule("r.example.com", BACKUP_PIN, mode="report-only"), rule("e.example.com", BACKUP_PIN)
    scraped = Scraped(API_RULE, report_only, enforced)
    scraped.feed(event(), event(report_only), event(enforced), event(enforced, mismatch_class="new_anchor"))
    counted = "pinproxy_pin_mismatches_total"
    assert scraped.sample(counted, rule="r.example.com", mismatch_class="never_seen") == 1
    assert scraped.sample(counted, rule="e.example.com", mismatch_class="never_seen") == 1
    assert scraped.sample(counted, rule="e.example.com", mismatch_class="new_anchor") == 1
    assert scraped.sample(counted, rule="api.example.com", mismatch_class="never_seen") == 0


def test_a_new_rule_has_its_counters_at_zero() -> None:
    """`increase()` does not see the first increment of a series that was not there before."""
    scraped = Scraped(API_RULE)
    assert scraped.sample("pinproxy_pin_verdicts_total", rule="api.example.com", verdict="no_match") == 0
    assert scraped.sample("pinproxy_pin_mismatches_total", rule="api.example.com", mismatch_class="new_anchor") == 0


@pytest.mark.attack("host names without end, to fill the metrics", expect="bound", topic="resources", motive="label cardinality")
def test_hosts_that_clients_ask_for_make_no_series() -> None:
    """A thousand unlisted hosts are one series (cardinality is the configuration's)."""
    scraped = Scraped(API_RULE)
    before = scraped.text.count("\npinproxy_")
    scraped.feed(*(refused("host_not_listed", host=f"h{number}.example") for number in range(1000)))
    assert scraped.text.count("\npinproxy_") == before + 1
    assert "h999" not in scraped.text


def test_a_rule_that_leaves_takes_its_series_along_and_the_others_stay() -> None:
    """A reload neither leaves ghosts nor resets counters."""
    other = rule("other.example.com", LEAF_PIN, ISSUER_PIN, expires=NOW + timedelta(days=1))
    scraped = Scraped(API_RULE, other)
    scraped.feed(event(), event(other))
    assert 'rule="other.example.com"' in scraped.text
    scraped.adopt(API_RULE)
    assert 'rule="other.example.com"' not in scraped.text
    assert scraped.sample("pinproxy_pin_verdicts_total", rule="api.example.com", verdict="matched") == 1


def test_a_connection_that_outlives_its_rule_does_not_bring_it_back() -> None:
    """It is still counted."""
    other = rule("other.example.com", LEAF_PIN)
    scraped = Scraped(API_RULE)
    scraped.feed(event(other))
    assert 'rule="other.example.com"' not in scraped.text
    assert scraped.sample("pinproxy_pin_verdicts_total", rule="(removed)", verdict="matched") == 1


def test_dates_are_seconds_since_the_epoch() -> None:
    """Prometheus' convention, so that `time()` can be subtracted."""
    scraped = Scraped(rule("api.example.com", LEAF_PIN, BACKUP_PIN, expires=NOW + timedelta(days=9)))
    scraped.feed(event(scraped.book.records[0].rule))
    name = {"rule": "api.example.com"}
    assert scraped.sample("pinproxy_pin_set_expiry_timestamp_seconds", **name) == (NOW + timedelta(days=9)).timestamp()
    assert scraped.sample("pinproxy_upstream_certificate_expiry_timestamp_seconds", **name) == LEAF.not_after.timestamp()
    assert scraped.sample("pinproxy_pin_last_match_timestamp_seconds", pin=str(LEAF_PIN), **name) == NOW.timestamp()
    assert scraped.sample("pinproxy_pin_last_match_timestamp_seconds", pin=str(BACKUP_PIN), **name) is None
    assert scraped.sample("pinproxy_backup_pin_missing", **name) == 0


def test_one_digest_at_two_positions_is_one_series() -> None:
    """The same series twice would fail the whole scrape."""
    scraped = Scraped(rule("api.example.com", LEAF_PIN, replace(LEAF_PIN, position="leaf"), BACKUP_PIN))
    scraped.feed(event(scraped.book.records[0].rule))
    assert scraped.text.count("pinproxy_pin_last_match_timestamp_seconds{") == 1


@pytest.mark.parametrize(
    ("seconds", "bucket", "below"), [(0.05, "0.05", "0.025"), (0.0501, "0.1", "0.05"), (99.0, "+Inf", "10.0")]
)
def test_a_handshake_falls_into_its_bucket(seconds: float, bucket: str, below: str) -> None:
    """`le` means less or equal, and buckets are cumulative."""
    scraped = Scraped(API_RULE)
    scraped.feed(event(handshake_seconds=seconds), event(handshake_seconds=None))
    name = "pinproxy_handshake_duration_seconds"
    assert scraped.sample(f"{name}_bucket", rule="api.example.com", le=bucket) == 1
    assert scraped.sample(f"{name}_bucket", rule="api.example.com", le=below) == 0
    assert scraped.sample(f"{name}_count", rule="api.example.com") == 1
    assert scraped.sample(f"{name}_sum", rule="api.example.com") == seconds


def test_a_rule_without_a_handshake_has_no_buckets() -> None:
    """Fourteen zeros for each of ten thousand hosts would be half of a scrape; its counters are there, and so is the other's."""
    scraped = Scraped(API_RULE, rule("idle.example.com", BACKUP_PIN))
    scraped.feed(event())
    name = "pinproxy_handshake_duration_seconds_count"
    assert scraped.sample(name, rule="api.example.com") == 1
    assert scraped.sample(name, rule="idle.example.com") is None
    assert scraped.sample("pinproxy_would_deny_total", rule="idle.example.com") == 0


def test_bytes_are_counted_by_direction() -> None:
    """Up is from the client."""
    scraped = Scraped(API_RULE)
    scraped.feed(event(bytes_up=3, bytes_down=5), event(bytes_up=4, bytes_down=6))
    assert scraped.sample("pinproxy_bytes_total", direction="up") == 7
    assert scraped.sample("pinproxy_bytes_total", direction="down") == 11


def test_a_rejected_configuration_shows_until_a_good_one_comes() -> None:
    """0 means that what runs is not what the file says."""
    scraped = Scraped(API_RULE)
    assert scraped.sample("pinproxy_config_last_reload_successful") == 1
    scraped.book.reject((Problem("f", 1, 1, "", "no"),), NOW + timedelta(hours=1))
    assert scraped.sample("pinproxy_config_last_reload_successful") == 0
    assert scraped.sample("pinproxy_config_last_reload_success_timestamp_seconds") == NOW.timestamp()
    scraped.adopt(API_RULE)
    assert scraped.sample("pinproxy_config_last_reload_successful") == 1


def test_two_proxies_in_one_process_count_apart() -> None:
    """Each has a registry of its own."""
    first, second = Scraped(API_RULE), Scraped(API_RULE)
    first.feed(event())
    labels = {"rule": "api.example.com", "verdict": "matched"}
    assert (first.sample("pinproxy_pin_verdicts_total", **labels), second.sample("pinproxy_pin_verdicts_total", **labels)) == (
        1,
        0,
    )


def test_every_metric_is_documented_with_its_type_and_labels_and_nothing_else_is() -> None:
    """docs/metrics.md is the list that alerts are written from."""
    scraped = Scraped(rule("api.example.com", LEAF_PIN, BACKUP_PIN, expires=NOW + timedelta(days=9)))
    scraped.feed(event(scraped.book.records[0].rule))
    exposed = {}
    for family in Exposition(scraped.metrics, scraped.book).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        exposed[name] = (family.type.capitalize(), {label for found in family.samples for label in found.labels} - {"le"})
    documented = {}
    for name, kind, text in re.findall(
        r"^### `(\w+)`\n(\w+)(.*?)[.:](?:\s|$)", DOCUMENTATION.read_text(), re.MULTILINE | re.DOTALL
    ):
        documented[name] = (kind, set(re.findall(r"`(\w+)`", text)))
    assert documented == exposed
