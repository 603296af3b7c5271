"""The reporter: one call, three takers, and no defect of theirs reaches the caller."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pinproxy.errors import Problem
from pinproxy.policy.table import PolicyTable
from pinproxy.report.log import Log
from pinproxy.report.metrics import UNLISTED, Metrics
from pinproxy.report.observations import Observations
from pinproxy.report.reporter import Reporter
from pinproxy.report.status_book import StatusBook
from pinproxy.report.timestamp import format_time
from tests.unit.report.events import API_RULE, BACKUP_PIN, LEAF_PIN, NOW, event, rule


class Told:
    """A reporter and everything it told."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("w") as stream:
            self.log = Log(stream=stream)
        self.metrics, self.book = Metrics(), StatusBook()
        self.reporter = Reporter(self.log, self.metrics, self.book, Observations(NOW))

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    @property
    def names(self) -> list[str]:
        """What its lines are about."""
        return [line["event"] for line in self.lines]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    """Report into a file, without any rule."""
    opened = Told(tmp_path / "log")
    yield opened
    opened.log.close()


def test_an_event_reaches_log_metrics_and_book(told: Told) -> None:
    """One event, one line, one count, one record."""
    told.reporter.reload_succeeded(PolicyTable((API_RULE,)), NOW)
    told.reporter.emit(event())
    assert told.names == ["configuration_loaded", "connection"]
    assert told.metrics.bytes_up == 100
    assert told.book.records[0].tally.allowed == 1


def test_a_missing_backup_is_told_once_and_so_is_its_return(told: Told) -> None:
    """A warning for each change, not for each handshake."""
    lone = rule("api.example.com", LEAF_PIN)
    told.reporter.reload_succeeded(PolicyTable((lone,)), NOW)
    for _ in range(3):
        told.reporter.emit(event(lone))
    warnings = [line for line in told.lines if line["event"] == "backup_pin_missing"]
    assert [(line["level"], line["host_rule"]) for line in warnings] == [("warning", "api.example.com")]


@pytest.mark.attack("a defect in log, metrics or status page, to stop traffic", expect="serve", topic="faults")
def test_a_defect_in_one_taker_reaches_neither_the_others_nor_the_caller(told: Told) -> None:
    """Counted each time, with its traceback in the log once."""
    told.reporter.reload_succeeded(PolicyTable((API_RULE,)), NOW)
    broken = event(bytes_up="3")
    for _ in range(3):
        told.reporter.emit(broken)
    assert told.metrics.failures == {"log": 0, "metrics": 3, "book": 0, "observations": 0}
    (line,) = [line for line in told.lines if line["event"] == "reporting_failed"]
    assert line["part"] == "metrics"
    assert "TypeError" in line["exception"]
    assert told.book.records[0].tally.allowed == 3


def test_a_defect_in_the_log_leaves_the_counting_alone(told: Told) -> None:
    """The log is the part that tells of defects, and may be the one that has them."""
    told.reporter.emit(event(duration_seconds="long"))
    assert told.metrics.failures["log"] == 1
    assert sum(told.metrics.rules["(removed)"].connections.values()) == 1


def test_open_connections_are_counted_in_and_out(told: Told) -> None:
    """The gauge."""
    told.reporter.connection_opened()
    told.reporter.connection_opened()
    told.reporter.connection_closed()
    assert told.metrics.active == 1


def test_a_reload_is_told_with_the_rules_by_mode(told: Told) -> None:
    """What is in force now, in one line."""
    rules = (API_RULE, rule("r.example", BACKUP_PIN, mode="report-only"), rule("d.example"))
    told.reporter.reload_succeeded(PolicyTable(rules, "allow"), NOW)
    (line,) = told.lines
    assert (line["rules"], line["enforce"], line["report_only"], line["disabled"], line["unlisted"]) == (3, 1, 1, 1, "allow")
    assert list(told.metrics.rules) == [UNLISTED, "api.example.com", "r.example", "d.example"]


def test_a_failed_reload_is_told_with_every_problem_and_changes_no_rule(told: Told) -> None:
    """The last good configuration stays in force, and everything says so."""
    told.reporter.reload_succeeded(PolicyTable((API_RULE,)), NOW)
    told.reporter.reload_failed((Problem("p.yaml", 3, 5, "hosts[0]", "no"), Problem("p.yaml", 4, 5, "", "nor that")), NOW)
    line = told.lines[-1]
    assert (line["event"], line["level"]) == ("configuration_rejected", "error")
    assert line["problems"] == ["p.yaml:3:5: hosts[0]: no", "p.yaml:4:5: nor that"]
    assert line["in_force_since"] == format_time(NOW)
    assert [record.rule for record in told.book.records] == [API_RULE]
    assert told.book.failed_at == NOW
