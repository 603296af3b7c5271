"""What grows: connections, rules, reloads, hosts to mint for. Flat is what each figure should be."""

from __future__ import annotations

import base64
import hashlib
import signal
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from bench.held import held_connections
from bench.measure import Sample, Scale
from bench.peers import Peer, Started, Way, pinproxy_with
from bench.process import Running, running, wait_for_port
from bench.stage import HOST, Stage, read_load
from bench.steady import CLIENTS, arguments_for, per_operation
from pinproxy.authority import Authority
from pinproxy.net.system_roots import load_system_roots
from pinproxy.policy.table import PolicyTable
from pinproxy.settings.load import load_settings
from pinproxy.settings.policy import build_policy_table

_LOADED = b'"configuration_loaded"'
_RELOADS_BY_SIGNAL_ALONE = "reload: {poll: 1h}"
_LOOKUPS = 20_000
_REQUESTS_PER_SECOND = 400  # enough to meet every pause of 20 ms several times, and little for any machine
_request_cpu = per_operation("/64", CLIENTS, is_new=False)


def connections(stage: Stage, peer: Peer, scale: Scale) -> Sample:
    """CPU of a request, and memory of each connection, beside idle keep-alive connections."""
    return _beside(stage, peer, scale, "s1", lambda way, count: held_connections(way, count, is_asked=True))


def tunnels(stage: Stage, peer: Peer, scale: Scale) -> Sample:
    """CPU of a request, and memory of each tunnel, beside idle tunnels."""
    return _beside(stage, peer, scale, "s2", held_connections)


def _beside(
    stage: Stage, peer: Peer, scale: Scale, idle: str, hold: Callable[[Way, int], AbstractContextManager[None]]
) -> Sample:
    sample = Sample({})
    started = peer.started(stage, "s1")
    active = started.ways["s1"]
    with running(started.command, active.port, stage.directory) as proxy:
        _request_cpu(stage, proxy, active, replace(scale, seconds=1.0))  # the memory that the load itself costs
        empty = proxy.resident_kib()
        for count in scale.connections:
            with hold(started.ways[idle], count):
                resident = proxy.resident_kib() - empty
                found = _request_cpu(stage, proxy, active, scale)
            sample.operations += found.operations
            sample.errors += found.errors
            sample.values[f"cpu_{count}"] = found.values["cpu"]
            # Below a thousand, what the allocator happened to hold is more than what the connections need.
            if count >= 1000:
                sample.values[f"kib_{count}"] = resident / count
    return sample


def rules(stage: Stage, _peer: Peer, scale: Scale) -> Sample:
    """CPU of a request, look-up, load, memory, and CPU of a scrape, with more and more host rules that have pins of their own."""
    sample = Sample({})
    for count in scale.rules:
        started = pinproxy_with(stage, _host_rules(count - 1))
        way = started.ways["s1"]
        began = time.perf_counter()
        settings = load_settings(Path(started.command[-1]), {}, {})
        table = build_policy_table(settings, load_system_roots)
        sample.values[f"load_{count}"] = time.perf_counter() - began
        sample.values[f"lookup_{count}"] = _lookup_nanoseconds(table)
        with running(started.command, way.port, stage.directory) as proxy:
            found = _request_cpu(stage, proxy, way, scale)
            sample.values[f"mib_{count}"] = proxy.resident_kib() / 1024
            sample.values[f"scrape_{count}"] = _scrape_milliseconds(proxy, started.ways["admin"])
        sample.operations += found.operations
        sample.errors += found.errors
        sample.values[f"cpu_{count}"] = found.values["cpu"]
    return sample


def _scrape_milliseconds(proxy: Running, admin: Way) -> float:
    """CPU milliseconds of one reading of the metrics."""
    wait_for_port(admin.port, proxy.process)
    before = proxy.cpu_seconds()
    _read_metrics(admin)
    return (proxy.cpu_seconds() - before) * 1000


def _read_metrics(admin: Way) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin.port}/metrics", timeout=60) as response:
        response.read()


def _lookup_nanoseconds(table: PolicyTable) -> float:
    """Nanoseconds of a look-up whose answer is not remembered: every authority asked for is new by its port."""
    hosts = [rule.pattern.base for rule in table.rules]
    asked = [Authority(hosts[number % len(hosts)], 1 + number) for number in range(_LOOKUPS)]
    began = time.perf_counter_ns()
    for authority in asked:
        table.lookup(authority)
    return (time.perf_counter_ns() - began) / _LOOKUPS


def reload(stage: Stage, _peer: Peer, scale: Scale) -> Sample:
    """Seconds of a reload with the most rules, and the longest request before and during it."""
    count = scale.rules[-1]

    def reload_changed(proxy: Running, started: Started) -> None:
        file = Path(started.command[-1])
        file.write_text(file.read_text("utf-8") + _host_rule(count), "utf-8")
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_for_line(_LOADED, 2, 29)

    return _pauses_during(stage, pinproxy_with(stage, _host_rules(count - 1), _RELOADS_BY_SIGNAL_ALONE), reload_changed)


def scrape(stage: Stage, _peer: Peer, scale: Scale) -> Sample:
    """Seconds of a reading of the metrics with the most rules, and the longest request before and during it."""

    def read_metrics(_proxy: Running, started: Started) -> None:
        _read_metrics(started.ways["admin"])

    return _pauses_during(stage, pinproxy_with(stage, _host_rules(scale.rules[-1] - 1)), read_metrics)


def _pauses_during(stage: Stage, started: Started, act: Callable[[Running, Started], None]) -> Sample:
    """Measure the longest request before and while something else is done."""
    way = started.ways["s1"]
    arguments = [*arguments_for(way, "/64"), "--rate", str(_REQUESTS_PER_SECOND)]
    sample = Sample({})
    with running(started.command, way.port, stage.directory) as proxy:
        wait_for_port(started.ways["admin"].port, proxy.process)
        stage.run_load(way.port, 1.0, 4, *arguments)  # the first handshakes
        calm = sample.count(stage.run_load(way.port, 5.0, 4, *arguments))
        sample.values["calm"] = calm.max_us / 1000
        with stage.loading(way.port, 30.0, 4, *arguments) as generator:
            began = time.monotonic()
            act(proxy, started)
            sample.values["seconds"] = time.monotonic() - began
            generator.send_signal(signal.SIGINT)  # the end of the load: what came after would hide nothing, and only take time
            load = sample.count(read_load(generator, 30.0))
    sample.values |= {"longest": load.max_us / 1000, "p99": load.p99_us / 1000}
    return sample


def minting(stage: Stage, proxy: Running, way: Way, scale: Scale) -> Sample:
    """CPU of a new host: two handshakes and a leaf; of the first hosts, of the last, and of one that is known."""
    count = scale.distinct_hosts
    tenth = count // 10
    sample = Sample({})
    arguments = arguments_for(way, "/64")

    def cost(*more: str) -> float:
        before = proxy.cpu_seconds()
        load = sample.count(stage.run_load(way.port, 60.0, 8, *arguments, *more))
        return (proxy.cpu_seconds() - before) / load.operations * 1e6

    stage.run_load(way.port, 0.4, 8, *arguments, "--new")  # what the first connections cost once
    parts = [("first", 0, tenth), ("between", tenth, count - 2 * tenth), ("last", count - tenth, tenth)]
    for key, first, hosts in parts:
        sample.values[key] = cost("--first-host", str(first), "--host-count", str(hosts))
    sample.values["all"] = sum(sample.values[key] * hosts for key, _, hosts in parts) / count
    sample.values["known"] = cost("--first-host", "0", "--host-count", str(tenth))
    return sample


def _host_rules(count: int) -> str:
    return "".join(_host_rule(number) for number in range(count))


def _host_rule(number: int) -> str:
    pins = ", ".join(f'"{_pin(f"{number} {which}")}"' for which in ("in use", "backup"))
    return f"  - {{host: r{number:06}.{HOST}, pins: [{pins}]}}\n"


def _pin(text: str) -> str:
    return "sha256/" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
