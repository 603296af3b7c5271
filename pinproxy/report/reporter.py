"""Tells log, metrics, status book and observations what happened; nothing that goes wrong in here reaches the traffic."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime

from pinproxy.authority import Authority
from pinproxy.errors import Problem
from pinproxy.policy.known_chain import KnownChain
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable
from pinproxy.policy.verify import Verified
from pinproxy.report.event import ConnectionEvent
from pinproxy.report.log import Log
from pinproxy.report.metrics import Metrics
from pinproxy.report.observations import Observations
from pinproxy.report.status_book import StatusBook
from pinproxy.report.timestamp import format_time


class Reporter:
    """The one place reporting is called at. Not thread-safe: it belongs to the event loop that carries the traffic."""

    def __init__(self, log: Log, metrics: Metrics, book: StatusBook, observations: Observations) -> None:
        """Tie the four together.

        Args:
            log: Gets one line for each event.
            metrics: Counts it.
            book: Remembers what it says about its rule.
            observations: Remember what it says about its host.
        """
        self._log = log
        self._metrics = metrics
        self._book = book
        self._observations = observations
        metrics.dropped_lines = lambda: log.dropped_lines
        self._takers: tuple[tuple[str, Callable[[ConnectionEvent], None]], ...] = (
            ("log", log.connection),
            ("metrics", metrics.record),
            ("book", self._record),
            ("observations", observations.record),
        )

    def connection_opened(self) -> None:
        """Count a client connection in."""
        self._metrics.active += 1

    def connection_closed(self) -> None:
        """Count it out."""
        self._metrics.active -= 1

    def last_good(self, authority: Authority) -> KnownChain | None:
        """Find the last good chain of an authority; None: there was none (`policy.mismatch.Recall`)."""
        return self._observations.last_good(authority)

    def chain_judged(self, authority: Authority, rule: HostRule, verified: Verified, at: datetime) -> None:
        """Hear of a handshake as soon as it is judged, long before its connection ends. Never raises."""
        try:
            self._observations.meet_chain(authority, rule, verified, at)
        except Exception as error:  # noqa: BLE001  # the boundary, as in `emit`
            self._report_defect("observations", error)

    def emit(self, event: ConnectionEvent) -> None:
        """Report a connection or request that has ended. Never raises."""
        for part, take in self._takers:
            try:
                take(event)
            except Exception as error:  # noqa: BLE001  # the boundary: a defect in telling of traffic must not become one of it
                self._report_defect(part, error)

    def reload_succeeded(self, table: PolicyTable, at: datetime) -> None:
        """Follow a configuration that came into force, the first one included.

        Args:
            table: The rules, as the data path now sees them.
            at: When, UTC.
        """
        self._book.adopt(table, at)
        self._metrics.adopt(table)
        modes = [rule.mode for rule in table.rules]
        self._log.logger.info(
            "configuration_loaded",
            rules=len(modes),
            enforce=modes.count("enforce"),
            report_only=modes.count("report-only"),
            disabled=modes.count("disabled"),
            unlisted=table.unlisted,
        )

    def reload_failed(self, problems: tuple[Problem, ...], at: datetime) -> None:
        """Tell that a newer configuration was rejected and the one in force stays.

        Args:
            problems: Everything wrong with it.
            at: When, UTC.
        """
        self._book.reject(problems, at)
        self._log.logger.error(
            "configuration_rejected",
            problems=[str(problem) for problem in problems],
            in_force_since=format_time(self._book.loaded_at) if self._book.loaded_at else None,
        )

    def _record(self, event: ConnectionEvent) -> None:
        changed = self._book.record(event)
        if changed is None:
            return
        if changed.is_backup_missing:
            self._log.logger.warning(
                "backup_pin_missing",
                host_rule=changed.rule.label,
                to_do="add the pin of a key not yet in use (`pinproxy backup-key`); without one, a lost key locks everybody out",
            )
        else:
            self._log.logger.info("backup_pin_present", host_rule=changed.rule.label)

    def _report_defect(self, part: str, error: Exception) -> None:
        is_first = not self._metrics.failures[part]
        self._metrics.failures[part] += 1
        # Once: a defect of every event would fill the log with tracebacks. The log itself may be the part that fails.
        if is_first:
            with contextlib.suppress(Exception):
                self._log.logger.error("reporting_failed", part=part, exc_info=error)
