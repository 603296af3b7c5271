"""S1 to S3 and latency: load that goes on, and what it costs the proxy."""

from __future__ import annotations

from collections.abc import Callable

from bench.measure import Sample, Scale
from bench.peers import Way
from bench.process import Running
from bench.stage import HOST, Stage

CLIENTS = 32
_WARM_SECONDS = 0.4  # connections open, caches warm
_GIB = 1024**3
_Measure = Callable[[Stage, Running, Way, Scale], Sample]


def arguments_for(way: Way, path: str) -> list[str]:
    """Turn a way into arguments of the load generator: pinproxy is asked for absolute targets in S1."""
    arguments = list(way.arguments)
    prefix = ""
    if "--target-prefix" in arguments:
        at = arguments.index("--target-prefix")
        prefix = arguments[at + 1]
        del arguments[at : at + 2]
    return ["--host", HOST, *arguments, "--target", prefix + path]


def per_operation(path: str, clients: int, *, is_new: bool) -> _Measure:
    """CPU microseconds of the proxy for each request, or for each connection with one request."""

    def measure(stage: Stage, proxy: Running, way: Way, scale: Scale) -> Sample:
        sample = Sample({})
        arguments = arguments_for(way, path) + (["--new"] if is_new else [])
        stage.run_load(way.port, _WARM_SECONDS, clients, *arguments)
        before = proxy.cpu_seconds()
        load = sample.count(stage.run_load(way.port, scale.seconds, clients, *arguments))
        sample.values["cpu"] = (proxy.cpu_seconds() - before) / load.operations * 1e6
        return sample

    return measure


def per_gib(stage: Stage, proxy: Running, way: Way, scale: Scale) -> Sample:
    """CPU seconds of the proxy for each GiB downloaded."""
    sample = Sample({})
    before = proxy.cpu_seconds()
    load = sample.count(stage.run_load(way.port, scale.seconds, 2, *arguments_for(way, "/large")))
    sample.values["cpu"] = (proxy.cpu_seconds() - before) / (load.bytes / _GIB)
    return sample


def latency(stage: Stage, _proxy: Running, way: Way, scale: Scale) -> Sample:
    """Microseconds that a request takes at a tenth of the rate that saturates the proxy."""
    sample = Sample({})
    load = sample.count(stage.run_load(way.port, scale.seconds, 4, *_at_a_tenth(stage, way)))
    sample.values |= {"p50": load.p50_us, "p99": load.p99_us}
    return sample


def pause(stage: Stage, _proxy: Running, way: Way, scale: Scale) -> Sample:
    """Milliseconds of the longest request in a minute of the same: what a pause of the whole proxy would show in."""
    sample = Sample({})
    load = sample.count(stage.run_load(way.port, scale.pause_seconds, 4, *_at_a_tenth(stage, way)))
    sample.values |= {"longest": load.max_us / 1000, "p99": load.p99_us / 1000}
    return sample


def _at_a_tenth(stage: Stage, way: Way) -> list[str]:
    """Find the rate that saturates a proxy, and ask for a tenth of it."""
    arguments = arguments_for(way, "/64")
    flat_out = stage.run_load(way.port, 1.0, CLIENTS, *arguments)
    return [*arguments, "--rate", str(max(int(flat_out.operations / flat_out.seconds / 10), 10))]
