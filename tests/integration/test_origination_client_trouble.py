"""Clients that vanish or send only half: the origin never takes half a request for a whole one, and nothing is left over."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.origin import read_request, running_origin
from tests.harness.originating import URL, Stage, certificates, ok, originating, request
from tests.harness.pki import server_context
from tests.harness.running import host_rule, running_proxy


class Watched:
    """An origin that lets its tests wait for what it has seen."""

    def __init__(self, answer: bytes = b"") -> None:
        self.has_head = asyncio.Event()
        self.has_ended = asyncio.Event()
        self.is_cut = False
        self.answer = answer
        self.body = bytearray()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a head, say the answer, read on to the end."""
        await reader.readuntil(b"\r\n\r\n")
        self.has_head.set()
        writer.write(self.answer)
        try:
            while data := await reader.read(65536):
                self.body += data
        except OSError:
            self.is_cut = True
        finally:
            self.has_ended.set()


@pytest.mark.attack(
    "a client that vanishes in the middle of its body: the origin sees a cut, and no whole request",
    expect="cut",
    topic="faults",
    motive="RFC 9112 §8",
)
@pytest.mark.parametrize("framing", ["Content-Length: 9", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("leaves", ["reset", "close", "half-close"])
async def test_a_client_that_leaves_in_mid_upload_cuts_the_request(framing: str, leaves: str) -> None:
    """The origin sees a body without its end (RFC 9112 §8)."""
    watched = Watched()
    async with originating(watched) as stage, asyncio.timeout(10):
        client = await stage.client()
        client.send(request(f"{URL}/", framing, method="POST") + b"4\r\nhalf\r\n"[: 4 if "9" in framing else 9])
        await watched.has_head.wait()
        if leaves == "reset":
            client.reset()
        elif leaves == "close":
            client.writer.close()
        else:
            client.writer.write_eof()
            assert await client.rest() == b""
        await watched.has_ended.wait()
        (line,) = await stage.logged(1)
    assert line["code"] == "client_closed"
    assert len(watched.body) <= 9
    assert b"0\r\n" not in watched.body


@pytest.mark.attack("a client that vanishes in the middle of a response", expect="cut", topic="faults")
async def test_a_client_that_vanishes_in_mid_download_ends_the_upstream_connection() -> None:
    """Nobody is left to read the rest."""
    watched = Watched(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    async with originating(watched) as stage, asyncio.timeout(10):
        client = await stage.client()
        client.get()
        await client.head()
        client.reset()
        await watched.has_ended.wait()
        (line,) = await stage.logged(1)
    assert (line["code"], line["status"], line["bytes_down"]) == ("client_closed", 499, 4)


async def test_a_client_that_closes_in_mid_download_is_noticed_by_the_next_bytes() -> None:
    """A close looks like the end of its direction until something is sent to it."""
    has_left = asyncio.Event()
    has_ended = asyncio.Event()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await has_left.wait()
        try:
            while True:
                writer.write(b"4\r\nmore\r\n")
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            has_ended.set()

    async with originating(origin) as stage, asyncio.timeout(10):
        client = await stage.client()
        client.get()
        await client.head()
        client.writer.close()
        has_left.set()
        await has_ended.wait()
        (line,) = await stage.logged(1)
    assert line["code"] == "client_closed"


@pytest.mark.attack("a client that vanishes while its upstream is opened", expect="client_closed", topic="faults")
@pytest.mark.parametrize("is_reset", [True, False])
async def test_a_client_that_vanishes_while_the_upstream_is_opened_sends_nothing(*, is_reset: bool) -> None:
    """No whole request whose client is gone, and after a reset not one byte of it; the next client is served."""
    root, leaf = certificates()
    gate = asyncio.Event()
    async with (
        running_origin(server_context(leaf), gate=gate) as origin,
        running_proxy(host_rule([leaf.pin], root.anchors, port=origin.port)) as proxy,
        asyncio.timeout(10),
    ):
        stage = Stage(origin, proxy)
        client = await stage.client()
        client.send(request(f"{URL}/gone") if is_reset else request(f"{URL}/gone", "Content-Length: 4", method="POST") + b"bo")
        await origin.accepted()
        if is_reset:
            client.reset()
            await proxy.connection()
        else:
            client.writer.close()
        gate.set()
        await proxy.connection()
        other = await stage.client()
        other.get(f"{URL}/next")
        assert (await other.response()).body == b"GET /next 0\n"
        lines = await stage.logged(2)
    assert lines[0]["code"] == "client_closed"
    assert b"body" not in origin.received
    assert not (is_reset and b"/gone" in origin.received)


async def test_a_client_may_end_its_direction_and_still_read_the_answer() -> None:
    """A half-close is no disappearance (RFC 9112 §9.6)."""
    go_on = asyncio.Event()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await go_on.wait()
        writer.write(ok(b"late"))

    async with originating(origin) as stage:
        client = await stage.client()
        client.get()
        client.writer.write_eof()
        go_on.set()
        assert (await client.response()).body == b"late"
        assert await client.rest() == b""
        (line,) = await stage.logged(1)
    assert line["code"] is None


async def test_a_client_that_leaves_between_two_requests_ends_in_good_order() -> None:
    """One line for the request, none for the end."""
    async with originating() as stage:
        client = await stage.client()
        client.get()
        await client.response()
        client.writer.write_eof()
        assert await client.rest() == b""
        (line,) = await stage.logged(1)
    assert line["code"] is None


async def test_a_client_that_leaves_inside_a_head_gets_no_answer() -> None:
    """Nobody is there to read one; the log has it."""
    async with originating() as stage:
        client = await stage.client()
        client.send(request()[:-2])
        client.writer.write_eof()
        assert await client.rest() == b""
        (line,) = await stage.logged(1)
    assert (line["code"], line["mode"]) == ("client_closed", "none")


async def test_the_end_of_the_proxy_is_no_fault_of_the_client() -> None:
    """What is cut by a stop is logged as that."""
    watched = Watched()
    async with originating(watched) as stage, asyncio.timeout(10):
        client = await stage.client()
        client.get()
        await watched.has_head.wait()
        await stage.proxy.server.stop()
        await watched.has_ended.wait()
        (line,) = await stage.logged(1)
    assert line["code"] == "draining"
