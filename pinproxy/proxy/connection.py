"""One client of the proxy port: look at its first bytes, and decide who serves it.

1. See enough to know what the client speaks. Only looked at: what it is stays in the socket. `limits.head_seconds` are for this
   and for the rest of the head together.
2. SOCKS5: `proxy.socks5` asks where to.
3. CONNECT: read its head, and not one byte more; `proxy.carry` knows who carries it.
4. Anything else is HTTP: `proxy.origination` reads it from its first byte.
"""

from __future__ import annotations

import asyncio
import re
import socket
from enum import Enum, auto
from functools import lru_cache

from pinproxy.authority import parse_authority
from pinproxy.errors import BadRequest, ClientClosed, Draining, HeadTimeout
from pinproxy.http1.connection import connection_options
from pinproxy.http1.framing import request_framing
from pinproxy.http1.head import RequestHead, parse_request_head
from pinproxy.http1.target import request_target
from pinproxy.net.peek import peek_at_least, peek_now, read_head, take_seen_head
from pinproxy.net.time_limit import time_limit
from pinproxy.net.transport import SocketTransport
from pinproxy.proxy.carry import carry
from pinproxy.proxy.connect import ConnectRequest
from pinproxy.proxy.origination import OriginationClient
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record
from pinproxy.proxy.socks5 import serve_socks5
from pinproxy.proxy.visit import Visit
from pinproxy.tls.records import ContentType

_CONNECT = b"CONNECT "
_SOCKS5 = 0x05  # RFC 1928 §3
_REMEMBERED_BYTES = 512  # five fields; 256 of them with what is read from them are half a megabyte
_SECRET = re.compile(rb"authorization|cookie", re.IGNORECASE)


class Opening(Enum):
    """How a client begins."""

    SOCKS5 = auto()
    CONNECT = auto()
    HTTP = auto()


async def serve_proxy_client(visit: Visit) -> None:
    """Carry a client's connection to its end, or hand it over to the protocol that will (`proxy.visit.Story`)."""
    # 1.
    first, seconds_left = await _first_bytes(visit.client, visit.proxy.limits.head_seconds)
    opening = _opening(first)
    if opening is Opening.SOCKS5:
        # 2.
        client_auth = visit.proxy.client_auth
        await serve_socks5(visit, seconds_left, client_auth.verify if client_auth is not None else None)
    elif opening is Opening.CONNECT:
        # 3.
        visit.request = await _read_request(visit, first, seconds_left)
        # The client may be silent for an hour from here on, and nobody needs what it said first.
        del first
        await carry(visit.request)
    else:
        # 4.
        client = OriginationClient(visit.proxy, visit.slot, visit.name)
        SocketTransport(visit.client, client, visit.proxy.limits.buffer_bytes)
        client.expect_within(seconds_left)


async def _first_bytes(client: socket.socket, seconds: float) -> tuple[bytes, float]:
    """Wait until enough is there to tell what the client speaks, and leave it there; tell also how much of the time is left."""
    # Most clients have said it by the time they are accepted, and need no limit.
    first = peek_now(client)
    if first is not None and len(first) >= len(_CONNECT):
        return first, seconds
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    try:
        with time_limit(seconds):
            first = await peek_at_least(client, 1)
            while len(first) < len(_CONNECT) and _CONNECT.startswith(first) and first:
                seen = len(first)
                first = await peek_at_least(client, seen + 1)
                if len(first) == seen:
                    break
    except TimeoutError as error:
        raise HeadTimeout(f"no request within {seconds:g} s") from error
    if not first:
        raise ClientClosed("the client closed the connection without a request")
    return first, max(deadline - loop.time(), 0.0)


def _opening(first: bytes) -> Opening:
    """Tell SOCKS5 from CONNECT from other HTTP, and refuse what is neither."""
    if first[0] == _SOCKS5:
        return Opening.SOCKS5
    if first[0] == ContentType.HANDSHAKE:
        raise BadRequest("this looks like TLS; expected an HTTP proxy request in clear: use http:// in the proxy URL")
    return Opening.CONNECT if first.startswith(_CONNECT) else Opening.HTTP


async def _read_request(visit: Visit, seen: bytes, seconds_left: float) -> ConnectRequest:
    visit.record = record = Record(visit.proxy, visit.name, "none")
    record.method = "CONNECT"
    head = await _read_connect(visit.client, seen, seconds_left, visit.proxy)
    if visit.proxy.client_auth is not None:
        record.user = await visit.proxy.client_auth.demand(head)
    # > RFC 9112 §3.2.3: … the client MUST send the authority-form … consisting of only the uri-host and port number.
    record.authority = authority = parse_authority(request_target(head).authority.decode("ascii"))
    visit.proxy.refuse_loop(head)
    record.received_via = head.get_all(b"via")
    return ConnectRequest(visit.client, authority, visit.reply, visit.proxy, visit.slot, record)


def parse_connect_head(raw: bytes) -> RequestHead:
    """Parse a head, or remember it: a client asks for the same few ways again and again, in the same words.

    The head is a pure function of its bytes, and so is what is read from it. One with a secret in it is not kept.

    Raises:
        BadRequest, HeadTooLarge: As `http1.head.parse_request_head`.
    """
    if len(raw) > _REMEMBERED_BYTES or _SECRET.search(raw):
        return parse_request_head(raw)
    return _parse_and_remember(raw)


_parse_and_remember = lru_cache(maxsize=256)(parse_request_head)


async def _read_connect(client: socket.socket, seen: bytes, seconds_left: float, proxy: Proxy) -> RequestHead:
    limits = proxy.limits
    raw = take_seen_head(client, seen, limits.head_bytes)
    if raw is None:
        try:
            with time_limit(seconds_left):
                raw = await read_head(client, limits.head_bytes)
        except TimeoutError as error:
            raise HeadTimeout(f"no whole request head within {limits.head_seconds:g} s") from error
    head = parse_connect_head(raw)
    # > RFC 9110 §9.3.6: A CONNECT request message does not have content. One that declares some, or whose Connection field cannot
    # be read, means different things to different readers.
    request_framing(head)
    connection_options(head)
    if proxy.is_draining:
        raise Draining("the proxy is shutting down and opens no new tunnel")
    return head
