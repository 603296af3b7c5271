"""A real proxy on a port of its own, its log kept for assertions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, cast

from pinproxy.authority import Authority
from pinproxy.limits import Limits
from pinproxy.net.listener import ListenAddress
from pinproxy.net.local_ca import LocalCa
from pinproxy.pins.pin import Pin
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.pattern import parse_pattern
from pinproxy.policy.rule import DialOverride, HostRule, Mode, Trust
from pinproxy.policy.table import PolicyTable, Unlisted
from pinproxy.proxy.server import Server
from pinproxy.report.log import Log
from pinproxy.report.metrics import Metrics
from pinproxy.report.observations import Observations
from pinproxy.report.reporter import Reporter
from pinproxy.report.status_book import StatusBook

HOST = "api.example.test"


@dataclass
class RunningProxy:
    """A proxy that runs, and what it has said.

    Attributes:
        server: The proxy.
        port: Where it listens, on 127.0.0.1.
        local_ca: Its CA.
        resolved: Names it was asked to resolve, in order.
    """

    server: Server
    port: int
    local_ca: LocalCa
    metrics: Metrics
    book: StatusBook
    resolved: list[str] = field(default_factory=list)
    log_file: Path = Path()

    @property
    def connections(self) -> list[dict[str, Any]]:
        """The `connection` lines of the log so far."""
        lines = [json.loads(line) for line in self.log_file.read_text("utf-8").splitlines()]
        return [line for line in lines if line["event"] == "connection"]

    async def connection(self, index: int = -1, count: int = 1) -> dict[str, Any]:
        """Wait until there are `count` connection lines, and return one of them."""
        async with asyncio.timeout(10):
            while len(self.connections) < count:  # noqa: ASYNC110 - a log file has no event to wait for
                await asyncio.sleep(0.005)
        return self.connections[index]

    def client_context(self, alpn: Sequence[str] = ()) -> ssl.SSLContext:
        """Make a context that trusts the proxy's CA and nothing else."""
        context = ssl.create_default_context(cadata=self.local_ca.ca_pem.decode("ascii"))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


def host_rule(
    pins: Sequence[Pin],
    trust: Trust,
    *,
    host: str = HOST,
    mode: Mode = "enforce",
    port: int | None = None,
    **further: Any,
) -> HostRule:
    """Make a rule for a host; `port` is where its origin listens on loopback."""
    pattern = parse_pattern(host)
    return HostRule(
        pattern=pattern,
        mode=mode,
        pin_set=PinSet(str(pattern), tuple(pins)) if pins else None,
        trust=trust,
        dial=DialOverride("127.0.0.1", port) if port else None,
        **further,
    )


@contextlib.asynccontextmanager
async def running_proxy(
    *rules: HostRule,
    unlisted: Unlisted = "deny",
    limits: Limits | None = None,
    addresses: Mapping[str, str | Sequence[str]] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    eviction_grace_seconds: float = 0.0,
    local_ca: LocalCa | None = None,
    also_listen: Sequence[ListenAddress] = (),
    **further: Any,
) -> AsyncIterator[RunningProxy]:
    """Run a proxy on 127.0.0.1.

    Args:
        rules: Its host rules.
        unlisted: What happens to other hosts.
        limits: Its bounds.
        addresses: What names resolve to, one address or several; others do not resolve.
        clock: The wall clock certificates are checked against.
        eviction_grace_seconds: For tunnels that a swap denies.
        local_ca: Its CA; by default a throw-away one.
        also_listen: Where it listens besides.
        further: Further arguments of the server.
    """
    stream = cast("TextIO", tempfile.NamedTemporaryFile("w", suffix=".log"))  # noqa: SIM115 - closed below
    log, metrics, book = Log("json", "info", stream), Metrics(), StatusBook()
    reporter = Reporter(log, metrics, book, Observations(clock()))
    table = PolicyTable(rules, unlisted)
    reporter.reload_succeeded(table, clock())
    ca = local_ca or LocalCa.create_in_memory(datetime.now(UTC))
    resolved: list[str] = []

    async def resolve(host: str) -> Sequence[str]:
        resolved.append(host)
        found = addresses.get(host, []) if addresses is not None else []
        return [found] if isinstance(found, str) else found

    server = Server(
        listen=(Authority("127.0.0.1", 0), *also_listen),
        table=table,
        limits=limits or Limits(),
        local_ca=ca,
        reporter=reporter,
        clock=clock,
        eviction_grace_seconds=eviction_grace_seconds,
        resolver=resolve,
        **further,
    )
    server.start()
    try:
        yield RunningProxy(server, server.addresses[0].port, ca, metrics, book, resolved, Path(stream.name))
    finally:
        await server.stop()
        log.close()
        stream.close()
