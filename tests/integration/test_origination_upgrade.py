"""Upgrade through origination: after 101 both sides speak something else, and it passes as it is (RFC 9110 §7.8)."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.origin import Handler, body_of
from tests.harness.originating import URL, answering, ok, originating, request

UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhl")
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nKeep-Alive: 1\r\n\r\n"


def switching(behind_101: bytes = b"") -> Handler:
    """Make an origin that switches and then echoes what it gets."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHING + behind_101)
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    return handle


@pytest.mark.attack("after 101, bytes that look like requests", expect="serve", topic="responses", motive="RFC 6455")
async def test_after_101_bytes_pass_both_ways() -> None:
    """Upgrade and the Connection option go on either way; nothing else of the hop does."""
    async with originating(switching()) as stage:
        client = await stage.client()
        client.get(f"{URL}/", *UPGRADE)
        head = await client.response()
        assert (head.status, head.get("upgrade"), head.get("connection")) == (101, "websocket", "upgrade")
        assert head.get("keep-alive") is None
        for frame in (b"\x81\x05Hello", b"\x00\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"\xff" * 10):
            client.send(frame)
            assert await client.reader.readexactly(len(frame)) == frame
        assert b"\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" in stage.origin.received
        client.writer.write_eof()
        assert await client.rest() == b""
        (line,) = await stage.logged(1)
    assert (line["status"], line["code"], line["bytes_up"], line["bytes_down"]) == (101, None, 40, 40)
    assert line["id"] == head.get("x-pinproxy-id")


async def test_bytes_in_the_same_segment_as_101_and_as_the_request_are_not_lost() -> None:
    """What stands behind either head belongs to the new protocol."""
    async with originating(switching(b"first from the origin,")) as stage:
        client = await stage.client()
        client.send(request(f"{URL}/", *UPGRADE) + b"first from the client")
        assert (await client.response()).status == 101
        expected = b"first from the origin,first from the client"
        assert await client.reader.readexactly(len(expected)) == expected
        assert b"first from the client" in stage.origin.received


@pytest.mark.attack(
    "a request behind an Upgrade that the origin does not grant",
    expect="neutralise",
    topic="requests",
    motive="RFC 9110 §7.8",
)
async def test_nothing_behind_an_upgrade_request_goes_on_before_the_answer() -> None:
    """Only the answer says whether it is a request or something else."""
    async with originating(answering(ok(b"no switch"), ok(b"next"))) as stage:
        client = await stage.client()
        client.send(request(f"{URL}/", *UPGRADE) + request(f"{URL}/next"))
        assert (await client.response()).body == b"no switch"
        assert (await client.response()).body == b"next"
        await stage.logged(2)


@pytest.mark.attack("101 that nobody asked for", expect="upstream_closed", topic="responses", motive="RFC 9110 §7.8")
async def test_101_without_being_asked_is_no_answer() -> None:
    """A server may switch only to what the client named (RFC 9110 §7.8)."""
    async with originating(answering(SWITCHING)) as stage:
        client = await stage.client()
        client.get()
        response = await client.response()
        assert (response.status, response.code) == (502, "upstream_closed")
        await stage.logged(1)


@pytest.mark.attack(
    "101 in the middle of a request's body, whose rest would be read as another protocol",
    expect="upstream_closed",
    topic="responses",
    motive="RFC 9110 §7.8",
)
async def test_a_request_with_a_body_asks_for_no_other_protocol() -> None:
    """A server may ignore Upgrade, and so may we; without a body, as in the tests above, it goes on."""
    async with originating(switching()) as stage:
        client = await stage.client()
        client.send(request(f"{URL}/", "Content-Length: 4", *UPGRADE, method="POST") + b"be")
        response = await client.response()
        assert (response.status, response.code) == (502, "upstream_closed")
        assert b"upgrade" not in stage.origin.received.lower()
        await stage.logged(1)


async def test_an_upgrade_in_http_1_0_is_not_passed_on() -> None:
    """HTTP/1.0 has none (RFC 9110 §7.8)."""
    async with originating() as stage:
        client = await stage.client()
        client.get(f"{URL}/", *UPGRADE, minor=0)
        assert (await client.response()).status == 200
        assert b"upgrade" not in stage.origin.received.lower()


@pytest.mark.attack("after 101, more bytes than either side takes at once", expect="bound", topic="responses", motive="RFC 6455")
async def test_a_large_exchange_after_101_arrives_whole() -> None:
    """Backpressure holds without HTTP around it, too."""
    data = body_of(2**20)
    async with originating(switching()) as stage:
        client = await stage.client()
        client.get(f"{URL}/", *UPGRADE)
        assert (await client.response()).status == 101
        client.send(data)
        assert await client.reader.readexactly(len(data)) == data
        client.writer.close()
        (line,) = await stage.logged(1)
    assert (line["bytes_up"], line["bytes_down"]) == (len(data), len(data))


@pytest.mark.parametrize("is_cut", [False, True])
async def test_the_end_of_the_origins_side_reaches_the_client_as_what_it_was(*, is_cut: bool) -> None:
    """An end is an end; a connection that is cut looks cut, behind everything that came before it."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHING + b"last words")
        if is_cut:
            writer.transport.abort()

    async with originating(origin) as stage:
        client = await stage.client()
        client.get(f"{URL}/", *UPGRADE)
        assert (await client.response()).status == 101
        assert await client.reader.readexactly(10) == b"last words"
        if is_cut:
            with pytest.raises(ConnectionResetError):
                await client.rest()
        else:
            assert await client.rest() == b""
        client.writer.close()
        (line,) = await stage.logged(1)
    assert line["code"] == ("upstream_closed" if is_cut else None)
