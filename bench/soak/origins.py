"""The servers of a soak, on loopback: one that does all well, and one for each way of doing it badly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from pinproxy.cli.demo.authority import issue, make_authority
from pinproxy.pins.pin import Pin

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

DOMAIN = "soak.test"
_CUT_BYTES = 100_000


@contextlib.asynccontextmanager
async def running_origins() -> AsyncIterator[tuple[dict[str, int], dict[str, Pin], bytes]]:
    """Run them for the length of a block.

    Yields:
        Their ports by name, the pins of their keys by name, and the PEM of the CA that certified all but `untrusted`.
    """
    authority, stranger = make_authority(), make_authority()
    names = (DOMAIN, f"*.{DOMAIN}", f"*.many.{DOMAIN}")
    good, impostor, untrusted = issue(authority, *names), issue(authority, *names), issue(stranger, *names)
    servers: dict[str, tuple[Handler, ssl.SSLContext | None]] = {
        "good": (_serve, good.server_context()),
        "impostor": (_serve, impostor.server_context()),
        "untrusted": (_serve, untrusted.server_context()),
        "cut": (_cut_the_body, good.server_context()),
        "early": (_answer_early, good.server_context()),
        "nonsense": (_speak_nonsense, good.server_context()),
        "mute": (_say_nothing, good.server_context()),
        "silent": (_say_nothing, None),
        "reset": (_reset, None),
        "garbage": (_speak_nonsense, None),
    }
    pins = {"good": good.pin, "backup": issue(authority, "backup").pin, "other backup": issue(authority, "backup").pin}
    async with contextlib.AsyncExitStack() as stack:
        ports = {}
        for name, (handler, context) in servers.items():
            server = await asyncio.start_server(_quietly(handler), "127.0.0.1", 0, ssl=context, backlog=512)
            stack.callback(server.close)
            ports[name] = server.sockets[0].getsockname()[1]
        yield ports, pins, authority.pem


def _quietly(handler: Handler) -> Handler:
    """A client that goes away is what a soak is made of."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    return handle


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    """Read a request with its body, and return its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, is_there, rest = head.lower().partition(b"\r\ncontent-length: ")
    if is_there:
        await reader.readexactly(int(rest.partition(b"\r\n")[0]))
    return head


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer `GET /N` with N bytes."""
    while True:
        target = (await _read_request(reader)).split(b" ", 2)[1]
        size = int(target.rpartition(b"/")[2] or 0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, bytes(size)))
        await writer.drain()


async def _cut_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (_CUT_BYTES, bytes(_CUT_BYTES // 2)))
    await writer.drain()
    writer.transport.abort()


async def _answer_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()


async def _speak_nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(os.urandom(4096))
    await writer.drain()


async def _say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def _reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Closing with a linger time of 0 sends RST.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
