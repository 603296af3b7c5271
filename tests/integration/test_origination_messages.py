"""Requests and responses through origination: every method and framing, both directions, as RFC 9112 has them."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.harness.origin import body_of, read_request
from tests.harness.originating import URL, answering, ok, originating, request


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_a_method_reaches_the_origin_and_its_answer_comes_back(method: str) -> None:
    """The request line goes on in origin-form (RFC 9112 §3.2.1)."""
    async with originating() as stage:
        client = await stage.client()
        client.get(f"{URL}/a?b=c", method=method)
        response = await client.response()
        assert (response.status, response.body) == (200, f"{method} /a?b=c 0\n".encode())
        (line,) = await stage.logged(1)
    assert (line["mode"], line["method"], line["status"], line["code"]) == ("origination", method, 200, None)
    assert line["decision"] == "allow"


async def test_head_has_no_body_but_its_length() -> None:
    """The connection lives on behind a response to HEAD, whose Content-Length tells of no body (RFC 9110 §9.3.2)."""
    async with originating() as stage:
        client = await stage.client()
        client.get(method="HEAD")
        head = await client.response(is_bodiless=True)
        assert (head.status, head.get("content-length")) == (200, "9")
        client.get()
        assert (await client.response()).body == b"GET / 0\n"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_status_without_a_body_ends_with_its_head(status: bytes) -> None:
    """The next response follows at once on either connection (RFC 9112 §6.3)."""
    async with originating(answering(b'HTTP/1.1 %b\r\nETag: "1"\r\n\r\n' % status, ok(b"next"))) as stage:
        client = await stage.client()
        client.get()
        head = await client.response()
        assert (head.status, head.get("etag"), head.get("content-length")) == (int(status[:3]), '"1"', None)
        client.get()
        assert (await client.response()).body == b"next"
        assert stage.origin.handshakes == 1


async def test_options_for_the_server_as_a_whole_reaches_it_as_an_asterisk() -> None:
    """An OPTIONS without path or query becomes `*` at the last proxy (RFC 9112 §3.2.4)."""
    async with originating() as stage:
        client = await stage.client()
        client.get(URL, method="OPTIONS")
        assert (await client.response()).body == b"OPTIONS * 0\n"


async def test_chunks_and_trailers_pass_both_ways() -> None:
    """A chunked body stays chunked, and its trailers stay behind it (RFC 9112 §7.1)."""
    received = bytearray()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.readuntil(b"Sum: 1\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndown\r\n0\r\nSum: 2\r\n\r\n")

    async with originating(origin) as stage:
        client = await stage.client()
        client.send(request(f"{URL}/", "Transfer-Encoding: chunked", "TE: trailers", "Connection: TE", method="POST"))
        client.send(b"2;ext=1\r\nup\r\n0\r\nSum: 1\r\n\r\n")
        response = await client.response()
    assert (response.body, response.trailers) == (b"down", (("sum", "2"),))
    assert bytes(received).endswith(b"\r\n\r\n2\r\nup\r\n0\r\nSum: 1\r\n\r\n")
    assert b"TE: trailers\r\n" in received


async def test_a_response_passes_piece_by_piece() -> None:
    """The client has the first byte before the origin has sent the last."""
    has_first = asyncio.Event()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await has_first.wait()
        writer.write(b"b")

    async with originating(origin) as stage:
        client = await stage.client()
        client.get()
        await client.head()
        assert await client.reader.readexactly(1) == b"a"
        has_first.set()
        assert await client.reader.readexactly(1) == b"b"


@pytest.mark.parametrize(
    ("framing", "first", "last"), [("Content-Length: 2", b"a", b"b"), ("Transfer-Encoding: chunked", b"1\r\na\r\n", b"0\r\n\r\n")]
)
async def test_a_request_passes_piece_by_piece(framing: str, first: bytes, last: bytes) -> None:
    """The origin has the first byte before the client has sent the last."""
    has_first = asyncio.Event()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(first)) == first
        has_first.set()
        assert await reader.readexactly(len(last)) == last
        writer.write(ok(b"done"))

    async with originating(origin) as stage:
        client = await stage.client()
        client.send(request(f"{URL}/", framing, method="POST") + first)
        async with asyncio.timeout(10):
            await has_first.wait()
        client.send(last)
        assert (await client.response()).body == b"done"


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_large_bodies_arrive_as_they_were_sent(*, is_chunked: bool) -> None:
    """4 MiB down and 1 MiB up come out with the hashes they went in with."""
    down, up = body_of(4 * 2**20), body_of(2**20)
    seen = []

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = await read_request(reader)
        assert found is not None
        seen.append(hashlib.sha256(found[1]).digest())
        if is_chunked:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(down))
            writer.write(down + b"\r\n0\r\n\r\n")
        else:
            writer.write(ok(down))
        await writer.drain()

    async with originating(origin) as stage:
        client = await stage.client()
        if is_chunked:
            client.send(request(f"{URL}/", "Transfer-Encoding: chunked", method="PUT"))
            client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(up), up))
        else:
            client.send(request(f"{URL}/", f"Content-Length: {len(up)}", method="PUT") + up)
        response = await client.response()
        assert hashlib.sha256(response.body).digest() == hashlib.sha256(down).digest()
        assert seen == [hashlib.sha256(up).digest()]
        (line,) = await stage.logged(1)
    assert (line["bytes_up"], line["bytes_down"]) == (len(up), len(down))


async def test_a_body_until_close_becomes_chunked() -> None:
    """So the client's connection lives on, and its end, a close_notify that nobody can forge, is the last chunk."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")

    async with originating(origin) as stage:
        client = await stage.client()
        for _ in range(2):
            client.get()
            response = await client.response()
            assert (response.body, response.chunks, response.get("connection")) == (b"all of it", (9,), None)
        assert stage.origin.handshakes == 2


UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody"
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nbody\r\n0\r\n\r\n"


@pytest.mark.parametrize("wishes", [(), ("Connection: keep-alive",)])
@pytest.mark.parametrize("answer", [UNTIL_CLOSE, IN_CHUNKS])
async def test_http_1_0_gets_a_body_until_close(answer: bytes, wishes: tuple[str, ...]) -> None:
    """HTTP/1.0 knows no chunks; where the length is unknown, the end of the connection ends the body (RFC 9112 §6.3)."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)

    async with originating(origin) as stage:
        client = await stage.client()
        client.get(f"{URL}/", *wishes, minor=0)
        response = await client.response()
        assert (response.body, response.get("transfer-encoding"), response.get("connection")) == (b"body", None, "close")


@pytest.mark.attack("keep-alive in HTTP/1.0", expect="serve", topic="requests", motive="RFC 9112 §9.3")
async def test_http_1_0_keeps_its_connection_where_it_asks_and_the_length_is_known() -> None:
    """Persistence has to be asked for in HTTP/1.0, and confirmed (RFC 9112 §9.3)."""
    async with originating() as stage:
        client = await stage.client()
        for _ in range(2):
            client.get(f"{URL}/", "Connection: keep-alive", minor=0)
            response = await client.response()
            assert (response.body, response.get("connection")) == (b"GET / 0\n", "keep-alive")
        client.get(minor=0)
        assert (await client.response()).get("connection") == "close"
        assert await client.rest() == b""
        assert stage.origin.handshakes == 1
