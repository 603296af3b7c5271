"""Tunnels on a small stage: clients whose TLS is their own, origins of either key, and a go-between on the wire.

::

    the true one                           the attacker's: another CA that the client trusts as well
    ROOT                                   OTHER_ROOT
     └─ LEAF, SECOND  api.example.test      └─ IMPOSTOR  api.example.test
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinproxy.pins.pin import Pin
from pinproxy.policy.rule import HostRule, Trust, TrustAnchors
from tests.harness.clients import (
    connect,
    connect_head,
    end_direction,
    get_head,
    open_tunnel,
    read_answer,
    read_to_end,
)
from tests.harness.origin import Origin, running_origin
from tests.harness.pki import Issued, make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

ROOT, OTHER_ROOT = make_root("True Root"), make_root("Other Root")
LEAF, SECOND, IMPOSTOR = make_leaf(ROOT, HOST), make_leaf(ROOT, HOST), make_leaf(OTHER_ROOT, HOST)
BOTH = TrustAnchors("both roots", (ROOT.der, OTHER_ROOT.der))
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def origin_context(leaf: Issued = LEAF, *appended: Issued, newest: ssl.TLSVersion = TLS13) -> ssl.SSLContext:
    """Make the context of an origin that speaks up to a version, with RSA key exchange too, which Python leaves out."""
    context = server_context(leaf, *appended)
    context.set_ciphers("DEFAULT")
    context.maximum_version = newest
    return context


def two_faced(first: ssl.SSLContext, otherwise: ssl.SSLContext) -> Callable[[int], ssl.SSLContext]:
    """Let an origin show one face to the first connection, which is the preflight, and another to all that come behind it."""
    return lambda number: otherwise if number else first


def client_context(newest: ssl.TLSVersion = TLS13, *, ciphers: str | None = None, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """Make the context of a client that trusts both roots, and speaks up to a version."""
    context = ssl.create_default_context(cadata=(ROOT.pem + OTHER_ROOT.pem).decode("ascii"))
    context.maximum_version = newest
    if ciphers is not None:
        context.set_ciphers(ciphers)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def tunnel_rule(port: int | None, *, pins: Sequence[Pin] = (LEAF.pin,), trust: Trust = BOTH, **further: Any) -> HostRule:
    """Make a rule that tunnels `HOST` to a port on loopback, and refuses TLS 1.3 unless told otherwise."""
    return host_rule(pins, trust, port=port, **{"connect": "tunnel", "tls13": "refuse", **further})


@contextlib.asynccontextmanager
async def tunnelling(
    context: ssl.SSLContext | None = None, *, edit: Edit | None = None, rule: dict[str, Any] | None = None, **further: Any
) -> AsyncIterator[Stage]:
    """Run an origin, a go-between if there are edits, and a proxy that tunnels to it.

    Args:
        context: The origin's TLS; by default `LEAF` up to TLS 1.2.
        edit: What the go-between does to the server's bytes.
        rule: Fields of the rule.
        further: For `running_proxy`.
    """
    async with contextlib.AsyncExitStack() as stack:
        origin = await stack.enter_async_context(running_origin(context or origin_context(newest=TLS12)))
        port = origin.port
        if edit is not None:
            port = await stack.enter_async_context(running_go_between(lambda _first: origin.port, edit))
        proxy = await stack.enter_async_context(running_proxy(tunnel_rule(port, **(rule or {})), **further))
        yield Stage(origin, proxy, port)


@dataclass(frozen=True)
class Stage:
    """An origin behind a tunnelling proxy; `port` is what the proxy dials, the go-between's where there is one."""

    origin: Origin
    proxy: RunningProxy
    port: int


# --- clients -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fetched:
    """What a client got through its own TLS."""

    body: bytes
    version: str | None
    session: ssl.SSLSession | None
    was_resumed: bool


async def fetch(
    proxy: RunningProxy, context: ssl.SSLContext, session: ssl.SSLSession | None = None, *, host: str = HOST, port: int = 443
) -> Fetched:
    """Send one GET through a tunnel to `host`; TLS always names `HOST`."""
    return await asyncio.to_thread(_fetch, lambda: open_tunnel(proxy, host, port), context, session)


async def fetch_directly(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Fetched:
    """Send one GET to a port on loopback, past the proxy."""
    return await asyncio.to_thread(_fetch, lambda: socket.create_connection(("127.0.0.1", port), 10), context, session)


def _fetch(dial: Callable[[], socket.socket], context: ssl.SSLContext, session: ssl.SSLSession | None) -> Fetched:
    with (
        dial() as sock,
        context.wrap_socket(sock, server_hostname=HOST, session=session, suppress_ragged_eofs=False) as tls,
    ):
        tls.sendall(get_head("/"))
        fetched = Fetched(read_answer(tls).body, tls.version(), tls.session, bool(tls.session_reused))
        end_direction(tls)  # OpenSSL forgets the session of a connection that is cut
        read_to_end(tls)
        return fetched


class HandClient:
    """A TLS client in memory, whose bytes the test sends by hand.

    Attributes:
        hello: Its ClientHello.
    """

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        """Begin a handshake, with a session to resume if there is one."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=HOST, session=session)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self.hello = self._outgoing.read()

    def finish(self, sock: socket.socket, path: str = "/") -> bytes:
        """Finish the handshake whose hello was sent, ask for a path, and return the body of the answer."""
        self._until_done(sock, self._tls.do_handshake)
        self._tls.write(get_head(path))
        answer = b""
        while not answer.endswith(b" 0\n"):  # as `answer_ok` ends
            answer += self._until_done(sock, lambda: self._tls.read(65536))
        return answer.partition(b"\r\n\r\n")[2]

    def _until_done(self, sock: socket.socket, step: Callable[[], Any]) -> Any:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                sock.sendall(self._outgoing.read())
                data = sock.recv(65536)
                if not data:
                    raise EOFError("the connection ended") from None
                self._incoming.write(data)
            else:
                sock.sendall(self._outgoing.read())
                return result


@contextlib.asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[tuple[socket.socket, HandClient]]:
    """Open a tunnel, and get one answer through it."""
    client = HandClient(client_context(TLS12))
    with await asyncio.to_thread(open_tunnel, stage.proxy) as sock:
        sock.sendall(client.hello)
        assert await asyncio.to_thread(client.finish, sock) == b"GET / 0\n"
        yield sock, client


def client_hello(context: ssl.SSLContext, server_hostname: str = HOST) -> bytes:
    """Make a ClientHello."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_hostname).do_handshake()
    return outgoing.read()


async def hear(proxy: RunningProxy, *pieces: bytes, host: str = HOST, port: int = 443) -> bytes:
    """Open a tunnel, send bytes piece by piece, and read to the end all that comes back."""

    def talk() -> bytes:
        with open_tunnel(proxy, host, port) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                sock.sendall(piece)
            return read_to_end(sock)

    return await asyncio.to_thread(talk)


async def refused_code(proxy: RunningProxy, host: str = HOST, port: int = 443) -> tuple[int, str | None]:
    """Send a CONNECT that gets no tunnel; returns its status and reason code."""

    def talk() -> tuple[int, str | None]:
        with connect(proxy) as sock:
            sock.sendall(connect_head(host, port))
            answer = read_answer(sock)
            return answer.status, answer.code

    return await asyncio.to_thread(talk)


# --- the wire ------------------------------------------------------------------------------------------------------------

Edit = Callable[[int, int, bytes], tuple[bytes, bool]]
"""Change what a server sends: the number of the connection and of the read, both from 0, and the bytes; tell whether to go on."""
_Change = Callable[[int, bytes], tuple[bytes, bool]]


def on_tunnel(edit: Callable[[bytes], bytes], *, then_hang_up: bool = False) -> Edit:
    """Leave the preflight alone, and edit the first flight of every connection behind it."""
    return lambda connection, number, data: (edit(data), not then_hang_up) if connection and not number else (data, True)


def unchanged(_connection: int, _number: int, data: bytes) -> tuple[bytes, bool]:
    """Change nothing."""
    return data, True


@contextlib.asynccontextmanager
async def running_go_between(
    route: Callable[[bytes], int],
    edit: Edit = unchanged,
    passed: list[tuple[str, bytes]] | None = None,
    *,
    listen: str = "127.0.0.1",
) -> AsyncIterator[int]:
    """Run a go-between; yields its port. Whoever writes a flight at once has it edited at once.

    Args:
        route: Given what a client sends first, says which port to lead it to.
        edit: What to do to the server's bytes.
        passed: Gets everything that comes, `up` and `down`, in the order of its coming.
        listen: Its address.
    """
    record = passed if passed is not None else []
    count = 0
    tasks: set[asyncio.Task[Any]] = set()

    async def pass_on(way: str, source: asyncio.StreamReader, target: asyncio.StreamWriter, change: _Change) -> None:
        number = 0
        with contextlib.suppress(OSError):
            while data := await source.read(2**20):
                record.append((way, data))
                changed, goes_on = change(number, data)
                number += 1
                target.write(changed)
                await target.drain()
                if not goes_on:
                    break
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        connection, count = count, count + 1
        first = await reader.read(2**20)
        if not first:
            writer.close()
            return
        record.append(("up", first))
        onward, back = await asyncio.open_connection("127.0.0.1", route(first))
        try:
            back.write(first)
            await asyncio.gather(
                pass_on("up", reader, back, lambda _number, data: (data, True)),
                pass_on("down", onward, writer, lambda number, data: edit(connection, number, data)),
            )
        finally:
            writer.close()
            back.close()
            # Or a reset is an exception that nobody fetched, which the collector complains about in whatever test comes next.
            await asyncio.gather(writer.wait_closed(), back.wait_closed(), return_exceptions=True)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, listen, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def messages_of(flight: bytes) -> list[tuple[int, bytes]]:
    """Take apart the handshake messages of plaintext records: types and bodies."""
    joined, at = b"", 0
    while at < len(flight) and flight[at] == 22:
        size = int.from_bytes(flight[at + 3 : at + 5], "big")
        joined += flight[at + 5 : at + 5 + size]
        at += 5 + size
    found, at = [], 0
    while at < len(joined):
        size = int.from_bytes(joined[at + 1 : at + 4], "big")
        found.append((joined[at], joined[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


def flight_of(messages: Sequence[tuple[int, bytes]]) -> bytes:
    """Put messages into records of TLS 1.2, one each."""
    flight = b""
    for kind, body in messages:
        content = bytes([kind]) + len(body).to_bytes(3, "big") + body
        for start in range(0, len(content), 2**14):
            piece = content[start : start + 2**14]
            flight += b"\x16\x03\x03" + len(piece).to_bytes(2, "big") + piece
    return flight


def with_body(flight: bytes, kind: int, change: Callable[[bytes], bytes]) -> bytes:
    """Change the body of one message of a flight that is all plaintext."""
    messages = messages_of(flight)
    assert kind in dict(messages)
    return flight_of([(number, change(body) if number == kind else body) for number, body in messages])


def flipped(data: bytes, at: int) -> bytes:
    """Flip one bit."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def open_descriptors(*kinds: str) -> int:
    """Count the sockets and pipes this process has open, or those of some kinds; what else there is belongs to the event loop."""
    links = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(path.readlink()))
    return sum(link.startswith(kinds or ("socket:", "pipe:")) for link in links)
