"""The HTTP under the admin pages: one answer for each request, in order, and nothing that a client could hold on to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pinproxy.admin import http
from pinproxy.admin.http import Answer, HttpServer
from pinproxy.authority import Authority
from pinproxy.http1.head import RequestHead

ANY_PORT = Authority("127.0.0.1", 0)


async def answering(request: RequestHead) -> Answer:
    """Say the target back; `/wait` takes a turn of the loop, `/defect` is one, `/large` is more than a socket holds."""
    if request.target == b"/wait":
        await asyncio.sleep(0.01)
    if request.target == b"/defect":
        raise RuntimeError("a defect")
    return Answer(b"x" * 2**24 if request.target == b"/large" else request.target + b"\n")


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[tuple[HttpServer, asyncio.StreamReader, asyncio.StreamWriter]]:
    """Serve, and connect."""
    server = HttpServer(answering, {"Server": "test"})
    address = await server.start(ANY_PORT)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        async with asyncio.timeout(10):
            yield server, reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await server.stop()


def get(target: str, further: str = "", method: str = "GET") -> bytes:
    """Write a request."""
    return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{further}\r\n".encode()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer by its length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split(b" ")[1]), await reader.readexactly(length)


async def test_requests_of_one_connection_are_answered_in_their_order() -> None:
    """RFC 9112 §9.3.2: pipelined, in pieces, and one after the other."""
    async with client() as (_server, reader, writer):
        writer.write(get("/wait") + get("/2") + get("/3")[:20])
        assert [await read_answer(reader) for _ in range(2)] == [(200, b"/wait\n"), (200, b"/2\n")]
        writer.write(get("/3")[20:])
        assert await read_answer(reader) == (200, b"/3\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get("/1", "Connection: close\r\n"), 200),
        (b"GET /1 HTTP/1.0\r\nHost: localhost\r\n\r\n", 200),
        (get("/1", "Content-Length: 5\r\n"), 200),
        (get("localhost:443", method="CONNECT").replace(b"Host: localhost", b"Host: localhost:443"), 200),
        (b"\x16\x03\x01\x00\x05hello\r\n\r\n", 400),
        (get("/1", f"Field: {'x' * 20000}\r\n"), 431),
    ],
    ids=["close", "1.0", "with content", "CONNECT", "TLS", "too large"],
)
async def test_an_answer_that_is_the_last_ends_the_connection(request_bytes: bytes, status: int) -> None:
    """The client asked for it, or what follows could not be told from the rest."""
    async with client() as (_server, reader, writer):
        writer.write(request_bytes + get("/never"))
        assert (await read_answer(reader))[0] == status
        assert await reader.read() == b""


async def test_a_client_that_ends_its_direction_gets_its_answer() -> None:
    """`nc -N`, and some probes."""
    async with client() as (_server, reader, writer):
        writer.write(get("/wait"))
        writer.write_eof()
        assert await read_answer(reader) == (200, b"/wait\n")
        assert await reader.read() == b""


async def test_a_defect_is_answered_and_told() -> None:
    """500, and the connection goes on with the next request."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    async with client() as (_server, reader, writer):
        writer.write(get("/defect") + get("/2"))
        assert [(await read_answer(reader))[0] for _ in range(2)] == [500, 200]
    assert [context["message"] for context in told] == ["answering a request failed"]


async def test_who_does_not_read_gets_no_further_answer_made() -> None:
    """Two answers of 16 MiB asked for, one made: the second waits until the first is taken."""
    async with client() as (server, reader, writer):
        writer.write(get("/large") + get("/large"))
        await reader.readexactly(1)
        (one,) = server.clients
        assert 0 < one._transport.get_write_buffer_size() <= 2**24 + 1024
        assert (one._answering, one._is_full) == (None, True)
        await reader.readexactly(2**24)
        writer.transport.abort()


@pytest.mark.parametrize("sent", [b"", get("/1")[:10], get("/large")], ids=["silent", "half a head", "no reader"])
async def test_patience_ends(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that nobody uses is given up."""
    monkeypatch.setattr(http, "_PATIENCE_SECONDS", 0.05)
    async with client() as (server, _reader, writer):
        writer.write(sent)
        for is_there in (True, False):
            while bool(server.clients) is not is_there:  # noqa: ASYNC110 - who comes and goes is told to nobody else
                await asyncio.sleep(0.001)


async def test_one_client_too_many_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number is bounded; the others are served."""
    monkeypatch.setattr(http, "_MOST_CLIENTS", 1)
    async with client() as (server, reader, writer):
        writer.write(get("/1"))
        assert (await read_answer(reader))[0] == 200
        (one,) = server.clients
        host, port = one._transport.get_extra_info("sockname")
        second_reader, second = await asyncio.open_connection(host, port)
        with contextlib.suppress(ConnectionResetError):
            assert await second_reader.read() == b""
        second.close()
        writer.write(get("/2"))
        assert (await read_answer(reader))[1] == b"/2\n"
