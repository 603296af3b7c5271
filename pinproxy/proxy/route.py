"""Routes: a local port that leads to one authority, for applications that cannot use a proxy.

  http    The client speaks plain HTTP/1.1 to the port as to an origin. Host becomes the authority, and what the origin says of
          itself (Location, cookies) is rewritten to what the client knows, so that it comes back (`http1.rewriting`).
  tcp     Whatever the client sends goes over a TLS connection that was verified before its first byte was read, and what comes
          back goes to it; ends are passed on both ways.

Both meet the rule of the authority, as it is in force at that moment. A `tcp` client is refused without a word, for its
protocol is not known: its connection is cut, and the log says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pinproxy.authority import Authority
from pinproxy.errors import BadRequest, Refused, TlsHandshakeFailed
from pinproxy.http1.fields import host_field
from pinproxy.http1.head import RequestHead, ResponseHead
from pinproxy.http1.rewriting import rewrite_for_route
from pinproxy.http1.target import TargetForm, request_target
from pinproxy.net.listener import ListenAddress
from pinproxy.net.relay import Relay
from pinproxy.net.transport import SocketTransport
from pinproxy.proxy.connect import ConnectRequest
from pinproxy.proxy.errand import Errand, asked_authority, secured_authority
from pinproxy.proxy.origination import OriginationClient
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record
from pinproxy.proxy.visit import Visit

RouteProtocol = Literal["http", "tcp"]


@dataclass(frozen=True, slots=True)
class Route:
    """A local port that leads to one authority.

    Attributes:
        listen: Where its clients are accepted.
        to: Where it leads; a listed host.
        protocol: What its clients speak.
        alpn: For `tcp`: the application protocols offered, in order; empty: no ALPN extension. One of them must be chosen.
    """

    listen: ListenAddress
    to: Authority
    protocol: RouteProtocol
    alpn: tuple[str, ...] = ()


class NoWords:
    """How a client is answered whose protocol nobody knows: not at all."""

    established = b""

    def refusal(self, refusal: Refused, record: Record) -> bytes:  # noqa: ARG002 - the log has both
        """Say nothing."""
        return b""


NO_WORDS = NoWords()


# --- http ---------------------------------------------------------------------------------------------------------------


async def serve_http_route(visit: Visit, route: Route) -> None:
    """Hand a client over to origination, every request of which goes where the route leads (`proxy.visit.Story`)."""

    def direct(request: RequestHead, proxy: Proxy, record: Record) -> Errand:
        return _errand(request, route, proxy, record)

    client = OriginationClient(visit.proxy, visit.slot, visit.name, direct)
    SocketTransport(visit.client, client, visit.proxy.limits.buffer_bytes)


def _errand(request: RequestHead, route: Route, proxy: Proxy, record: Record) -> Errand:
    record.authority = route.to
    target = request_target(request)
    if target.form is TargetForm.AUTHORITY:
        raise BadRequest(f"this port leads to {route.to} alone and is no proxy; expected a request as to an origin")
    # > RFC 9112 §3.2.2: a server MUST accept the absolute-form in requests even though most HTTP/1.1 clients will only send the
    # > absolute-form to a proxy.
    if target.form is TargetForm.ABSOLUTE and route.to != secured_authority(target) and route.listen != asked_authority(target):
        raise BadRequest(f"{asked_authority(target)} was asked for, and this port leads to {route.to} alone")
    rule = record.rule = proxy.policy.rule_still_for(route.to)
    local = request.get(b"host")

    def rewritten(head: ResponseHead) -> ResponseHead:
        return rewrite_for_route(head, route.to, local)

    return Errand(route.to, rule, target.path, host_field(str(route.to).encode("ascii"), b"https"), rewritten)


# --- tcp ----------------------------------------------------------------------------------------------------------------


async def serve_tcp_route(visit: Visit, route: Route) -> None:
    """Carry a client's bytes to their end (`proxy.visit.Story`).

    Raises:
        Refused: Nothing of the client was read.
    """
    proxy = visit.proxy
    visit.record = record = Record(proxy, visit.name, "route")
    record.authority = route.to
    rule = record.rule = proxy.policy.rule_still_for(route.to)
    upstream = await proxy.open_upstream(route.to, rule, route.alpn, record)
    if route.alpn and upstream.alpn is None:
        upstream.sock.close()
        # What it would take the bytes for is anybody's guess (ALPACA, 2021); libpq asks the same of a direct connection.
        raise TlsHandshakeFailed(f"{route.to} chose none of the route's application protocols ({', '.join(route.alpn)})")
    relay = Relay(proxy.limits, proxy.deadlines)
    SocketTransport(visit.client, relay.client, proxy.limits.buffer_bytes)
    SocketTransport(upstream.sock, relay.upstream, proxy.limits.buffer_bytes).first_read = upstream.keep_session
    request = ConnectRequest(visit.client, route.to, visit.reply, proxy, visit.slot, record)
    request.hand_over(relay, upstream)
