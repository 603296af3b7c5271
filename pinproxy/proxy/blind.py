"""Blind tunnel: CONNECT to a host that no rule lists, where the operator allows such hosts.

CONNECT 203.0.113.7:443                the client to us
  1. Dial it, to a globally routable address only; say 200.
  2. Let the server's bytes through (some protocols begin with the server), and look at the client's first ones before they go.
  3. A ClientHello that names a listed host brings that host's policy along: the host is dialled again at the address the client
     asked for, and carried like any listed one. CONNECT by address is no way around the pins.
  4. Everything else is none of our business: the kernel moves the bytes.
"""

from __future__ import annotations

from pinproxy.authority import Authority
from pinproxy.errors import NotTls, Refused, SniMismatch
from pinproxy.net.peek import peek_now
from pinproxy.net.socket_relay import SocketRelay
from pinproxy.policy.rule import HostRule
from pinproxy.proxy.connect import AfterEstablished, ConnectRequest
from pinproxy.proxy.first_flight import read_client_hello
from pinproxy.tls.client_hello import parse_client_hello


async def tunnel_blindly(request: ConnectRequest) -> HostRule | None:
    """Carry a CONNECT to an unlisted host.

    Returns:
        None once a relay carries it; or the rule of the listed host that its ClientHello names: the request then stands for that
        host, at the address the client asked for, and nothing was carried yet.

    Raises:
        Refused: Before the 200; the client can still be answered in its protocol.
        AfterEstablished: After it; the client can be answered by a TLS alert.
    """
    proxy, record = request.proxy, request.record
    record.mode = "blind"
    asked = request.authority
    # 1.
    server = await proxy.opener.open_plain(asked, record)
    try:
        await request.establish()
    except BaseException:
        server.close()
        raise
    # 2.
    relay = SocketRelay(request.client, server, proxy.limits, proxy.deadlines, proxy.pipes)
    relay.start_down()
    try:
        rule = await _rule_by_first_bytes(request, relay)
        if rule is not None:
            request.dial = proxy.opener.dial_override_of(asked, server)
    except BaseException as error:
        relay.release()
        server.close()
        if isinstance(error, Refused):
            raise AfterEstablished(error) from error
        raise
    # 3.
    if rule is not None:
        relay.release()
        server.close()
        return rule
    # 4.
    relay.start()
    request.hand_over(relay, None)
    return None


async def _rule_by_first_bytes(request: ConnectRequest, relay: SocketRelay) -> HostRule | None:
    """Wait for the client's first bytes; find the rule of the host they name, if they name a listed one."""
    seen = None
    while seen is None:
        await relay.wait_for_client()
        if relay.done.done():
            return None
        seen = peek_now(request.client)
    if not seen:
        return None
    try:
        hello = parse_client_hello(seen) or (await read_client_hello(request)).hello
    except NotTls:
        return None
    if hello.server_name is None or relay.done.done():
        return None
    authority = Authority(hello.server_name, request.authority.port)
    rule = request.proxy.policy.table.lookup(authority)
    if rule is None:
        # Refuses where the host is listed, only not for this port.
        request.proxy.policy.rule_for(authority)
        request.named = authority
        return None
    if relay.bytes_down:
        # No TLS server speaks first; what came was not verified, and must not be followed by something that was.
        raise SniMismatch(f"{request.authority} spoke before the client named the listed host {authority.host}")
    request.authority = request.record.authority = authority
    request.record.rule = rule
    return rule
