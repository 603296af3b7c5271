"""A corporate proxy on loopback: answers CONNECT, and remembers what it was asked, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from pinproxy.authority import Authority
from pinproxy.net.upstream_proxy import UpstreamProxy
from pinproxy.policy.no_proxy import NoProxy

ESTABLISHED = b"HTTP/1.1 200 OK\r\n\r\n"


@dataclass
class CorporateProxy:
    """A proxy that runs.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        heads: The request heads it was sent.
    """

    port: int
    heads: list[bytes] = field(default_factory=list)

    def way(self, authorization: bytes | None = None, no_proxy: NoProxy | None = None) -> UpstreamProxy:
        """Make what a `Server` takes."""
        return UpstreamProxy(Authority("127.0.0.1", self.port), authorization, no_proxy or NoProxy())

    @property
    def targets(self) -> list[str]:
        """What it was asked for."""
        return [head.split(b" ")[1].decode("ascii") for head in self.heads]


@contextlib.asynccontextmanager
async def corporate_proxy(origins: dict[str, int], answer: bytes = ESTABLISHED) -> AsyncIterator[CorporateProxy]:
    """Run a proxy whose network has names of its own.

    Args:
        origins: The loopback port of each `host:port` it knows; for others it hangs up.
        answer: What it says to each CONNECT. Bytes behind a 2xx head are those of the host; after anything else it hangs up.
    """
    open_tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            proxy.heads.append(await reader.readuntil(b"\r\n\r\n"))
            port = origins.get(proxy.targets[-1])
            if port is None:
                return
            writer.write(answer)
            await writer.drain()
            if b"HTTP/1.1 2" in answer and b"\r\n\r\n" in answer:
                await _join(reader, writer, port)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio calls the cancellation of one of its own a failure.
        open_tasks.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy = CorporateProxy(server.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        server.close()
        for task in open_tasks:
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    there, back = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(back):
        await asyncio.gather(_pass(reader, back), _pass(there, writer))


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.write_eof()
