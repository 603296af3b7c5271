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

from pinproxy.errors import Refused, TlsHandshakeFailed
from pinproxy.net.handshake import shake_hands_with_client
from pinproxy.net.relay import Relay
from pinproxy.net.transport import SocketTransport
from pinproxy.net.upstream import Upstream
from pinproxy.policy.rule import HostRule
from pinproxy.proxy.alpn_offers import USUAL_OFFER
from pinproxy.proxy.connect import AfterEstablished, ConnectRequest
from pinproxy.proxy.first_flight import read_client_hello, require_sni
from pinproxy.tls.client_hello import ClientHello


async def intercept(request: ConnectRequest, rule: HostRule) -> None:
    """Carry a CONNECT to a listed host; returns once a relay carries it.

    Args:
        request: What the client asked for.
        rule: The rule of its authority.

    Raises:
        Refused: Before the 200; the client can still be answered in its protocol.
        AfterEstablished: After it; the client can be answered by a TLS alert.
    """
    proxy, authority = request.proxy, request.authority
    request.record.mode = "interception"
    # 1.
    upstream = await _open_by_guess(request, rule)
    try:
        # 2.
        await request.establish()
        try:
            # 3.
            hello = await _read_client_hello(request)
            # 4.
            upstream = await _mirror_alpn(upstream, hello, request)
            # 5.
            context = proxy.local_ca.server_context(authority.host, upstream.alpn, proxy.clock())
            tls = await shake_hands_with_client(request.client, context, proxy.limits.handshake_seconds)
        except Refused as refusal:
            raise AfterEstablished(refusal) from refusal
    except BaseException:
        upstream.sock.close()
        raise
    # 6.
    relay = Relay(proxy.limits, proxy.deadlines)
    SocketTransport(tls, relay.client, proxy.limits.buffer_bytes)
    SocketTransport(upstream.sock, relay.upstream, proxy.limits.buffer_bytes).first_read = upstream.keep_session
    request.hand_over(relay, upstream)


async def _open_by_guess(request: ConnectRequest, rule: HostRule) -> Upstream:
    """Open the upstream before the client has said what it speaks."""
    proxy, authority = request.proxy, request.authority
    guess = proxy.alpn_offers.guess(authority)
    try:
        return await proxy.open_upstream(authority, rule, guess, request.record, request.dial)
    except TlsHandshakeFailed:
        # > RFC 7301 §3.2: In the event that the server supports no protocols that the client advertises, then the server SHALL
        # > respond with a fatal "no_application_protocol" alert.
        # Another client's offer must not stand in the way of this one.
        if guess == USUAL_OFFER:
            raise
    proxy.alpn_offers.forget(authority)
    return await proxy.open_upstream(authority, rule, USUAL_OFFER, request.record, request.dial)


async def _read_client_hello(request: ConnectRequest) -> ClientHello:
    hello = (await read_client_hello(request)).hello
    # > RFC 6066 §3: … "HostName" contains the fully qualified DNS hostname of the server, as understood by the client. An address
    # > is not a name, so a client that connects to one sends none.
    if hello.server_name is not None:
        require_sni(hello, request.authority)
    return hello


async def _mirror_alpn(upstream: Upstream, hello: ClientHello, request: ConnectRequest) -> Upstream:
    """Return an upstream that chose as it would have chosen from the client's own offer."""
    proxy = request.proxy
    is_usable = upstream.alpn is None or upstream.alpn in hello.alpn
    if not is_usable or not set(hello.alpn) <= set(upstream.alpn_offered):
        upstream.sock.close()
        upstream = await proxy.open_upstream(upstream.authority, upstream.rule, hello.alpn, request.record, request.dial)
    proxy.alpn_offers.learn(upstream.authority, hello.alpn)
    return upstream
