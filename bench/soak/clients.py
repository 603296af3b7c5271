"""The clients of a soak: each visit is one thing a client does, and says in a word what came of it.

What must come of it stands in `VISITS`. Anything else is a surprise, and a soak with a surprise has failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from bench.soak.origins import DOMAIN

_BODY_BYTES = 200_000
_LONGEST_VISIT_SECONDS = 20.0

MANY_HOSTS = tuple(f"h{number}.many.{DOMAIN}" for number in range(64))
"""Hosts of one wildcard, each of which needs a certificate of its own."""


@dataclass(frozen=True, slots=True)
class Street:
    """What clients have to know.

    Attributes:
        proxy_port: Where the proxy listens.
        good_port: Where the good origin listens, for clients that name it by address.
        local_ca: Trusts the CA of the proxy.
        origin_ca: Trusts the CA of the origins.
        origin_ca_tls12: The same, for a client that speaks no TLS 1.3.
    """

    proxy_port: int
    good_port: int
    local_ca: ssl.SSLContext
    origin_ca: ssl.SSLContext
    origin_ca_tls12: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Visit:
    """One thing a client does.

    Attributes:
        act: Does it, and says what came: a status, or a word.
        comes: What may come of it.
        weight: How often, against the others.
    """

    act: Callable[[Street], Awaitable[str]]
    comes: frozenset[str]
    weight: int


class Caller:
    """One connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, head: str, body: bytes = b"") -> str:
        """Send a request, read the response, and return its status; `cut` where the body ends too early."""
        self.writer.write(f"{head}\r\n\r\n".encode() + body)
        await self.writer.drain()
        return await self.read_response()

    async def read_response(self) -> str:
        """Read a response with its body, and return its status; `closed` where none came."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return "closed"
        _, is_there, rest = head.lower().partition(b"\r\ncontent-length: ")
        try:
            if is_there:
                await self.reader.readexactly(int(rest.partition(b"\r\n")[0]))
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return "cut"
        return head.split(b" ", 2)[1].decode("ascii")

    async def connect(self, authority: str, context: ssl.SSLContext) -> str:
        """Open a tunnel and shake hands in it; `200` where both succeed."""
        status = await self.ask(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}")
        return await self.start_tls(authority.rpartition(":")[0], context) if status == "200" else status

    async def start_tls(self, host: str, context: ssl.SSLContext) -> str:
        """Shake hands; `alert` where the other side refuses."""
        try:
            await self.writer.start_tls(context, server_hostname=host)
        except (ssl.SSLError, ConnectionError):
            return "alert"
        return "200"


@contextlib.asynccontextmanager
async def _calling(street: Street) -> AsyncIterator[Caller]:
    async with asyncio.timeout(_LONGEST_VISIT_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", street.proxy_port)
        try:
            yield Caller(reader, writer)
        finally:
            writer.transport.abort()


def _get(host: str, size: int = 64, scheme: str = "") -> str:
    return f"GET {scheme}/{size} HTTP/1.1\r\nHost: {host}"


def _plain(host: str, size: int = 64) -> str:
    return _get(host, size, f"http://{host}")


# --- clients that mean well -----------------------------------------------------------------------------------------


async def _ask_in_clear(street: Street) -> str:
    async with _calling(street) as caller:
        came = {await caller.ask(_plain(f"good.{DOMAIN}", size)) for size in (0, 64, 5000, _BODY_BYTES)}
    return " ".join(sorted(came))


async def _send_a_body(street: Street) -> str:
    host = f"good.{DOMAIN}"
    async with _calling(street) as caller:
        return await caller.ask(
            f"POST http://{host}/64 HTTP/1.1\r\nHost: {host}\r\nContent-Length: {_BODY_BYTES}", bytes(_BODY_BYTES)
        )


async def _ask_in_tls(street: Street, host: str, context: ssl.SSLContext) -> str:
    async with _calling(street) as caller:
        status = await caller.connect(f"{host}:443", context)
        return await caller.ask(_get(host, 5000)) if status == "200" else status


async def ask_intercepted(street: Street, host: str = f"good.{DOMAIN}") -> str:
    """Ask by CONNECT, as a client that trusts the proxy's CA."""
    return await _ask_in_tls(street, host, street.local_ca)


async def _ask_one_of_many(street: Street) -> str:
    return await ask_intercepted(street, random.choice(MANY_HOSTS))


async def _ask_through_tunnel(street: Street) -> str:
    return await _ask_in_tls(street, f"tunnel.{DOMAIN}", street.origin_ca)


async def _ask_through_tls12_tunnel(street: Street) -> str:
    return await _ask_in_tls(street, f"tunnel.{DOMAIN}", street.origin_ca_tls12)


async def _ask_blind(street: Street) -> str:
    """Go to the good origin by its address, which no rule lists, for a name that none lists either."""
    async with _calling(street) as caller:
        status = await caller.ask(f"CONNECT 127.0.0.1:{street.good_port} HTTP/1.1\r\nHost: 127.0.0.1:{street.good_port}")
        status = await caller.start_tls(f"{DOMAIN}", street.origin_ca) if status == "200" else status
        return await caller.ask(_get(DOMAIN)) if status == "200" else status


async def _ask_by_socks(street: Street) -> str:
    host = f"good.{DOMAIN}".encode("ascii")
    async with _calling(street) as caller:
        caller.writer.write(b"\x05\x01\x00" + b"\x05\x01\x00\x03%c%b\x01\xbb" % (len(host), host))
        answer = await caller.reader.readexactly(12)
        if answer[3] != 0:
            return f"reply {answer[3]}"
        status = await caller.start_tls(host.decode("ascii"), street.local_ca)
        return await caller.ask(_get(host.decode("ascii"))) if status == "200" else status


# --- servers that do not ----------------------------------------------------------------------------------------------


def _from_bad_server(name: str, scheme: str = "http") -> Callable[[Street], Awaitable[str]]:
    host = f"{name}.{DOMAIN}"

    async def ask(street: Street) -> str:
        if scheme == "https":
            return await ask_intercepted(street, host)
        async with _calling(street) as caller:
            return await caller.ask(_plain(host))

    return ask


async def _send_a_body_nobody_wants(street: Street) -> str:
    host = f"early.{DOMAIN}"
    async with _calling(street) as caller:
        caller.writer.write(
            f"POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: {_BODY_BYTES}\r\n\r\nbegun".encode()
        )
        return await caller.read_response()


# --- clients that do not ----------------------------------------------------------------------------------------------


def _leave_after(text: str) -> Callable[[Street], Awaitable[str]]:
    async def leave(street: Street) -> str:
        async with _calling(street) as caller:
            caller.writer.write(text.encode())
            await caller.writer.drain()
        return "left"

    return leave


async def _leave_in_the_handshake(street: Street) -> str:
    authority = f"good.{DOMAIN}:443"
    async with _calling(street) as caller:
        status = await caller.ask(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}")
        caller.writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01")
        await caller.writer.drain()
        return status


async def _stop_reading(street: Street) -> str:
    async with _calling(street) as caller:
        caller.writer.write(f"{_plain(f'good.{DOMAIN}', 2_000_000)}\r\n\r\n".encode())
        return (await caller.reader.readline()).split(b" ", 2)[1].decode("ascii")


def _say(text: str) -> Callable[[Street], Awaitable[str]]:
    async def say(street: Street) -> str:
        async with _calling(street) as caller:
            caller.writer.write(text.encode())
            return await caller.read_response()

    return say


def _visit(act: Callable[[Street], Awaitable[str]], *comes: str, weight: int = 1) -> Visit:
    return Visit(act, frozenset(comes), weight)


VISITS: dict[str, Visit] = {
    "plain HTTP, keep-alive": _visit(_ask_in_clear, "200", weight=8),
    "plain HTTP, a body up": _visit(_send_a_body, "200", weight=3),
    "interception": _visit(ask_intercepted, "200", weight=8),
    "interception, one of many hosts": _visit(_ask_one_of_many, "200", weight=4),
    "tunnel, TLS 1.3": _visit(_ask_through_tunnel, "200", weight=4),
    "tunnel, TLS 1.2": _visit(_ask_through_tls12_tunnel, "200", weight=4),
    "blind tunnel": _visit(_ask_blind, "200", weight=4),
    "SOCKS5": _visit(_ask_by_socks, "200", weight=2),
    "server with another key": _visit(_from_bad_server("impostor"), "403", weight=2),
    "server with another key, CONNECT": _visit(_from_bad_server("impostor", "https"), "403", weight=2),
    "server nobody certified": _visit(_from_bad_server("untrusted"), "502"),
    "server nobody certified, CONNECT": _visit(_from_bad_server("untrusted", "https"), "502", weight=2),
    "server that resets": _visit(_from_bad_server("reset"), "502"),
    "server that speaks no TLS": _visit(_from_bad_server("garbage", "https"), "502"),
    "server that never shakes hands": _visit(_from_bad_server("silent", "https"), "504"),
    "server that never answers": _visit(_from_bad_server("mute"), "504"),
    "server that answers nonsense": _visit(_from_bad_server("nonsense"), "502"),
    "server that cuts its body": _visit(_from_bad_server("cut"), "cut", "closed"),
    "server that does not wait for the body": _visit(_send_a_body_nobody_wants, "413"),
    "client gone in its head": _visit(_leave_after("GET http://good"), "left"),
    "client gone in its body": _visit(
        _leave_after(f"POST http://good.{DOMAIN}/ HTTP/1.1\r\nHost: good.{DOMAIN}\r\nContent-Length: 9999\r\n\r\nbegun"), "left"
    ),
    "client gone in its handshake": _visit(_leave_in_the_handshake, "200"),
    "client that stops reading and leaves": _visit(_stop_reading, "200"),
    "client that never ends its head": _visit(_say(f"GET http://good.{DOMAIN}/ HTTP/1.1\r\n"), "408"),
    "client that speaks nonsense": _visit(_say("\x16\x03 what\r\n\r\n"), "400"),
    "client with an endless head": _visit(_say(f"{_plain(f'good.{DOMAIN}')}\r\nX: {'x' * 70_000}\r\n\r\n"), "431", "closed"),
    "client that asks for nobody's host": _visit(_say(f"{_plain('elsewhere.test')}\r\n\r\n"), "502"),
}
