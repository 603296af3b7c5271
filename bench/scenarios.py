"""All scenarios: their names, figures, and who is asked."""

from __future__ import annotations

from collections.abc import Callable

from bench import growth, held, start, steady
from bench.measure import FULL, Figure, Sample, Scale, Scenario, on_running_peer
from bench.peers import Peer, Way
from bench.process import Running
from bench.stage import Stage

_OWN_RULES = "rules with pins for each host are pinproxy's"
_GROWING = ("pinproxy", "haproxy", "nginx", "envoy")
_WHY_GROWING = "four are enough to see what flat looks like"


def _of_cpu(name: str, title: str, operation: str, way: str, measure: Callable[[Stage, Running, Way, Scale], Sample]) -> Scenario:
    return Scenario(name, title, (Figure("cpu", "", operation),), way, on_running_peer(way, measure))


def _of_memory(name: str, title: str, way: str, measure: Callable[[Stage, Running, Way, Scale], Sample]) -> Scenario:
    return Scenario(name, title, (Figure("kib", "", "KiB / connection"),), way, on_running_peer(way, measure))


def _of_pauses(name: str, what: str, act: str, measure: Callable[[Stage, Peer, Scale], Sample]) -> Scenario:
    figures = (
        Figure("longest", "longest request meanwhile", "ms"),
        Figure("p99", "p99 meanwhile", "ms"),
        Figure("calm", "longest request before", "ms"),
        Figure("seconds", act, "s"),
    )
    return Scenario(name, f"Growth: {what} under traffic", figures, "s1", measure, only=("pinproxy",), why_only=_OWN_RULES)


def _beside(kind: str) -> tuple[Figure, ...]:
    cpu = [Figure(f"cpu_{count}", f"beside {count:,}", "µs CPU / request") for count in FULL.connections]
    memory = [Figure(f"kib_{count}", f"of {count:,}", f"KiB / {kind}") for count in FULL.connections if count >= 1000]
    return (*cpu, *memory)


def _with_rules() -> tuple[Figure, ...]:
    kinds = (
        ("cpu", "µs CPU / request"),
        ("lookup", "ns / look-up"),
        ("load", "s to load"),
        ("mib", "MiB resident"),
        ("scrape", "ms CPU / scrape"),
    )
    return tuple(Figure(f"{key}_{count}", f"{count:,}", unit) for key, unit in kinds for count in FULL.rules)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        _of_cpu(
            "s1",
            "S1 plain HTTP in, TLS out, 32 keep-alive connections",
            "µs CPU / request",
            "s1",
            steady.per_operation("/64", steady.CLIENTS, is_new=False),
        ),
        _of_cpu("s2", "S2 CONNECT, 1 KiB, close", "µs CPU / tunnel", "s2", steady.per_operation("/1k", 16, is_new=True)),
        _of_cpu("s2-bulk", "S2 bulk through a tunnel", "s CPU / GiB", "s2", steady.per_gib),
        _of_cpu(
            "s3",
            "S3 TLS on both sides, 32 keep-alive connections",
            "µs CPU / request",
            "s3",
            steady.per_operation("/64", steady.CLIENTS, is_new=False),
        ),
        _of_cpu(
            "s3-new",
            "S3 TLS on both sides, a new connection each",
            "µs CPU / connection",
            "s3",
            steady.per_operation("/64", 16, is_new=True),
        ),
        _of_cpu("s3-bulk", "S3 bulk, TLS on both sides", "s CPU / GiB", "s3", steady.per_gib),
        _of_memory("s4", "S4 memory of an idle blind tunnel", "s2", held.idle_tunnels),
        _of_memory("s4-intercepted", "S4 memory of an idle connection with TLS on both sides", "s3", held.idle_interceptions),
        Scenario(
            "latency",
            "S1 latency at a tenth of the rate that saturates",
            (Figure("p50", "p50", "µs"), Figure("p99", "p99", "µs")),
            "s1",
            on_running_peer("s1", steady.latency),
        ),
        Scenario(
            "pause",
            "S1 longest pause, at a tenth of the rate that saturates",
            (Figure("longest", "longest request", "ms"), Figure("p99", "p99", "ms")),
            "s1",
            on_running_peer("s1", steady.pause),
            only=("pinproxy", "haproxy"),
            why_only="a minute each; haproxy shows what the machine itself does",
            is_measured_once=True,
        ),
        Scenario(
            "start",
            "Start to first answer, and memory when idle",
            (Figure("ms", "to the first answer", "ms"), Figure("mib", "idle", "MiB resident")),
            "start",
            start.first_answer,
        ),
        Scenario(
            "growth-connections",
            "Growth: idle keep-alive connections beside S1",
            _beside("connection"),
            "s1",
            growth.connections,
            only=_GROWING,
            why_only=_WHY_GROWING,
        ),
        Scenario(
            "growth-tunnels",
            "Growth: idle tunnels beside S1",
            _beside("tunnel"),
            "s2",
            growth.tunnels,
            only=_GROWING,
            why_only=_WHY_GROWING,
        ),
        Scenario(
            "growth-rules",
            "Growth: host rules with pins of their own",
            _with_rules(),
            "s1",
            growth.rules,
            only=("pinproxy",),
            why_only=_OWN_RULES,
        ),
        _of_pauses("growth-reload", "a reload with 10,000 host rules", "the reload", growth.reload),
        _of_pauses("growth-scrape", "the metrics of 10,000 host rules read", "the reading", growth.scrape),
        Scenario(
            "growth-minting",
            "Growth: leaves for 1,000 distinct hosts",
            (
                Figure("all", "of all new hosts", "µs CPU / host"),
                Figure("first", "of the first tenth", "µs CPU / host"),
                Figure("last", "of the last tenth", "µs CPU / host"),
                Figure("known", "of a known host", "µs CPU / connection"),
            ),
            "mint",
            on_running_peer("mint", growth.minting),
        ),
    )
}
