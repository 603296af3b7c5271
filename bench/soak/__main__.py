"""`./dev soak --minutes 5`: a proxy under mixed traffic with faults, weighed at quiet moments; fails if anything grows.

1. Origins on loopback, most of them bad; a configuration that lists them; the proxy as a process of its own.
2. Clients, most of them well-behaved, come and go without pause; every few seconds the configuration is reloaded with other pins.
3. Now and then everybody waits until the proxy is alone; then its memory, descriptors, tasks and TLS sessions are counted. The
   first count ends the warm-up: caches are full by then.
4. What came of each visit, what grew, and what was a surprise is told. A line of level `error` in the proxy's log is a surprise
   too. Exit code 1 if anything grew or surprised.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from bench.process import free_port
from bench.procfs import resident_pages
from bench.soak.clients import MANY_HOSTS, VISITS, Street, ask_intercepted
from bench.soak.origins import DOMAIN, running_origins
from bench.soak.weighing import Weight, grown_types, growth
from pinproxy.pins.pin import Pin

_CLIENTS = 24
_FEWEST_WEIGHINGS, _WEIGHINGS_A_MINUTE = 4, 2
_RELOAD_SECONDS = 3.0
_LULL_SECONDS = 4.0  # longer than every grace period of `_LIMITS`
_LIMITS = """\
limits:
  head_seconds: 2s
  handshake_seconds: 2s
  response_head_seconds: 2s
  keep_alive_seconds: 2s
  pool_idle_seconds: 2s
  half_closed_seconds: 2s
  idle_seconds: 30s
  allow_private: true
"""


@dataclass
class Soak:
    """A soak under way.

    Attributes:
        street: What the clients know.
        proxy: The process that is soaked.
        census: Where it writes its census.
        came: How often what came of which visit.
        surprises: What should not have come, the first few.
    """

    street: Street
    proxy: asyncio.subprocess.Process
    census: Path
    came: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    surprises: list[str] = field(default_factory=list)
    _is_open: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: int = 0

    async def keep_visiting(self) -> None:
        """Make one visit after the other, chosen at random, for ever."""
        names = list(VISITS)
        weights = [VISITS[name].weight for name in names]
        while True:
            await self._is_open.wait()
            (name,) = random.choices(names, weights)
            self._under_way += 1
            try:
                came = await VISITS[name].act(self.street)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                came = type(error).__name__
            finally:
                self._under_way -= 1
            self.came[name, came] += 1
            if came not in VISITS[name].comes:
                self.surprises.append(f"{name}: {came}, expected {' or '.join(sorted(VISITS[name].comes))}")

    async def weigh(self) -> Weight:
        """Let everybody leave, wait until the proxy is alone, and count."""
        self._is_open.clear()
        while self._under_way:  # noqa: ASYNC110 - a dozen clients on their way out
            await asyncio.sleep(0.05)
        await asyncio.sleep(_LULL_SECONDS)
        self.census.unlink(missing_ok=True)
        self.proxy.send_signal(signal.SIGUSR1)
        while not self.census.exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
        counted = json.loads(self.census.read_text("utf-8"))
        descriptors = len(os.listdir(f"/proc/{self.proxy.pid}/fd"))  # noqa: PTH208 - names are enough
        return Weight(self.came.total(), _resident_kib(self.proxy.pid), descriptors, counted["tasks"], counted["types"])

    async def run(self, minutes: float) -> list[Weight]:
        """Fill the caches, soak, and weigh at the end of each of the stretches of equal length."""
        for host in MANY_HOSTS:
            self.came["warm-up", await ask_intercepted(self.street, host)] += 1
        weights: list[Weight] = []
        count = max(_FEWEST_WEIGHINGS, round(minutes * _WEIGHINGS_A_MINUTE))
        clients = [asyncio.create_task(self.keep_visiting()) for _ in range(_CLIENTS)]
        try:
            for _ in range(count):
                self._is_open.set()
                await asyncio.sleep(max(1.0, minutes * 60 / count - _LULL_SECONDS))
                weights.append(await self.weigh())
                _tell(weights[-1])
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        return weights


@contextlib.asynccontextmanager
async def _standing() -> AsyncIterator[Soak]:
    """Start everything for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="pinproxy-soak-") as name:
        directory = Path(name)
        async with running_origins() as (ports, pins, ca_pem):
            (directory / "ca.pem").write_bytes(ca_pem)
            port, configuration, census = free_port(), directory / "pinproxy.yaml", directory / "census.json"
            _configure(configuration, port, ports, (pins["good"], pins["backup"]))
            command = (sys.executable, "-m", "bench.soak.subject", str(configuration), str(census))
            proxy = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
            log = cast("asyncio.StreamReader", proxy.stderr)
            try:
                await _wait_for_start(log)
                old = ssl.create_default_context(cadata=ca_pem.decode("ascii"))
                old.maximum_version = ssl.TLSVersion.TLSv1_2
                local_ca = ssl.create_default_context(cafile=directory / "published" / "ca.pem")
                origin_ca = ssl.create_default_context(cadata=ca_pem.decode("ascii"))
                soak = Soak(Street(port, ports["good"], local_ca, origin_ca, old), proxy, census)
                async with asyncio.TaskGroup() as group:
                    beside = [
                        group.create_task(_read_log(log, soak.surprises)),
                        group.create_task(_keep_reloading(proxy, configuration, port, ports, pins)),
                    ]
                    yield soak
                    for task in beside:
                        task.cancel()
            finally:
                proxy.terminate()
                await proxy.wait()


async def _wait_for_start(log: asyncio.StreamReader) -> None:
    said = b""
    while line := await log.readline():
        if b'"event":"started"' in line:
            return
        said += line
    raise RuntimeError(f"the proxy did not start: {said.decode()}")


async def _read_log(log: asyncio.StreamReader, surprises: list[str]) -> None:
    """Read the log to its end: a pipe that nobody reads is no log; keep what should not be in it."""
    while line := await log.readline():
        if b'"level":"error"' in line:
            surprises.append(line.decode())


def _configure(path: Path, port: int, ports: dict[str, int], pins: tuple[Pin, Pin]) -> None:
    """Write the configuration: one host for each origin, one that is tunnelled, and a wildcard."""
    hosts = {f"{name}.{DOMAIN}": (number, "") for name, number in ports.items()}
    hosts[f"tunnel.{DOMAIN}"] = (ports["good"], "connect: tunnel, tls13: preflight, ")
    hosts[f"*.many.{DOMAIN}"] = (ports["good"], "")
    listed = "".join(
        f'  - {{host: "{host}", {further}upstream: {{address: 127.0.0.1, port: {number}}}}}\n'
        for host, (number, further) in hosts.items()
    )
    text = (
        f"version: 1\nlisten: [127.0.0.1:{port}]\nadmin: null\nunlisted: allow\nlocal_ca: {{publish: published}}\n"
        f"defaults: {{pin_set: soak, trust: {{ca_file: ca.pem}}}}\n"
        f"pin_sets: {{soak: {{pins: [{pins[0]}, {pins[1]}]}}}}\n{_LIMITS}hosts:\n{listed}"
    )
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text, "utf-8")
    unfinished.replace(path)


async def _keep_reloading(
    proxy: asyncio.subprocess.Process, configuration: Path, port: int, ports: dict[str, int], pins: dict[str, Pin]
) -> None:
    """Swap the backup pin every few seconds: nothing that is under way may be lost by it."""
    while True:
        for backup in ("other backup", "backup"):
            await asyncio.sleep(_RELOAD_SECONDS)
            _configure(configuration, port, ports, (pins["good"], pins[backup]))
            proxy.send_signal(signal.SIGHUP)


def _resident_kib(pid: int) -> int:
    return resident_pages(Path(f"/proc/{pid}/statm").read_text("ascii")) * os.sysconf("SC_PAGE_SIZE") // 1024


def _tell(weight: Weight) -> None:
    print(
        f"{weight.visits:>8} visits  {weight.resident_kib / 1024:7.1f} MiB  {weight.descriptors:>3} descriptors"
        f"  {weight.tasks:>3} tasks"
        f"  {weight.tls_connections:>3} TLS connections  {weight.tls_sessions:>3} TLS sessions kept",
        flush=True,
    )


async def _soak(minutes: float) -> int:
    began = time.monotonic()
    async with _standing() as soak:
        weights = await soak.run(minutes)
    print(f"\n{'visit':<42}what came of it")
    for name in VISITS:
        outcomes = ", ".join(f"{came} {number}x" for (visited, came), number in sorted(soak.came.items()) if visited == name)
        print(f"{name:<42}{outcomes or 'not made'}")
    grown, types = growth(weights), grown_types(weights)
    print(f"\n{soak.came.total()} visits in {time.monotonic() - began:.0f} s")
    print("grown: " + ("; ".join(grown) or "nothing"))
    if types:
        print("more of these than after the warm-up: " + ", ".join(types))
    print(f"surprises: {len(soak.surprises) or 'none'}")
    for surprise in soak.surprises[:10]:
        print(f"  {surprise}")
    return 1 if grown or soak.surprises else 0


def main() -> int:
    """Soak for as long as asked."""
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long, about; default: 5")
    return asyncio.run(_soak(parser.parse_args().minutes))


if __name__ == "__main__":
    sys.exit(main())
