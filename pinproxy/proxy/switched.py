"""After 101 (Switching Protocols): HTTP has ended, and what comes from either side goes to the other as it is.

> RFC 9110 §15.2.2: The 101 (Switching Protocols) status code indicates that the server understands and is willing to comply with
> the client's request … for a change in the application protocol being used on this connection.
"""

from __future__ import annotations

import asyncio

from pinproxy.errors import Refused, UpstreamClosed
from pinproxy.net.relay import Relay
from pinproxy.net.transport import SocketTransport
from pinproxy.proxy.http_upstream import HttpUpstream
from pinproxy.proxy.live import Slot, Tunnel
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record


class Switched:
    """A client and an origin that speak WebSocket, or whatever else they agreed upon."""

    def __init__(self, proxy: Proxy, slot: Slot, record: Record, upstream: HttpUpstream) -> None:
        """Prepare; `join` begins.

        Args:
            proxy: What the stories share.
            slot: The client's place among the live connections, given up at the end.
            record: Of the request that asked for the switch; told at the end of it all.
            upstream: The connection the 101 came on.
        """
        self._proxy = proxy
        self._slot = slot
        self._record = record
        self._upstream = upstream
        self._relay = Relay(proxy.limits, proxy.deadlines)
        self._tunnel = Tunnel(
            self._relay,
            upstream.authority,
            upstream.upstream,
            proxy.eviction_grace_seconds,
            recall=proxy.reporter.last_good,
        )

    def join(self, client: SocketTransport, rest_up: bytes) -> None:
        """Hand both transports to a relay; what was read beyond the HTTP of either side goes first.

        Args:
            client: The client's transport.
            rest_up: What the client sent behind its request.
        """
        relay, upstream = self._relay, self._upstream
        rest_down = upstream.reader.take_rest()
        for end, transport in ((relay.client, client), (relay.upstream, upstream.transport)):
            end.connection_made(transport)
            transport.set_protocol(end)
        self._slot.carrying = self._tunnel
        # A reload may have come in since the request was sent, when there was no tunnel to review yet.
        self._tunnel.review(self._proxy.policy.table, self._proxy.clock())
        relay.done.add_done_callback(self._ended)
        # Before anything is written, so that a full buffer can pause them again.
        client.resume_reading()
        upstream.transport.resume_reading()
        relay.client.write_first(rest_up)
        relay.upstream.write_first(rest_down)
        if client.has_read_eof:
            relay.client.eof_received()

    def _ended(self, done: asyncio.Future[BaseException | None]) -> None:
        self._record.bytes_up += self._relay.bytes_up
        self._record.bytes_down += self._relay.bytes_down
        refusal: Refused | None = self._tunnel.refusal
        if refusal is None and done.result() is not None and not self._relay.client.has_ended:
            refusal = UpstreamClosed(f"{self._upstream.authority} cut the connection")
        self._record.finish(refusal)
        self._slot.release()
