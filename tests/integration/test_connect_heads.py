"""CONNECT heads that two readers could read differently."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.clients import connect, read_head
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


@pytest.mark.parametrize("field", ["Content-Length: 0", "Connection: keep-alive"])
async def test_a_connect_without_content_is_served(field: str) -> None:
    """The twin: the same head, with fields that mean one thing."""
    async with originating() as stage:
        assert await answer_to(stage.proxy, field) == b"HTTP/1.1 200 Connection established"
