"""A route on a small stage: one origin, the real proxy, and a local port that leads from one to the other."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from pinproxy.authority import Authority
from pinproxy.net.listener import ListenAddress
from pinproxy.net.unix_socket import UnixAddress
from pinproxy.proxy.route import Route, RouteProtocol
from tests.harness.origin import Contexts, Handler, Origin, running_origin
from tests.harness.originating import certificates
from tests.harness.pki import Issued, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

_SECONDS = 10.0
ANY_PORT = Authority("127.0.0.1", 0)
_TO = Authority(HOST, 443)


@dataclass(frozen=True)
class RouteStage:
    """A running origin behind a running route.

    Attributes:
        address: Where the route's clients connect to.
    """

    origin: Origin
    proxy: RunningProxy
    address: ListenAddress

    def connect(self) -> socket.socket:
        """Connect to the route; blocking."""
        return connect_to(self.address)

    @property
    def local(self) -> str:
        """Host and port as a client of the route writes them."""
        assert isinstance(self.address, Authority)
        return str(self.address)


def connect_to(address: ListenAddress) -> socket.socket:
    """Connect to a port or to a path; blocking."""
    if isinstance(address, UnixAddress):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(_SECONDS)
        sock.connect(str(address.path))
        return sock
    return socket.create_connection(address, timeout=_SECONDS)


@contextlib.asynccontextmanager
async def running_route(
    protocol: RouteProtocol,
    handler: Handler | None = None,
    *,
    context: Contexts = None,
    pinned: Issued | None = None,
    listen: ListenAddress = ANY_PORT,
    to: Authority = _TO,
    alpn: tuple[str, ...] = (),
    gate: asyncio.Event | None = None,
    rule: dict[str, Any] | None = None,
    **further: Any,
) -> AsyncIterator[RouteStage]:
    """Run an origin, and a proxy with one route to it.

    Args:
        protocol: Of the route.
        handler: Speaks for the origin.
        context: TLS of the origin; None: that of `certificates`.
        pinned: Whose key the rule pins; None: the leaf of `certificates`.
        listen: Where the route listens.
        to: Where it leads.
        alpn: Offered by the route.
        gate: If set, the origin's handshakes wait for it.
        rule: Further fields of the rule.
        further: For `running_proxy`.
    """
    root, leaf = certificates()
    route = Route(listen, to, protocol, alpn)
    async with running_origin(context or server_context(leaf), handler, gate=gate) as origin:
        entry = host_rule([(pinned or leaf).pin], root.anchors, port=origin.port, **(rule or {}))
        async with running_proxy(entry, routes=(route,), **further) as proxy:
            yield RouteStage(origin, proxy, proxy.server.route_addresses[0])
