"""Reading the first bytes of a client without reading too far.

A CONNECT head is followed by bytes that belong to somebody else: the TLS library, or the kernel's splice. They must still be
in the socket when that somebody looks, also when they came in the same segment as the head. So nothing is taken out of the
socket that is not known to belong to the head.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from pinproxy.errors import ClientClosed, ClientHelloInvalid, HeadTimeout, HeadTooLarge
from pinproxy.net.client_words import take_from_client
from pinproxy.net.exhaustion import descriptor_needed
from pinproxy.net.readiness import Arrivals, has_peer_ended, wait_readable
from pinproxy.net.time_limit import time_limit
from pinproxy.tls.client_hello import MAX_CLIENT_HELLO_BYTES, ClientHello, ClientHelloReader

_HEAD_END = b"\r\n\r\n"
_PEEK_BYTES = 16 * 1024


def peek_now(sock: socket.socket, limit: int = _PEEK_BYTES) -> bytes | None:
    """See what is there without waiting; None: nothing yet; nothing in it: the client has ended its direction.

    Raises:
        ClientClosed: It is gone.
    """
    try:
        return take_from_client(sock, limit, socket.MSG_PEEK)
    except BlockingIOError:
        return None


async def peek_at_least(sock: socket.socket, count: int, limit: int = _PEEK_BYTES) -> bytes:
    """Wait until `count` bytes can be peeked at.

    Returns:
        At least `count` bytes, at most `limit`; fewer only where the client has ended its direction.

    Raises:
        ClientClosed: It is gone.
        Overloaded: No descriptor is left to wait with.
    """
    # Most of the time it is there already, and nothing has to be set up to wait for it.
    seen = peek_now(sock, limit)
    if seen is not None and (len(seen) >= count or not seen):
        return seen
    return await _peek_in_time(sock, count, limit)


async def peek_first_byte(sock: socket.socket, seconds: float, awaited: str) -> int:
    """Wait for the first byte of what a client says next, and leave it there.

    Args:
        sock: The client's.
        seconds: For the wait.
        awaited: What the byte is to begin, for the message.

    Raises:
        HeadTimeout: Nothing came in time.
        ClientClosed: The client ended its direction, or is gone.
    """
    try:
        with time_limit(seconds):
            first = await peek_at_least(sock, 1)
    except TimeoutError as error:
        raise HeadTimeout(f"no {awaited} within {seconds:g} s") from error
    if not first:
        raise ClientClosed("the client closed the connection without a request")
    return first[0]


async def _peek_in_time(sock: socket.socket, count: int, limit: int) -> bytes:
    news: Arrivals | None = None
    try:
        while True:
            # Asked first: behind an end there is nothing, so what is seen then is all there is.
            has_ended = news is not None and has_peer_ended(sock)
            seen = peek_now(sock, limit)
            if seen is None:
                await wait_readable(sock)
                continue
            if len(seen) >= count or not seen or has_ended:
                return seen
            if news is None:
                with descriptor_needed("to wait for the rest of what a client says"):
                    news = Arrivals(sock)
            await news.wait()
    finally:
        if news is not None:
            news.close()


def take_seen_head(sock: socket.socket, seen: bytes, max_bytes: int) -> bytes | None:
    """Take a request head out of the socket that was seen to begin there; None, and nothing taken: it is not whole, or too large.

    Raises:
        ClientClosed: The client is gone.
    """
    size = seen.find(_HEAD_END) + len(_HEAD_END)
    return take_from_client(sock, size) if len(_HEAD_END) <= size <= max_bytes else None


async def read_head(sock: socket.socket, max_bytes: int) -> bytes:
    r"""Take a request head out of the socket, up to and including its `\r\n\r\n`, and not one byte more.

    Raises:
        HeadTooLarge: No end of the head within `max_bytes`.
        ClientClosed: The client ended or reset the connection first.
    """
    head = b""
    while True:
        ahead = await peek_at_least(sock, 1)
        if not ahead:
            raise ClientClosed("the client closed the connection inside a request head")
        # The end may begin in what we have and finish in what we see.
        searched = max(0, len(head) - len(_HEAD_END) + 1)
        end = (head + ahead).find(_HEAD_END, searched)
        wanted = len(ahead) if end < 0 else end + len(_HEAD_END) - len(head)
        head += take_from_client(sock, wanted)
        if len(head) > max_bytes:
            raise HeadTooLarge(f"the request head has more than {max_bytes} bytes (limits.head_bytes)")
        if end >= 0:
            return head


@dataclass(frozen=True, slots=True)
class PeekedHello:
    """A ClientHello that is still in the socket.

    Attributes:
        hello: What it says.
        size_bytes: The bytes to take out of the socket for it, and nothing behind it.
    """

    hello: ClientHello
    size_bytes: int


async def peek_client_hello(sock: socket.socket) -> PeekedHello:
    """Read the ClientHello and leave it in the socket for the TLS library, or for the tunnel.

    Raises:
        NotTls: Something else.
        ClientHelloInvalid: A ClientHello that two readers could read differently, or only the beginning of one.
        ClientClosed: The client ended the connection instead.
    """
    reader = ClientHelloReader()
    fed = 0
    while True:
        ahead = await peek_at_least(sock, fed + 1, MAX_CLIENT_HELLO_BYTES)
        if not ahead:
            raise ClientClosed("the client closed the connection instead of starting TLS")
        hello = reader.feed(ahead[fed:])
        if hello is not None:
            return PeekedHello(hello, reader.consumed_bytes)
        if len(ahead) <= fed or len(ahead) >= MAX_CLIENT_HELLO_BYTES:
            raise ClientHelloInvalid(f"no whole ClientHello in the first {len(ahead)} bytes")
        fed = len(ahead)
