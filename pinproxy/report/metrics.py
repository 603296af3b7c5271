"""What happened, counted: plain numbers that the data path adds to and `report.exposition` reads.

They are not prometheus-client's own counters: those take a lock for each increment, and 60 ms of every start.
Events and scrapes happen on one event loop, so a plain addition is enough, and a rule that leaves takes its series along.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from pinproxy.policy.mismatch import MismatchClass
from pinproxy.policy.table import PolicyTable
from pinproxy.policy.verdict import ALLOW_AND_REPORT, Decision, Verdict
from pinproxy.report.event import ConnectionEvent

UNLISTED = "(unlisted)"  # no label of a rule has parentheses: they are not in a host pattern
REMOVED = "(removed)"

# Seconds. A round trip within a region to the default `limits.handshake_seconds`, after which there is no handshake to time.
HANDSHAKE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class Histogram:
    """Durations by bucket.

    Attributes:
        counts: One for each bound of `HANDSHAKE_BUCKETS`, and one for what lies above; not cumulative.
        sum_seconds: Of all durations.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(HANDSHAKE_BUCKETS) + 1))
    sum_seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration; one that equals a bound belongs below it."""
        self.counts[bisect_left(HANDSHAKE_BUCKETS, seconds)] += 1
        self.sum_seconds += seconds


@dataclass(slots=True)
class RuleCounts:
    """The counters of one rule.

    Attributes:
        connections: By mode of carrying, decision and reason code (empty where nothing was wrong).
        verdicts: By verdict.
        would_deny: What enforce would have denied.
        mismatches: Pin failures by mismatch class.
        handshakes: Upstream handshakes with their verification.
    """

    connections: dict[tuple[str, Decision, str], int] = field(default_factory=dict)
    verdicts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    would_deny: int = 0
    mismatches: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MismatchClass, 0))
    handshakes: Histogram = field(default_factory=Histogram)


class Metrics:
    """The counters of one proxy. Cardinality is that of the configuration, whatever hosts are asked for.

    Attributes:
        rules: By label of the rule; `(unlisted)` for what met none, `(removed)` for what outlived its rule.
        active: Client connections open now.
        bytes_up: Payload from clients to upstreams.
        bytes_down: Payload from upstreams to clients.
        failures: Defects caught inside reporting, by the part that had them.
        dropped_lines: Tells how many log lines standard error would not take.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.rules: dict[str, RuleCounts] = {UNLISTED: RuleCounts()}
        self.active = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.failures: dict[str, int] = {"log": 0, "metrics": 0, "book": 0, "observations": 0}
        self.dropped_lines: Callable[[], int] = int  # 0, as long as there is no log

    def adopt(self, table: PolicyTable) -> None:
        """Follow a new configuration: the series of rules that are gone go too, new rules start at zero and are there at once."""
        kept = {UNLISTED, REMOVED, *(rule.label for rule in table.rules)}
        self.rules = {label: counts for label, counts in self.rules.items() if label in kept}
        for rule in table.rules:
            if rule.label not in self.rules:
                self.rules[rule.label] = RuleCounts()

    def record(self, event: ConnectionEvent) -> None:
        """Count an event."""
        counts = self.rules.get(UNLISTED if event.rule is None else event.rule.label)
        if counts is None:
            counts = self.rules.setdefault(REMOVED, RuleCounts())
        key = (event.mode, event.decision, event.code or "")
        counts.connections[key] = counts.connections.get(key, 0) + 1
        if event.judgement is not None:
            counts.verdicts[event.judgement.verdict] += 1
        if event.decision is ALLOW_AND_REPORT:
            counts.would_deny += 1
        if event.mismatch_class is not None:
            counts.mismatches[event.mismatch_class] += 1
        if event.handshake_seconds is not None:
            counts.handshakes.observe(event.handshake_seconds)
        self.bytes_up += event.bytes_up
        self.bytes_down += event.bytes_down
