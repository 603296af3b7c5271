"""After 101 (Switching Protocols): HTTP has ended, and what comes from either side goes to the other as it is.

> RFC 9110 §15.2.2: The 101 (Switching Protocols) status code indicates that the server understands and is willing to comply with
> the client's request … for a change in the application protocol being used on this connection.
"""

from __future__ import annotations

from pinproxy.net.relay import Relay
from pinproxy.net.transport import SocketTransport
from pinproxy.proxy.carried import Carried
from pinproxy.proxy.http_upstream import HttpUpstream
from pinproxy.proxy.live import Slot
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
        self._upstream = upstream
        self._relay = Relay(proxy.limits, proxy.deadlines)
        self._carried = Carried(self._relay, upstream.authority, upstream.upstream, proxy, slot, record)

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
        self._carried.begin()
        # Before anything is written, so that a full buffer can pause them again.
        client.resume_reading()
        upstream.transport.resume_reading()
        relay.client.write_first(rest_up)
        relay.upstream.write_first(rest_down)
        if client.has_read_eof:
            relay.client.eof_received()
