"""An HTTPS origin on loopback that remembers every byte its clients sent it, so that tests can assert that there were none."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Contexts = ssl.SSLContext | None | Callable[[int], ssl.SSLContext]


@dataclass
class Origin:
    """A running origin.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        connections: TCP connections accepted.
        handshakes: TLS handshakes finished (connections, for a plain origin).
        received: Application bytes received, all connections together.
    """

    port: int = 0
    connections: int = 0
    handshakes: int = 0
    received: bytearray = field(default_factory=bytearray)
    _open: set[asyncio.Task[None]] = field(default_factory=set)
    _accepted: asyncio.Event = field(default_factory=asyncio.Event)
    _sockets: list[socket.socket] = field(default_factory=list)

    def hang_up(self) -> None:
        """End every connection, whatever it is at: both directions, without a goodbye of TLS."""
        for client in self._sockets:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    async def accepted(self, count: int = 1) -> None:
        """Wait until that many TCP connections were accepted."""
        async with asyncio.timeout(10):
            while self.connections < count:
                self._accepted.clear()
                await self._accepted.wait()

    async def quiet(self) -> None:
        """Wait until every connection has ended, so that no byte can still be on its way."""
        async with asyncio.timeout(10):
            while self._open:
                await asyncio.wait(list(self._open))


class _Tap(asyncio.StreamReader):
    """A reader that keeps a copy of all it was fed."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(limit=2**20)
        self._origin = origin

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        """Keep and feed."""
        self._origin.received += data
        super().feed_data(data)


@contextlib.asynccontextmanager
async def running_origin(
    context: Contexts, handler: Handler | None = None, *, gate: asyncio.Event | None = None
) -> AsyncIterator[Origin]:
    """Run an origin on 127.0.0.1.

    Args:
        context: Its TLS; None: plain TCP; a function: asked with the number of each connection, from 0.
        handler: Speaks for it; `answer_ok` by default.
        gate: If set, handshakes wait for it.
    """
    origin = Origin()
    loop = asyncio.get_running_loop()
    serve = handler or answer_ok

    def accept() -> None:
        client, _ = listener.accept()
        client.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
        origin._sockets.append(client)
        task = loop.create_task(carry(client, origin.connections))
        origin._open.add(task)
        task.add_done_callback(origin._open.discard)
        task.add_done_callback(lambda _ended: origin._sockets.remove(client))
        # One that is cancelled before its first step closes nothing.
        task.add_done_callback(lambda ended: client.close() if ended.cancelled() else None)
        origin.connections += 1
        origin._accepted.set()

    async def carry(client: socket.socket, number: int) -> None:
        tls = context(number) if callable(context) else context
        reader = _Tap(origin)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            if gate is not None:
                await gate.wait()
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, client, ssl=tls)
        except (OSError, asyncio.CancelledError):
            client.close()  # the proxy does not like the certificate, as some tests want it to
            return
        origin.handshakes += 1
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        await _serve(serve, reader, writer)

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
    origin.port = listener.getsockname()[1]
    loop.add_reader(listener.fileno(), accept)
    try:
        yield origin
    finally:
        loop.remove_reader(listener.fileno())
        listener.close()
        tasks = list(origin._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(serve: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let a handler serve a proxy, which may go away, as some tests want it to."""
    try:
        await serve(reader, writer)
    except asyncio.IncompleteReadError:
        pass
    except OSError:
        # The future of the end holds a reset as well: asked for, it is no failure that nobody has seen.
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    finally:
        writer.close()


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None = None) -> tuple[bytes, bytes] | None:
    """Read one request: head and body (Content-Length or chunked, decoded); None at the end of the connection.

    With a `writer`, a client that asks for 100 (Continue) before it sends its body is told to.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    fields = head.lower()
    if writer is not None and b"\r\nexpect: 100-continue\r\n" in fields:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked\r\n" in fields:
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
        return head, body
    if b"\r\ncontent-length: " in fields:
        length = int(fields.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
        return head, await reader.readexactly(length)
    return head, b""


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request with 200 and a body that names its method, target and body length; keep the connection alive."""
    while (request := await read_request(reader)) is not None:
        head, body = request
        method, target, _ = head.split(b"\r\n", 1)[0].split(b" ")
        text = b"%b %b %d\n" % (method, target, len(body))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(text))
        if method != b"HEAD":
            writer.write(text)
        await writer.drain()


@lru_cache(maxsize=8)
def body_of(size: int) -> bytes:
    """Make the body of `size` bytes that `answer_bodies` sends: the same for each size, and no two stretches of it alike."""
    return hashlib.shake_128(b"body").digest(size)


def receipt_for(body: bytes) -> bytes:
    """Make what `answer_bodies` sends back for a body: its length and SHA-256."""
    return b"%d %b\n" % (len(body), hashlib.sha256(body).hexdigest().encode("ascii"))


async def answer_bodies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer `GET /N` with `body_of(N)` and a POST with a receipt; keep the connection alive unless asked to close it."""
    while (request := await read_request(reader, writer)) is not None:
        head, body = request
        method, target, _ = head.split(b"\r\n", 1)[0].split(b" ")
        answer = receipt_for(body) if method == b"POST" else body_of(int(target.removeprefix(b"/")))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % len(answer))
        writer.write(answer)
        await writer.drain()
        if b"\r\nconnection: close\r\n" in head.lower():
            return
