"""CONNECT heads that two readers could read differently."""

from __future__ import annotations

import asyncio

import pytest

from pinproxy.limits import Limits
from tests.harness.clients import connect, on_one_loop, read_head
from tests.harness.originating import originating
from tests.harness.running import HOST, RunningProxy


async def answer_to(proxy: RunningProxy, field: str) -> bytes:
    """Return the status line that a CONNECT with one further field is answered with."""

    def ask() -> bytes:
        with connect(proxy) as sock:
            sock.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n{field}\r\n\r\n".encode("ascii"))
            return read_head(sock).partition(b"\r\n")[0]

    return await asyncio.to_thread(ask)


@pytest.mark.attack(
    "a CONNECT with content, or with a Connection field that names Host",
    expect="bad_request",
    topic="requests",
    motive="RFC 9110 §9.3.6",
)
@pytest.mark.parametrize(
    "field", ["Content-Length: 50", "Transfer-Encoding: chunked", "Connection: host", "Content-Length: 0, 0"]
)
async def test_a_connect_with_content_or_a_broken_connection_field_is_refused(field: str) -> None:
    """RFC 9110 §9.3.6: a CONNECT has no content; what it declares as such would be somebody's next request."""
    async with originating() as stage:
        assert await answer_to(stage.proxy, field) == b"HTTP/1.1 400 Bad Request"
        assert (await stage.proxy.connection())["code"] == "bad_request"


@pytest.mark.attack(
    "a head that comes a byte at a time: its deadline is for the whole of it",
    expect="head_timeout",
    topic="resources",
    motive="slowloris",
)
@pytest.mark.parametrize(
    ("beginning", "drops"),
    [(b"", b""), (b"CONN", b""), (f"CONNECT {HOST}:443 HTTP/1.1\r\nX: ".encode(), b"x")],
    ids=["nothing", "half a word", "the rest of a head"],
)
async def test_a_connect_that_does_not_come_to_its_end_is_given_up(beginning: bytes, drops: bytes) -> None:
    """408 after `limits.head_seconds`, and a byte now and then does not stretch it."""

    def drip(proxy: RunningProxy) -> bytes:
        with connect(proxy) as sock:
            sock.sendall(beginning)
            sock.settimeout(0.03)
            while True:
                try:
                    return sock.recv(100).partition(b"\r\n")[0]
                except TimeoutError:
                    sock.sendall(drops)

    async with originating(limits=Limits(head_seconds=0.2)) as stage, asyncio.timeout(5):
        assert await asyncio.to_thread(drip, stage.proxy) == b"HTTP/1.1 408 Request Timeout"
        assert (await stage.proxy.connection())["code"] == "head_timeout"


@pytest.mark.attack(
    "a head that comes a byte at a time: its deadline is for the whole of it",
    expect="head_timeout",
    topic="resources",
    motive="slowloris",
)
@on_one_loop
@pytest.mark.parametrize("beginning", [b"CONNECT ", b"\x05\x01"], ids=["CONNECT", "SOCKS5"])
async def test_silence_before_the_first_word_counts_for_the_head(beginning: bytes) -> None:
    """Who was silent at first and begins then has no more time than who began at once, and came later."""
    async with originating(limits=Limits(head_seconds=0.4)) as stage, asyncio.timeout(5):
        silent = await asyncio.open_connection("127.0.0.1", stage.proxy.port)
        await asyncio.sleep(0.2)  # time is what this is about
        later = await asyncio.open_connection("127.0.0.1", stage.proxy.port)
        later[1].write(b"CONNECT ")
        await asyncio.sleep(0.1)
        silent[1].write(beginning)
        answers = [asyncio.create_task(reader.read(100)) for reader, _ in (silent, later)]
        first, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        assert answers[0] in first
        await asyncio.wait(answers)
        for _, writer in (silent, later):
            writer.close()


@pytest.mark.parametrize("field", ["Content-Length: 0", "Connection: keep-alive"])
async def test_a_connect_without_content_is_served(field: str) -> None:
    """The twin: the same head, with fields that mean one thing."""
    async with originating() as stage:
        assert await answer_to(stage.proxy, field) == b"HTTP/1.1 200 Connection established"
