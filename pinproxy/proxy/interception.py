"""Interception: CONNECT, the client's TLS ended here, a pinned TLS connection to the origin behind it.

CONNECT api.example.com:443            the client to us
  1. Open and verify the upstream: chain, name, dates, pins. A client is told `200` only after that.
  2. Say 200.
  3. Look at the client's ClientHello, and leave it where it is: its server name must be the host of the CONNECT.
  4. Mirror ALPN: both sides speak the same protocol, byte for byte. If the client does not offer what the origin chose, the
     origin is asked again, with the client's own offer, and verified again.
  5. End the client's TLS with a leaf of our local CA for the host. It is minted only now: never for a host that failed.
  6. Carry bytes both ways until both directions have ended.
"""

from __future__ import annotations

import asyncio
import socket

from pinproxy.authority import Authority
from pinproxy.errors import NotTls, Refused, SniMismatch, UpstreamClosed
from pinproxy.net.handshake import shake_hands_with_client
from pinproxy.net.peek import peek_client_hello
from pinproxy.net.readiness import send_all
from pinproxy.net.relay import Relay
from pinproxy.net.transport import SocketTransport
from pinproxy.net.upstream import Upstream
from pinproxy.policy.rule import HostRule
from pinproxy.proxy.live import Slot, Tunnel
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record
from pinproxy.tls.client_hello import ClientHello

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
# What most clients offer, in their order; the last offer seen for an authority is tried before this.
_USUAL_OFFER = ("h2", "http/1.1")


class AfterEstablished(Exception):
    """A refusal after the 200, when the client expects TLS and no HTTP answer any more."""

    def __init__(self, refusal: Refused) -> None:
        """Keep the refusal."""
        super().__init__(str(refusal))
        self.refusal = refusal


async def intercept(
    client: socket.socket, authority: Authority, rule: HostRule, proxy: Proxy, slot: Slot, record: Record
) -> None:
    """Carry one CONNECT to a listed host; returns when it has ended.

    Args:
        client: The accepted socket, the CONNECT head read and nothing beyond it. Closed in the end, unless a refusal is raised.
        authority: What the client asked for.
        rule: Its rule.
        proxy: What the stories share.
        slot: The client's place among the live connections.
        record: Becomes the log line.

    Raises:
        Refused: Before the 200; the client can still be answered in HTTP.
        AfterEstablished: After it; the client can be answered by a TLS alert.
    """
    # 1.
    upstream = await proxy.open_upstream(authority, rule, proxy.alpn_offer(authority, _USUAL_OFFER), record)
    try:
        # 2.
        await send_all(client, ESTABLISHED)
        try:
            # 3.
            hello = await _read_client_hello(client, authority, proxy)
            # 4.
            upstream = await _mirror_alpn(upstream, hello, proxy, record)
            # 5.
            context = proxy.local_ca.server_context(authority.host, upstream.alpn, proxy.clock())
            tls = await shake_hands_with_client(client, context, proxy.limits.handshake_seconds)
        except Refused as refusal:
            raise AfterEstablished(refusal) from refusal
    except BaseException:
        upstream.sock.close()
        raise
    # 6.
    await _carry(tls, upstream, proxy, slot, record)


async def _read_client_hello(client: socket.socket, authority: Authority, proxy: Proxy) -> ClientHello:
    try:
        async with asyncio.timeout(proxy.limits.head_seconds):
            hello = (await peek_client_hello(client)).hello
    except TimeoutError as error:
        raise NotTls(f"no ClientHello for {authority} within {proxy.limits.head_seconds:g} s") from error
    # > RFC 6066 §3: … "HostName" contains the fully qualified DNS hostname of the server, as understood by the client. An address
    # > is not a name, so a client that connects to one sends none.
    if hello.server_name is not None and hello.server_name != authority.host:
        raise SniMismatch(f"the ClientHello names {hello.server_name}, the CONNECT names {authority.host}")
    return hello


async def _mirror_alpn(upstream: Upstream, hello: ClientHello, proxy: Proxy, record: Record) -> Upstream:
    """Return an upstream that chose as it would have chosen from the client's own offer."""
    proxy.remember_alpn_offer(upstream.authority, hello.alpn)
    is_usable = upstream.alpn is None or upstream.alpn in hello.alpn
    if is_usable and set(hello.alpn) <= set(upstream.alpn_offered):
        return upstream
    upstream.sock.close()
    return await proxy.open_upstream(upstream.authority, upstream.rule, hello.alpn, record)


async def _carry(tls: socket.socket, upstream: Upstream, proxy: Proxy, slot: Slot, record: Record) -> None:
    relay = Relay(proxy.limits, proxy.deadlines)
    SocketTransport(tls, relay.client, proxy.limits.buffer_bytes)
    SocketTransport(upstream.sock, relay.upstream, proxy.limits.buffer_bytes)
    slot.carrying = tunnel = Tunnel(relay, upstream.authority, upstream, proxy.eviction_grace_seconds)
    # A reload may have come in while the client shook hands, when there was no tunnel to review yet.
    tunnel.review(proxy.policy.table, proxy.clock())
    try:
        error = await relay.done
    except asyncio.CancelledError:
        relay.abort()
        raise
    finally:
        record.bytes_up, record.bytes_down = relay.bytes_up, relay.bytes_down
    if tunnel.refusal is not None:
        record.finish(tunnel.refusal)
    elif error is not None and not relay.client.has_ended:
        record.finish(UpstreamClosed(f"{upstream.authority} cut the connection"))
    else:
        record.finish()
