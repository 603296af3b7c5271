"""A client that asked for a way to an authority, by CONNECT or SOCKS5: who carries it, and how it ends.

1. Find the rule. A listed host is carried by interception or tunnel, as its rule says; an unlisted one, where those are allowed,
   by a blind tunnel.
2. The story tells the client that the way is open (`ConnectRequest.establish`), never before what it must verify is verified.
3. Wait for the end of what carries it, and tell the record.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Protocol

from pinproxy.authority import Authority
from pinproxy.errors import Refused, UpstreamClosed
from pinproxy.net.readiness import send_all
from pinproxy.net.upstream import Upstream
from pinproxy.policy.rule import DialOverride
from pinproxy.proxy.live import Relaying, Slot, Tunnel
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record


class Reply(Protocol):
    """How a client is answered in the protocol it asked in."""

    established: bytes
    """What says that the way is open."""

    def refusal(self, refusal: Refused, record: Record) -> bytes:
        """Say that it is not, and why."""


class AfterEstablished(Exception):
    """A refusal after the way was called open, when the client expects TLS and no other answer any more."""

    def __init__(self, refusal: Refused) -> None:
        """Keep the refusal."""
        super().__init__(str(refusal))
        self.refusal = refusal


@dataclass(slots=True)
class ConnectRequest:
    """What a story needs to carry a client's CONNECT.

    Attributes:
        client: The accepted socket, the request read and nothing beyond it. Whoever carries the traffic owns it.
        authority: What the client asked for; becomes the listed host where its ClientHello names one.
        reply: How it is answered.
        proxy: What the stories share.
        slot: The client's place among the live connections.
        record: Becomes the log line.
        dial: Where the client insists on connecting to, as in CONNECT to an address; None: wherever the host is.
        is_established: Whether the client was told that the way is open.
        named: The host that the ClientHello of a blind tunnel names, unlisted as well: a reload may list it.
    """

    client: socket.socket
    authority: Authority
    reply: Reply
    proxy: Proxy
    slot: Slot
    record: Record
    dial: DialOverride | None = None
    is_established: bool = False
    named: Authority | None = None

    async def establish(self) -> None:
        """Tell the client, the first time, that the way is open."""
        if not self.is_established:
            await send_all(self.client, self.reply.established)
            self.is_established = True

    async def carry_to_the_end(self, relay: Relaying, upstream: Upstream | None) -> None:
        """Wait until a relay has ended, watched over for reloads, and finish the record.

        Args:
            relay: Carries the bytes; owns the sockets.
            upstream: The verification it rests on; None: there was none to rest on.
        """
        proxy, record = self.proxy, self.record
        try:
            recall, grace = proxy.reporter.last_good, proxy.eviction_grace_seconds
            tunnel = Tunnel(relay, self.authority, upstream, grace, self.named, recall)
            self.slot.carrying = tunnel
            # A reload may have come in during the handshake, when there was no tunnel to review yet.
            tunnel.review(proxy.policy.table, proxy.clock())
            error = await relay.done
        except BaseException:
            # Cancelled, or a defect: a relay that nobody watches over must not go on, nor its sockets be closed under it.
            relay.abort()
            raise
        finally:
            record.bytes_up += relay.bytes_up
            record.bytes_down += relay.bytes_down
        if tunnel.refusal is not None:
            record.finish(tunnel.refusal)
        elif isinstance(error, Refused):
            record.finish(error)
        elif error is not None and not relay.has_client_ended:
            record.finish(UpstreamClosed(f"{self.authority} cut the connection"))
        else:
            record.finish()
