"""A client that asked for a way to an authority, by CONNECT or SOCKS5: what the stories that may carry it have in common.

1. The story tells the client that the way is open (`ConnectRequest.establish`), never before what it must verify is verified.
2. A refusal is said in the words of the client's protocol before that (`Reply`), by a TLS alert after it (`AfterEstablished`).
3. A relay carries what follows, and outlives the story (`ConnectRequest.hand_over`, `proxy.carried`).

Which story it is, `proxy.carry` decides.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Protocol

from pinproxy.authority import Authority
from pinproxy.errors import Refused
from pinproxy.net.client_words import tell_client
from pinproxy.net.upstream import Upstream
from pinproxy.policy.rule import DialOverride
from pinproxy.proxy.carried import Carried, Relaying
from pinproxy.proxy.live import Slot
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
            await tell_client(self.client, self.reply.established)
            self.is_established = True

    def hand_over(self, relay: Relaying, upstream: Upstream | None) -> None:
        """Have a relay carry the rest, to its end.

        Args:
            relay: Carries the bytes; owns the sockets.
            upstream: The verification it rests on; None: there was none to rest on.
        """
        Carried(relay, self.authority, upstream, self.proxy, self.slot, self.record, self.named).begin()
