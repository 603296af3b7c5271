"""The scenarios: what is asked of a proxy, and what is divided by what."""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.peers import HOST, PEERS, Peer, Started, Way
from bench.stage import Running, Stage, running

_GIB = 1024**3


@dataclass(frozen=True)
class Scale:
    """How long and how much.

    Attributes:
        seconds: Of load for one measurement.
        repetitions: Measurements of each peer, interleaved.
        tunnels: Idle tunnels for S4.
    """

    seconds: float
    repetitions: int
    tunnels: int


@dataclass(frozen=True)
class Scenario:
    """Something to measure.

    Attributes:
        name: On the command line.
        title: In tables.
        unit: Of the figure; less is better.
        way: Which way of asking it uses.
        measure: Measures a running proxy once.
    """

    name: str
    title: str
    unit: str
    way: str
    measure: Callable[[Stage, Running, Way, Scale], float]


def _arguments(way: Way, path: str) -> list[str]:
    """Turn a way into arguments of the load generator: a forward proxy is asked for absolute targets."""
    arguments = list(way.arguments)
    if "--target-prefix" in arguments:
        at = arguments.index("--target-prefix")
        prefix = arguments[at + 1]
        del arguments[at : at + 2]
        return ["--host", HOST, *arguments, "--target", prefix + path]
    return ["--host", HOST, *arguments, "--target", path]


def _per_operation(path: str, clients: int, *, is_new: bool) -> Callable[[Stage, Running, Way, Scale], float]:
    """CPU microseconds of the proxy for each request, or for each connection with one request."""

    def measure(stage: Stage, proxy: Running, way: Way, scale: Scale) -> float:
        arguments = _arguments(way, path) + (["--new"] if is_new else [])
        stage.run_load(way.port, 0.5, clients, *arguments)  # connections open, caches warm
        before = proxy.cpu_seconds()
        result = stage.run_load(way.port, scale.seconds, clients, *arguments)
        spent = proxy.cpu_seconds() - before
        _require_success(result)
        return spent / result["operations"] * 1e6

    return measure


def _per_gib(stage: Stage, proxy: Running, way: Way, scale: Scale) -> float:
    """CPU seconds of the proxy for each GiB downloaded."""
    arguments = _arguments(way, "/large")
    before = proxy.cpu_seconds()
    result = stage.run_load(way.port, scale.seconds, 2, *arguments)
    spent = proxy.cpu_seconds() - before
    _require_success(result)
    return spent / (result["bytes"] / _GIB)


def _memory(_stage: Stage, proxy: Running, way: Way, scale: Scale) -> float:
    """Resident KiB of the proxy for each idle tunnel."""
    with _tunnels(way, 50):
        pass
    time.sleep(0.5)
    before = proxy.resident_kib()
    with _tunnels(way, scale.tunnels):
        time.sleep(1.0)
        return (proxy.resident_kib() - before) / scale.tunnels


@contextlib.contextmanager
def _tunnels(way: Way, count: int) -> Iterator[None]:
    connect = way.arguments[way.arguments.index("--connect") + 1] if "--connect" in way.arguments else None
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", way.port), 10))
            if connect is not None:
                sock.sendall(f"CONNECT {connect} HTTP/1.1\r\nHost: {connect}\r\n\r\n".encode("ascii"))
                if b" 200 " not in sock.recv(1024):
                    raise RuntimeError("a tunnel was refused")
        yield


def _latency(stage: Stage, _proxy: Running, way: Way, scale: Scale) -> float:
    """Median microseconds of a request at a tenth of the rate that saturates the proxy."""
    arguments = _arguments(way, "/64")
    flat_out = stage.run_load(way.port, min(scale.seconds, 2.0), 32, *arguments)
    _require_success(flat_out)
    rate = max(int(flat_out["operations"] / flat_out["seconds"] / 10), 10)
    result = stage.run_load(way.port, scale.seconds, 4, *arguments, "--rate", str(rate))
    _require_success(result)
    return result["p50_us"]


def _require_success(result: dict[str, float]) -> None:
    if not result["operations"] or result["errors"] > result["operations"] / 100:
        raise RuntimeError(f"{result['errors']:.0f} errors in {result['operations']:.0f} operations")


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "s1", "S1 plain HTTP in, TLS out, 32 keep-alive", "µs CPU / request", "s1", _per_operation("/64", 32, is_new=False)
        ),
        Scenario("s2", "S2 CONNECT, 1 KiB, close, 16 clients", "µs CPU / tunnel", "s2", _per_operation("/1k", 16, is_new=True)),
        Scenario("s2-bulk", "S2 bulk through a tunnel", "s CPU / GiB", "s2", _per_gib),
        Scenario("s3", "S3 interception, 32 keep-alive", "µs CPU / request", "s3", _per_operation("/64", 32, is_new=False)),
        Scenario(
            "s3-new", "S3 interception, new connection each", "µs CPU / connection", "s3", _per_operation("/64", 16, is_new=True)
        ),
        Scenario("s3-bulk", "S3 bulk, TLS both sides", "s CPU / GiB", "s3", _per_gib),
        Scenario("s4", "S4 memory of an idle tunnel", "KiB / tunnel", "s2", _memory),
        Scenario("latency", "S1 latency, a tenth of saturation", "µs median", "s1", _latency),
    )
}


@dataclass
class Row:
    """The measurements of one peer in one scenario."""

    peer: str
    values: list[float]
    problem: str | None = None

    @property
    def median(self) -> float:
        """The middle of them."""
        return statistics.median(self.values)


def run_scenario(stage: Stage, scenario: Scenario, peers: list[Peer], scale: Scale, say: Callable[[str], None]) -> list[Row]:
    """Measure peers in turns: each repetition goes through all of them, so that a slow minute of the machine hits all alike."""
    rows = {peer.name: Row(peer.name, []) for peer in peers}
    for repetition in range(scale.repetitions):
        for peer in peers:
            row = rows[peer.name]
            if row.problem:
                continue
            try:
                row.values.append(_measure_once(stage, scenario, peer.prepare(stage), scale))
                turn = f"{repetition + 1}/{scale.repetitions}"
                say(f"  {scenario.name:8} {peer.name:10} {turn}  {row.values[-1]:10.2f} {scenario.unit}")
            except (RuntimeError, OSError) as error:
                row.problem = str(error)
                say(f"  {scenario.name:8} {peer.name:10} failed: {error}")
    return [rows[peer.name] for peer in peers]


def _measure_once(stage: Stage, scenario: Scenario, started: Started, scale: Scale) -> float:
    way = started.ways[scenario.way]
    with running(started.command, way.port, stage.directory, {"PYTHONPATH": str(Path(__file__).parents[1])}) as proxy:
        return scenario.measure(stage, proxy, way, scale)


def takes_part(peer: Peer, scenario: Scenario) -> bool:
    """Tell whether a peer can be asked in a scenario."""
    return {"s1": "s1", "s2": "s2", "s3": "s3"}[scenario.way] in peer.scenarios and not (
        scenario.name == "s4" and "s4" not in peer.scenarios
    )


def known_peers(names: list[str] | None) -> list[Peer]:
    """Return pinproxy and the peers named, or all of them."""
    if names is None:
        return list(PEERS.values())
    return [PEERS["pinproxy"], *(PEERS[name] for name in names if name != "pinproxy")]
