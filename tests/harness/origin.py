"""An HTTPS origin on loopback that remembers every byte its clients sent it, so that tests can assert that there were none."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


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
async def running_origin(context: ssl.SSLContext | None, handler: Handler | None = None) -> AsyncIterator[Origin]:
    """Run an origin on 127.0.0.1; `handler` speaks for it, `answer_ok` by default."""
    origin = Origin()
    loop = asyncio.get_running_loop()
    serve = handler or answer_ok

    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        origin.handshakes += 1
        task = loop.create_task(handle(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass  # the proxy went away, as some tests want it to
        finally:
            writer.close()

    def protocol() -> asyncio.StreamReaderProtocol:
        origin.connections += 1
        return asyncio.StreamReaderProtocol(_Tap(origin), begin, loop)

    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
    """Read one request: head and body (Content-Length or chunked, decoded); None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    fields = head.lower()
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
