"""What a measurement is: scenarios, their figures, and the turns in which peers are asked."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.peers import PEERS, Peer, Way
from bench.process import Running, running
from bench.stage import Load, Stage


@dataclass(frozen=True)
class Scale:
    """How long and how much.

    Attributes:
        seconds: Of load for one measurement.
        repetitions: Measurements of each peer, in turns.
        tunnels: Idle tunnels for S4.
        pause_seconds: How long pauses are waited for.
        connections: Open connections beside which a request is measured, ascending.
        rules: Host rules in force, ascending.
        distinct_hosts: For which leaves are minted.
    """

    seconds: float
    repetitions: int
    tunnels: int
    pause_seconds: float
    connections: tuple[int, ...] = (10, 1000, 5000)
    rules: tuple[int, ...] = (1, 100, 10_000)
    distinct_hosts: int = 1000


FULL = Scale(seconds=2.0, repetitions=3, tunnels=2000, pause_seconds=60)
QUICK = Scale(seconds=1.0, repetitions=1, tunnels=400, pause_seconds=10, distinct_hosts=500)


@dataclass(frozen=True)
class Figure:
    """One number that a scenario gives; less is better.

    Attributes:
        key: In results and goals.
        title: Of its column; empty where the scenario's title says it.
        unit: As in "µs CPU / request".
    """

    key: str
    title: str
    unit: str


@dataclass
class Sample:
    """What one measurement gave.

    Attributes:
        values: By key of the figure.
        operations: Asked of the proxy and answered right.
        errors: Asked, and answered wrong or not at all.
    """

    values: dict[str, float]
    operations: int = 0
    errors: int = 0

    def count(self, load: Load) -> Load:
        """Add what a load did."""
        self.operations += load.operations
        self.errors += load.errors
        return load


@dataclass(frozen=True)
class Scenario:
    """Something to measure.

    Attributes:
        name: On the command line.
        title: In tables.
        figures: What it gives; the first is what peers are compared by.
        way: How a peer is asked, see `Way`.
        measure: Starts a peer, measures it once, and ends it.
        only: The peers that take part; empty: all that can.
        why_only: Why.
        is_measured_once: Whether repetitions are left out, for what takes a minute.
    """

    name: str
    title: str
    figures: tuple[Figure, ...]
    way: str
    measure: Callable[[Stage, Peer, Scale], Sample]
    only: tuple[str, ...] = ()
    why_only: str = ""
    is_measured_once: bool = False

    def reason_to_leave_out(self, peer: Peer) -> str | None:
        """Tell why a peer takes no part; None: it does."""
        reason = peer.cannot.get(self.name) or peer.cannot.get(self.way)
        return reason or (self.why_only if self.only and peer.name not in self.only else None)


def on_running_peer(
    way_name: str, measure: Callable[[Stage, Running, Way, Scale], Sample]
) -> Callable[[Stage, Peer, Scale], Sample]:
    """Make a measurement of a peer from one of a running proxy."""

    def measure_peer(stage: Stage, peer: Peer, scale: Scale) -> Sample:
        started = peer.started(stage, way_name)
        way = started.ways[way_name]
        with running(started.command, way.port, stage.directory) as proxy:
            return measure(stage, proxy, way, scale)

    return measure_peer


@dataclass
class Row:
    """The measurements of one peer in one scenario.

    Attributes:
        peer: Its name.
        values: By key of the figure, one for each repetition.
        operations: Answered right, in all of them.
        errors: The others.
        problem: Why there are no more.
    """

    peer: str
    values: dict[str, list[float]] = field(default_factory=dict)
    operations: int = 0
    errors: int = 0
    problem: str | None = None

    def median(self, key: str) -> float | None:
        """The middle one of a figure; None: there is none."""
        values = self.values.get(key)
        return statistics.median(values) if values else None

    def add(self, sample: Sample) -> None:
        """Add a measurement."""
        for key, value in sample.values.items():
            self.values.setdefault(key, []).append(value)
        self.operations += sample.operations
        self.errors += sample.errors


def run_scenario(stage: Stage, scenario: Scenario, peers: list[Peer], scale: Scale, say: Callable[[str], None]) -> list[Row]:
    """Measure peers in turns: each repetition goes through all of them, so that a slow minute of the machine hits all alike."""
    rows = {peer.name: Row(peer.name) for peer in peers}
    turns = 1 if scenario.is_measured_once else scale.repetitions
    for turn in range(turns):
        for peer in peers:
            row = rows[peer.name]
            if row.problem:
                continue
            try:
                sample = scenario.measure(stage, peer, scale)
            except (RuntimeError, OSError) as error:
                row.problem = str(error)
                say(f"  {scenario.name} {peer.name} failed: {error}")
                continue
            row.add(sample)
            shown = ", ".join(f"{each.title} {sample.values[each.key]:.4g} {each.unit}".strip() for each in scenario.figures)
            wrong = f", {sample.errors} ERRORS" if sample.errors else ""
            say(f"  {turn + 1}/{turns} {peer.name:10} {shown}{wrong}")
    return list(rows.values())


def known_peers(names: list[str] | None) -> list[Peer]:
    """Return pinproxy and the peers named, or all of them.

    Raises:
        KeyError: One of the names is unknown.
    """
    if names is None:
        return list(PEERS.values())
    return [PEERS["pinproxy"], *(PEERS[name] for name in names if name != "pinproxy")]
