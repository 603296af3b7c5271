"""Origination on a small stage: one verified origin, the real proxy, and clients that speak byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pinproxy.limits import Limits
from tests.harness.origin import Handler, Origin, read_request, running_origin
from tests.harness.pki import Issued, make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

URL = f"http://{HOST}"
_SECONDS = 10
_LINGER_ZERO = struct.pack("ii", 1, 0)


@lru_cache
def certificates() -> tuple[Issued, Issued]:
    """The root and the leaf of the origin, made once."""
    root = make_root()
    return root, make_leaf(root, HOST)


@dataclass(frozen=True)
class Response:
    """A response as it came over the wire.

    Attributes:
        raw_head: Status line and fields with the empty line.
        body: Decoded.
        trailers: Behind the last chunk.
        chunks: Sizes of the chunks; empty where it was not chunked.
    """

    raw_head: bytes
    body: bytes = b""
    trailers: tuple[tuple[str, str], ...] = ()
    chunks: tuple[int, ...] = ()

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.raw_head.split(b" ")[1][:3])

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Names in lower case, in order."""
        lines = self.raw_head.decode("latin-1").rstrip("\r\n").split("\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def get(self, name: str) -> str | None:
        """The only value of a field."""
        values = [value for other, value in self.fields if other == name]
        assert len(values) <= 1, f"{name} stands more than once: {values}"
        return values[0] if values else None

    @property
    def code(self) -> str | None:
        """Our reason code."""
        return self.get("x-pinproxy-error")

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document."""
        return dict(json.loads(self.body))


class Client:
    """One client connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the streams over."""
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    def get(self, target: str = f"{URL}/", *further: str, method: str = "GET", minor: int = 1, host: str = HOST) -> None:
        """Send a request without a body."""
        self.send(request(target, *further, method=method, minor=minor, host=host))

    async def head(self) -> Response:
        """Read a head."""
        async with asyncio.timeout(_SECONDS):
            return Response(await self.reader.readuntil(b"\r\n\r\n"))

    async def response(self, *, is_bodiless: bool = False) -> Response:
        """Read a whole response by its framing, however it is delimited."""
        head = await self.head()
        async with asyncio.timeout(_SECONDS):
            if is_bodiless or head.status in {204, 304} or head.status < 200:
                return head
            if head.get("transfer-encoding") == "chunked":
                return await self._chunked(head)
            length = head.get("content-length")
            body = await self.reader.read() if length is None else await self.reader.readexactly(int(length))
            return Response(head.raw_head, body)

    async def _chunked(self, head: Response) -> Response:
        body, chunks = bytearray(), []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
            chunks.append(size)
        trailers = []
        while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode("ascii").partition(":")
            trailers.append((name.lower(), value.strip()))
        return Response(head.raw_head, bytes(body), tuple(trailers), tuple(chunks))

    async def rest(self) -> bytes:
        """Read to the end of the connection."""
        async with asyncio.timeout(_SECONDS):
            return await self.reader.read()

    def reset(self) -> None:
        """Vanish with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.writer.transport.abort()


@dataclass
class Stage:
    """A running origin behind a running proxy."""

    origin: Origin
    proxy: RunningProxy
    _clients: list[Client] = field(default_factory=list)

    async def client(self, *, receive_buffer_bytes: int | None = None) -> Client:
        """Connect another client; a small receive buffer makes it a slow reader."""
        sock = socket.socket()
        sock.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.proxy.port))
        client = Client(*await asyncio.open_connection(sock=sock, limit=2**20))
        self._clients.append(client)
        return client

    async def connected(self, count: int) -> None:
        """Wait until the proxy has exactly so many clients."""
        async with asyncio.timeout(_SECONDS):
            while self.proxy.metrics.active != count:  # noqa: ASYNC110 - a gauge tells nobody that it moved
                await asyncio.sleep(0.001)

    async def logged(self, count: int) -> list[dict[str, Any]]:
        """Wait until everything that was begun has ended, and return exactly `count` connection lines."""
        await self.proxy.connection(count=count)
        await self.leave()
        await self.proxy.server.stop()
        lines = self.proxy.connections
        assert len(lines) == count, [(line["method"], line["code"]) for line in lines]
        return lines

    async def leave(self) -> None:
        """Close every client."""
        for client in self._clients:
            client.writer.close()
            with contextlib.suppress(OSError):
                await client.writer.wait_closed()
        self._clients.clear()


@contextlib.asynccontextmanager
async def originating(handler: Handler | None = None, *, limits: Limits | None = None, **further: Any) -> AsyncIterator[Stage]:
    """Set the stage: a rule for `HOST` that leads to the origin; the rest goes to `running_proxy`."""
    root, leaf = certificates()
    async with (
        running_origin(server_context(leaf), handler) as origin,
        running_proxy(host_rule([leaf.pin], root.anchors, port=origin.port), limits=limits, **further) as proxy,
    ):
        stage = Stage(origin, proxy)
        try:
            yield stage
        finally:
            await stage.leave()


def request(target: str = f"{URL}/", *further: str, method: str = "GET", minor: int = 1, host: str = HOST) -> bytes:
    """Write a request head; `further` are field lines."""
    lines = (f"{method} {target} HTTP/1.{minor}", f"Host: {host}", *further)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def answering(*answers: bytes) -> Handler:
    """Make an origin that gives these answers, one for each request over all its connections; an empty one hangs up."""
    remaining = iter(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader, None) is not None:
            answer = next(remaining)
            if not answer:
                return
            writer.write(answer)
            await writer.drain()

    return handle


def ok(body: bytes = b"", *further: str) -> bytes:
    """Write a 200 with Content-Length."""
    lines = "".join(f"{line}\r\n" for line in further).encode("latin-1")
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (lines, len(body), body)
