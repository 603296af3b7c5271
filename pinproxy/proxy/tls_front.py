"""TLS between clients and the proxy itself (`listen_tls`): ended in front of the story, which then sees a plain socket.

client ==TLS== [ front ] --socket pair-- story, as without TLS
  1. Shake hands; a client that must show a certificate and does not is refused inside the handshake.
  2. Join the TLS connection to one end of a socket pair, and give the story the other. It may peek at it, splice it, or end
     another TLS connection in it (interception), none of which a TLS socket can do.
  3. The client keeps its place among the live connections until what the story said last has gone out.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from pinproxy.errors import BadRequest, DownstreamTlsFailed, Overloaded, Refused
from pinproxy.net.exhaustion import descriptor_needed
from pinproxy.net.handshake import shake_hands_with_client
from pinproxy.net.own_chain import load_own_chain
from pinproxy.net.peek import peek_first_byte
from pinproxy.net.relay import Relay, RelayEnd
from pinproxy.net.transport import SocketTransport
from pinproxy.proxy.connect import AfterEstablished, Reply
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record
from pinproxy.proxy.visit import Story, Visit
from pinproxy.tls.alert import alert, alert_for
from pinproxy.tls.records import ContentType


class AlertReply:
    """How a client that expects TLS is turned away before there is any: by an alert in clear."""

    established = b""

    def refusal(self, refusal: Refused, record: Record) -> bytes:  # noqa: ARG002 - there is no room for an id in one byte
        """Say no."""
        return alert(alert_for(refusal.code))


ALERT = AlertReply()


def front_context(chain_and_key: bytes, client_roots: tuple[bytes, ...] | None) -> ssl.SSLContext:
    """Make the context of the front.

    Args:
        chain_and_key: PEM of our certificate, intermediates and key.
        client_roots: DER of the roots that clients' certificates must end in; None: none is asked for.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Without tickets: each connection shows its certificate anew.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    load_own_chain(context, chain_and_key)
    if client_roots is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=b"".join(client_roots))
    return context


def behind_tls(context: ssl.SSLContext, reply: Reply, story: Story) -> Story:
    """Put a front before a story.

    Args:
        context: From `front_context`.
        reply: How the story's clients are refused until it says otherwise.
        story: Sees a plain socket.
    """

    async def serve(visit: Visit) -> None:
        # 1.
        tls = await _shake_hands(visit, context, reply)
        visit.reply = reply
        # 2. and 3.
        front = _join(tls, visit)
        visit.client, visit.slot.outlived_by = front.story_end, front
        visit.proxy.spawn(front.watch())
        await story(visit)

    return serve


async def _shake_hands(visit: Visit, context: ssl.SSLContext, reply: Reply) -> ssl.SSLSocket:
    limits = visit.proxy.limits
    if await peek_first_byte(visit.client, limits.head_seconds, "ClientHello") != ContentType.HANDSHAKE:
        visit.reply = reply
        raise BadRequest("this listener speaks TLS (listen_tls); use https:// in the proxy URL")
    try:
        return await shake_hands_with_client(visit.client, context, limits.handshake_seconds, "the certificate of `listen_tls`")
    except DownstreamTlsFailed as failure:
        visit.record = Record(visit.proxy, visit.name, "none")
        raise AfterEstablished(failure) from failure


def _join(tls: ssl.SSLSocket, visit: Visit) -> TlsFront:
    try:
        with descriptor_needed("to carry a client's TLS connection with"):
            return TlsFront(tls, visit.proxy)
    except Overloaded as refusal:
        tls.close()
        visit.record = Record(visit.proxy, visit.name, "none")
        raise AfterEstablished(refusal) from refusal


class _StoryEnd(socket.socket):
    """The story's end of the pair. A UNIX socket cannot tell its peer a cut from an end, so the wish for one is remembered."""

    was_cut = False

    def setsockopt(self, level: int, optname: int, *value: Any) -> None:
        """Notice SO_LINGER, by which the transports and relays ask for a reset."""
        if (level, optname) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self.was_cut = True
        super().setsockopt(level, optname, *value)


class TlsFront:
    """A client's TLS connection, joined to a socket pair.

    Attributes:
        story_end: What the story is given.
    """

    def __init__(self, tls: ssl.SSLSocket, proxy: Proxy) -> None:
        """Join them.

        Args:
            tls: Handshake finished.
            proxy: For limits and deadlines.
        """
        ours, theirs = socket.socketpair()
        self.story_end = _StoryEnd(fileno=theirs.detach())
        for end in (ours, self.story_end):
            end.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
        self._relay = Relay(proxy.limits, proxy.deadlines)
        self._relay.upstream = _FromStory(self._relay, self.story_end)
        self._relay.upstream.peer, self._relay.client.peer = self._relay.client, self._relay.upstream
        SocketTransport(tls, self._relay.client, proxy.limits.buffer_bytes)
        SocketTransport(ours, self._relay.upstream, proxy.limits.buffer_bytes)

    async def watch(self) -> None:
        """Wait for the end; cut both sides if this is cancelled."""
        try:
            await asyncio.shield(self._relay.done)
        except asyncio.CancelledError:
            self._relay.abort()
            raise

    def end(self, ended: Callable[[], None]) -> None:
        """Hear that the story is over: send what it said last, then close. `ended` is called when that has happened."""
        self._relay.done.add_done_callback(lambda _done: ended())
        upstream = self._relay.upstream
        if isinstance(upstream, _FromStory) and not self._relay.done.done():
            upstream.story_is_over()


class _FromStory(RelayEnd):
    """What the story says."""

    def __init__(self, relay: Relay, story_end: _StoryEnd) -> None:
        super().__init__(relay)
        self._story_end = story_end
        self._is_story_over = False

    def eof_received(self) -> bool:
        """Pass on an end, a close or a cut as what it was."""
        client = self.peer.transport
        if client is not None and self._story_end.was_cut:
            self.has_ended = True
            client.cut()
            return False
        goes_on = super().eof_received()
        if self._is_story_over:
            self._close()
        return goes_on

    def story_is_over(self) -> None:
        """Close after the last byte: nobody reads what the client might still send."""
        self._is_story_over = True
        if self.has_ended:
            self._close()

    def _close(self) -> None:
        if self.peer.transport is not None:
            self.peer.transport.close()
