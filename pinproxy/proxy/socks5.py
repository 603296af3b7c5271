"""SOCKS5 (RFC 1928): a client that asks for a way in binary; from there on it is carried like a CONNECT.

  1. The client says which methods of authentication it can; we choose one. Where nobody must authenticate, that is none.
  2. Username and password (RFC 1929), where the operator asks for them.
  3. The client says where to. A name is resolved here, after its rule was found: the client needs no DNS of its own, and a name
     that is written as an address is one.
  4. The way is opened and verified first; the reply says that it is open, or in one byte why not.

Each message is taken out of the socket to its last byte and no further: what follows in the same segment is the client's TLS.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

from pinproxy.authority import Authority
from pinproxy.errors import AuthRequired, BadRequest, ClientClosed, Draining, HeadTimeout, Refused
from pinproxy.net.client_words import take_from_client, tell_client
from pinproxy.net.readiness import wait_readable
from pinproxy.net.time_limit import time_limit
from pinproxy.proxy.carry import carry
from pinproxy.proxy.connect import ConnectRequest
from pinproxy.proxy.record import Record
from pinproxy.proxy.visit import Visit
from pinproxy.socks5.messages import (
    NO_AUTHENTICATION,
    USERNAME_PASSWORD,
    credentials_bytes,
    greeting_bytes,
    parse_credentials,
    parse_greeting,
    parse_request,
    request_bytes,
)
from pinproxy.socks5.replies import (
    CREDENTIALS_ACCEPTED,
    CREDENTIALS_REFUSED,
    NO_ACCEPTABLE_METHOD,
    ReplyCode,
    method_selection,
    reply,
    reply_code,
)

Authenticate = Callable[[bytes, bytes], Awaitable[bool]]
"""Tells whether a username and password, both UTF-8, are somebody's."""


class Socks5Reply:
    """Answers to a SOCKS5 client; which words there are depends on the message that was asked last.

    Attributes:
        no: What says no to that message; None: it is the request, and the reply to it names a reason.
    """

    established = reply(ReplyCode.SUCCEEDED)

    def __init__(self) -> None:
        """Begin at the greeting."""
        self.no: bytes | None = NO_ACCEPTABLE_METHOD

    def refusal(self, refusal: Refused, record: Record) -> bytes:  # noqa: ARG002 - there is no room for an id in one byte
        """Say no."""
        return reply(reply_code(refusal)) if self.no is None else self.no


async def serve_socks5(visit: Visit, seconds_left: float, authenticate: Authenticate | None = None) -> None:
    """Carry a SOCKS5 client's connection to its end.

    Args:
        visit: The client; nothing of it was read.
        seconds_left: What is left of `limits.head_seconds`.
        authenticate: Decides who may pass; None: nobody is asked.

    Raises:
        Refused: The client can still be answered in its protocol.
        AfterEstablished: The client was told that the way is open, and can be answered by a TLS alert.
    """
    proxy, seconds = visit.proxy, visit.proxy.limits.head_seconds
    visit.record = record = Record(proxy, visit.name, "none")
    record.method = "SOCKS5"
    visit.reply = words = Socks5Reply()
    try:
        # A total over all messages, against slow senders.
        with time_limit(seconds_left):
            # 1. and 2.
            record.user = await _agree_on_method(visit.client, words, authenticate)
            # 3.
            words.no = None
            record.authority = authority = await _read_request(visit.client)
    except TimeoutError as error:
        raise HeadTimeout(f"no whole SOCKS5 request within {seconds:g} s") from error
    if proxy.is_draining:
        raise Draining("the proxy is shutting down and opens no new tunnel")
    # 4.
    visit.request = ConnectRequest(visit.client, authority, words, proxy, visit.slot, record)
    await carry(visit.request)


async def _agree_on_method(client: socket.socket, words: Socks5Reply, authenticate: Authenticate | None) -> str | None:
    offered = parse_greeting(await _read_message(client, greeting_bytes))
    if authenticate is None:
        if NO_AUTHENTICATION not in offered:
            raise BadRequest("the SOCKS5 client does not offer to go without authentication, and there is none here to be had")
        await tell_client(client, method_selection(NO_AUTHENTICATION))
        return None
    # > RFC 1928 §3: If the selected METHOD is X'FF', none of the methods listed by the client are acceptable, and the client MUST
    # > close the connection.
    if USERNAME_PASSWORD not in offered:
        raise AuthRequired("the SOCKS5 client does not offer username and password (RFC 1929), which this listener asks for")
    await tell_client(client, method_selection(USERNAME_PASSWORD))
    words.no = CREDENTIALS_REFUSED
    credentials = parse_credentials(await _read_message(client, credentials_bytes))
    if not await authenticate(credentials.username.encode("utf-8"), credentials.password.encode("utf-8")):
        raise AuthRequired("the SOCKS5 client's username or password is wrong")
    await tell_client(client, CREDENTIALS_ACCEPTED)
    return credentials.username


async def _read_request(client: socket.socket) -> Authority:
    return parse_request(await _read_message(client, request_bytes))


async def _read_message(client: socket.socket, length_of: Callable[[bytes], int]) -> bytes:
    """Take one message out of the socket, and not one byte more."""
    message = b""
    while missing := length_of(message) - len(message):
        try:
            piece = take_from_client(client, missing)
        except BlockingIOError:
            await wait_readable(client)
            continue
        if not piece:
            raise ClientClosed("the client closed the connection inside a SOCKS5 message")
        message += piece
    return message
