"""What pinproxy is to reach, and whether it did: arithmetic on results, and nothing that is written down beforehand."""

from __future__ import annotations

from dataclasses import dataclass

from bench.measure import Row

_US = "pinproxy"
# What two runs of the same thing differ by on a shared machine; a cost that grows with the number of things is far beyond it.
FLAT = 1.25


@dataclass(frozen=True)
class Goal:
    """A bound on one of pinproxy's figures: absolute, or as a ratio to a peer's, or to another figure of its own.

    Attributes:
        scenario: The scenario's name.
        figure: The figure's key.
        limit: The measured value is no more than this.
        peer: Divide by the same figure of this peer.
        base: Divide by this figure of pinproxy's own.
        unit: Of an absolute bound.
        what: In tables.
    """

    scenario: str
    figure: str
    limit: float
    peer: str | None = None
    base: str | None = None
    unit: str = ""
    what: str = ""

    @property
    def text(self) -> str:
        """The goal in words: "≤ 1.5 x haproxy"."""
        if self.peer is not None:
            return f"≤ {self.limit:g} x {self.peer}"
        if self.base is not None:
            return f"flat: ≤ {self.limit:g} x the smallest"
        return f"≤ {self.limit:g} {self.unit}"


@dataclass(frozen=True)
class Outcome:
    """What became of a goal.

    Attributes:
        goal: Which.
        measured: The ratio, or the figure of an absolute goal; None: something it needs was not measured.
    """

    goal: Goal
    measured: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether it was reached; None: nobody knows."""
        return None if self.measured is None else self.measured <= self.goal.limit


def judge(goal: Goal, rows: dict[str, list[Row]]) -> Outcome:
    """Hold a goal against results.

    Args:
        goal: The goal.
        rows: By scenario.
    """
    by_peer = {row.peer: row for row in rows.get(goal.scenario, [])}

    def median(peer: str, figure: str) -> float | None:
        return by_peer[peer].median(figure) if peer in by_peer else None

    value = median(_US, goal.figure)
    if value is None or (goal.peer is None and goal.base is None):
        return Outcome(goal, value)
    divisor = median(goal.peer, goal.figure) if goal.peer is not None else median(_US, goal.base or "")
    return Outcome(goal, value / divisor if divisor else None)


def _ratios(scenario: str, figure: str, **limits: float) -> tuple[Goal, ...]:
    return tuple(Goal(scenario, figure, limit, peer=peer) for peer, limit in limits.items())


def _flat(scenario: str, figure: str, base: str, what: str) -> Goal:
    return Goal(scenario, figure, FLAT, base=base, what=what)


GOALS = (
    *_ratios("s1", "cpu", envoy=1.0, squid=0.7, haproxy=1.5, mitmproxy=1 / 20),
    *_ratios("s2", "cpu", squid=1.0, envoy=1.0),
    *_ratios("s2-bulk", "cpu", haproxy=0.8, envoy=1.0),
    *_ratios("s3", "cpu", envoy=1.0, squid=0.6, mitmproxy=1 / 20),
    *_ratios("s3-new", "cpu", squid=0.4, mitmproxy=1 / 8),
    *_ratios("s3-bulk", "cpu", haproxy=1.2, squid=0.6),
    Goal("s4", "kib", 5, unit="KiB"),
    Goal("s4-intercepted", "kib", 60, unit="KiB"),
    Goal("start", "mib", 64, unit="MiB", what="resident when idle"),
    Goal("start", "ms", 1000, unit="ms", what="to the first answer"),
    *_ratios("latency", "p50", haproxy=1.5),
    Goal("pause", "longest", 20, unit="ms", what="longest request"),
    _flat("growth-connections", "cpu_5000", "cpu_10", "CPU of a request beside 5,000 connections and beside 10"),
    _flat("growth-connections", "kib_5000", "kib_1000", "memory of each of 5,000 connections and of 1,000"),
    _flat("growth-tunnels", "cpu_5000", "cpu_10", "CPU of a request beside 5,000 tunnels and beside 10"),
    _flat("growth-tunnels", "kib_5000", "kib_1000", "memory of each of 5,000 tunnels and of 1,000"),
    _flat("growth-rules", "cpu_10000", "cpu_1", "CPU of a request with 10,000 rules and with 1"),
    _flat("growth-rules", "lookup_10000", "lookup_1", "look-up among 10,000 rules and among 1"),
    Goal("growth-reload", "longest", 20, unit="ms", what="longest request meanwhile"),
    Goal("growth-scrape", "longest", 20, unit="ms", what="longest request meanwhile"),
    _flat("growth-minting", "last", "first", "CPU of the last new hosts and of the first"),
)
