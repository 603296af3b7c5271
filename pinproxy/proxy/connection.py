"""One client connection: look at its first bytes, decide who serves it, answer it if nobody does.

1. Within `limits.head_seconds`, see enough to know what the client speaks. Only looked at: what it is stays in the socket.
2. CONNECT: read its head, and not one byte more; find the rule; `proxy.interception`, `proxy.tunnel` or `proxy.blind` carries it.
3. Anything else is HTTP: `proxy.origination` reads it from its first byte.
4. A refusal before the 200 is an HTTP answer, one after it a TLS alert (RFC 8446 §6.2): the two words a client can read.
"""

from __future__ import annotations

import asyncio
import socket

from pinproxy.authority import Authority, parse_authority
from pinproxy.errors import (
    BadRequest,
    ClientClosed,
    DownstreamTlsFailed,
    Draining,
    HeadTimeout,
    InternalError,
    Overloaded,
    Refused,
)
from pinproxy.http1.head import parse_request_head
from pinproxy.http1.target import request_target
from pinproxy.net.lingering_close import LingeringClose
from pinproxy.net.peek import peek_at_least, read_head
from pinproxy.net.transport import SocketTransport
from pinproxy.net.upstream import format_address
from pinproxy.proxy.blind import tunnel_blindly
from pinproxy.proxy.connect import AfterEstablished, ConnectRequest
from pinproxy.proxy.interception import intercept
from pinproxy.proxy.live import Slot
from pinproxy.proxy.origination import OriginationClient, refusal_bytes
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record
from pinproxy.proxy.tunnel import tunnel
from pinproxy.tls.alert import alert, alert_for

_CONNECT = b"CONNECT "
_SOCKS5 = 0x05  # RFC 1928 §3
_TLS_HANDSHAKE = 0x16  # RFC 8446 §5.1
# Refusals in flight beyond the limit: enough to answer a burst, too few to matter.
_OVERLOAD_ANSWERS = 256


class HttpReply:
    """Answers to CONNECT."""

    established = b"HTTP/1.1 200 Connection established\r\n\r\n"

    def refusal(self, refusal: Refused, record: Record) -> bytes:
        """Answer with a status, a reason and a problem document."""
        return refusal_bytes(refusal, record)


HTTP = HttpReply()


def accept(client: socket.socket, proxy: Proxy) -> None:
    """Take an accepted socket: begin its story, or answer 503 without reading a byte."""
    if proxy.is_draining or len(proxy.live) >= proxy.limits.connections:
        _turn_away(client, proxy)
        return
    slot = proxy.live.add()
    slot.task = proxy.spawn(_serve(client, proxy, slot))


def _turn_away(client: socket.socket, proxy: Proxy) -> None:
    record = Record(proxy, _peer_name(client), "none")
    refusal: Refused
    if proxy.is_draining:
        refusal = Draining("the proxy is shutting down and takes no new connection")
    else:
        refusal = Overloaded(f"{proxy.limits.connections} clients are connected (limits.connections)")
    record.finish(refusal)
    if len(proxy.live) >= proxy.limits.connections + _OVERLOAD_ANSWERS:
        client.close()
        return
    _answer(client, refusal_bytes(refusal, record), proxy, proxy.live.add())


async def _serve(client: socket.socket, proxy: Proxy, slot: Slot) -> None:
    """Carry a client's connection to its end, or hand it over to a protocol that will."""
    name = _peer_name(client)
    record: Record | None = None
    try:
        # 1.
        speaks_connect = await _speaks_connect(client, proxy)
        if not speaks_connect:
            # 3.
            SocketTransport(client, OriginationClient(proxy, slot, name), proxy.limits.buffer_bytes)
            return
        # 2.
        record = Record(proxy, name, "none")
        record.method = "CONNECT"
        record.authority = authority = await _read_connect(client, proxy)
        await carry(ConnectRequest(client, authority, HTTP, proxy, slot, record))
    # 4.
    except AfterEstablished as after:
        _finish(record, after.refusal)
        if not isinstance(after.refusal, DownstreamTlsFailed | ClientClosed):
            _answer(client, alert(alert_for(after.refusal.code)), proxy, slot)
            return
    except Refused as refusal:
        record = record or Record(proxy, name, "none")
        record.finish(refusal)
        if not isinstance(refusal, ClientClosed):
            _answer(client, refusal_bytes(refusal, record), proxy, slot)
            return
    except asyncio.CancelledError:
        _finish(record, Draining("the proxy ended before the connection did"))
        _hang_up(client, slot)
        raise
    except OSError:
        _finish(record, ClientClosed("the client reset the connection"))
    except Exception as error:  # noqa: BLE001 - the boundary of this task: log, refuse, close
        proxy.report_defect("serving a client failed", error)
        _finish(record, InternalError("serving the client failed; the log has the details"))
    _hang_up(client, slot)


def _hang_up(client: socket.socket, slot: Slot) -> None:
    client.close()
    slot.release()


async def _speaks_connect(client: socket.socket, proxy: Proxy) -> bool:
    """Tell CONNECT from other HTTP, and refuse what is neither."""
    try:
        async with asyncio.timeout(proxy.limits.head_seconds):
            first = await peek_at_least(client, 1)
            while len(first) < len(_CONNECT) and _CONNECT.startswith(first) and first:
                seen = len(first)
                first = await peek_at_least(client, seen + 1)
                if len(first) == seen:
                    break
    except TimeoutError as error:
        raise HeadTimeout(f"no request within {proxy.limits.head_seconds:g} s") from error
    if not first:
        raise ClientClosed("the client closed the connection without a request")
    if first[0] == _SOCKS5:
        raise BadRequest("this looks like SOCKS5; expected an HTTP proxy request")
    if first[0] == _TLS_HANDSHAKE:
        raise BadRequest("this looks like TLS; expected an HTTP proxy request in clear: use http:// in the proxy URL")
    return first.startswith(_CONNECT)


async def _read_connect(client: socket.socket, proxy: Proxy) -> Authority:
    try:
        async with asyncio.timeout(proxy.limits.head_seconds):
            head = parse_request_head(await read_head(client, proxy.limits.head_bytes))
    except TimeoutError as error:
        raise HeadTimeout(f"no whole request head within {proxy.limits.head_seconds:g} s") from error
    if proxy.is_draining:
        raise Draining("the proxy is shutting down and opens no new tunnel")
    target = request_target(head)
    # > RFC 9112 §3.2.3: … the client MUST send the authority-form … consisting of only the uri-host and port number.
    return parse_authority(target.authority.decode("ascii"))


async def carry(request: ConnectRequest) -> None:
    """Have the story that the rule asks for carry a request; returns when it has ended.

    Raises:
        Refused: The client can still be answered in the protocol it asked in.
        AfterEstablished: The client was told that the way is open, and can be answered by a TLS alert.
    """
    request.record.rule = rule = request.proxy.policy.rule_for(request.authority)
    if rule is None:
        rule = await tunnel_blindly(request)
    if rule is None:
        return
    try:
        if rule.connect == "tunnel":
            await tunnel(request, rule)
        else:
            await intercept(request, rule)
    except Refused as refusal:
        if request.is_established:
            raise AfterEstablished(refusal) from refusal
        raise


def _finish(record: Record | None, refusal: Refused) -> None:
    if record is not None:
        record.finish(refusal)


def _answer(client: socket.socket, answer: bytes, proxy: Proxy, slot: Slot) -> None:
    """Give a last word and close in stages, so that it is read: an unread ClientHello would turn the end into a reset."""
    farewell = LingeringClose(slot.release)
    transport = SocketTransport(client, farewell, proxy.limits.buffer_bytes)
    transport.write(answer)
    farewell.take_over(transport)


def _peer_name(client: socket.socket) -> str:
    try:
        return format_address(client.getpeername())
    except OSError:
        return "gone"
