"""An HTTPS server that counts the bytes it is sent: the witness for "no byte reaches an impostor"."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Origin:
    """A server on 127.0.0.1.

    Attributes:
        greeting: What it answers.
        port: Where it listens.
        received_bytes: Of requests, decrypted; handshakes do not count.
    """

    greeting: str
    port: int = 0
    received_bytes: int = 0
    _open: set[asyncio.BaseTransport] = field(default_factory=set)
    _is_quiet: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_quiet(self, seconds: float) -> None:
        """Wait until every connection is closed, so that what was sent on it has been counted."""
        async with asyncio.timeout(seconds):
            while self._open:
                self._is_quiet.clear()
                await self._is_quiet.wait()

    def opened(self, transport: asyncio.BaseTransport) -> None:
        """Note a connection, its handshake finished."""
        self._open.add(transport)

    def closed(self, transport: asyncio.BaseTransport) -> None:
        """Note its end, with all it sent counted."""
        self._open.discard(transport)
        self._is_quiet.set()


class _Connection(asyncio.Protocol):
    """Answers every request head with the greeting; the demo's clients send no bodies."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._unread = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # of a TCP server it is always a full Transport
        self._origin.opened(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        self._origin.closed(self._transport)

    def data_received(self, data: bytes) -> None:
        self._origin.received_bytes += len(data)
        *heads, self._unread = (self._unread + data).split(b"\r\n\r\n")
        body = f"{self._origin.greeting}\n".encode()
        for _head in heads:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )


@contextlib.asynccontextmanager
async def running_origin(greeting: str, context: ssl.SSLContext) -> AsyncIterator[Origin]:
    """Run a server for the length of a block."""
    origin = Origin(greeting)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(origin), "127.0.0.1", 0, ssl=context)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
