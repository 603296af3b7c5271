"""The first bytes of a client: looked at, and left where they are for whoever comes next."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator

import pytest

from pinproxy.errors import ClientClosed, ClientHelloInvalid, HeadTooLarge, NotTls, Overloaded
from pinproxy.net.peek import peek_at_least, peek_client_hello, read_head
from tests.harness.tls_handshakes import client_context, client_hello_bytes, refragment

HEAD = b"CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test:443\r\n\r\n"
HELLO = client_hello_bytes(client_context("h2"))
LIMIT = 64 * 1024


@contextlib.asynccontextmanager
async def client_and_us() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """Connect a client to us over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ours, _ = listener.accept()
        with ours:
            ours.settimeout(0)
            yield client, ours


async def waits(task: asyncio.Task[object]) -> bool:
    """Let the loop run a few times, and tell whether a task is still waiting."""
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


async def test_what_is_peeked_at_stays_in_the_socket() -> None:
    """Twice the same, and then it can still be read."""
    async with client_and_us() as (client, ours):
        client.sendall(b"CONNECT")
        for _ in range(2):
            assert await peek_at_least(ours, 7) == b"CONNECT"
        assert ours.recv(100) == b"CONNECT"


async def test_a_peek_waits_until_there_is_enough() -> None:
    """More comes with the next segment; nothing is asked for again in between."""
    async with client_and_us() as (client, ours):
        client.sendall(b"CON")
        peeking = asyncio.create_task(peek_at_least(ours, 7))
        assert await waits(peeking)
        client.sendall(b"NECT api")
        assert (await peeking).startswith(b"CONNECT")
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1


@pytest.mark.attack(
    "more clients than the process may have descriptors",
    expect=("bound", "overloaded"),
    topic="resources",
    motive="asyncio's pause after EMFILE",
)
async def test_without_a_descriptor_to_wait_with_the_client_is_told_that_we_are_overloaded() -> None:
    """What is there already can be seen without one."""
    async with client_and_us() as (client, ours):
        client.sendall(b"CON")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        probe = os.open(os.devnull, os.O_RDONLY)
        os.close(probe)
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
        try:
            assert await peek_at_least(ours, 3) == b"CON"
            with pytest.raises(Overloaded, match="no descriptor is left to wait"):
                await peek_at_least(ours, 4)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("said", [b"", b"CON"])
async def test_a_peek_ends_with_the_client(said: bytes) -> None:
    """Fewer bytes than asked for: nothing more will come."""
    async with client_and_us() as (client, ours):
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(5):
            assert await peek_at_least(ours, 7) == said


async def test_a_reset_is_the_clients() -> None:
    """Not an error of ours."""
    async with client_and_us() as (client, ours):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        client.close()
        with pytest.raises(ClientClosed):
            await peek_at_least(ours, 1)


# --- heads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [b"", HELLO, b"\r\n\r\n", b"x" * 40_000])
async def test_a_head_is_read_and_not_one_byte_more(behind: bytes) -> None:
    """What comes in the same segment belongs to somebody else."""
    async with client_and_us() as (client, ours):
        client.sendall(HEAD + behind)
        assert await read_head(ours, LIMIT) == HEAD
        rest = b""
        while len(rest) < len(behind):
            piece = await peek_at_least(ours, 1)
            rest += ours.recv(len(piece))
        assert rest == behind


async def test_a_head_may_come_in_any_pieces() -> None:
    """Also with its end cut in every place."""
    for cut in range(1, len(HEAD), 7):
        async with client_and_us() as (client, ours):
            client.sendall(HEAD[:cut])
            reading = asyncio.create_task(read_head(ours, LIMIT))
            assert await waits(reading)
            client.sendall(HEAD[cut:] + b"behind")
            assert await reading == HEAD
            assert await peek_at_least(ours, 6) == b"behind"


@pytest.mark.parametrize("over", [0, 1])
async def test_a_head_over_the_limit_is_refused(over: int) -> None:
    """Exactly the limit is inside."""
    async with client_and_us() as (client, ours):
        client.sendall(HEAD)
        if over:
            with pytest.raises(HeadTooLarge):
                await read_head(ours, len(HEAD) - 1)
        else:
            assert await read_head(ours, len(HEAD)) == HEAD


@pytest.mark.attack("a head without an end", expect="head_too_large", topic="resources", motive="slowloris")
async def test_a_head_without_an_end_is_refused_at_the_limit() -> None:
    """Before the sender tires of it."""
    async with client_and_us() as (client, ours):
        client.sendall(b"CONNECT a:1 HTTP/1.1\r\n" + b"X: y\r\n" * 1000)
        with pytest.raises(HeadTooLarge):
            await read_head(ours, 4096)


async def test_a_client_that_ends_inside_a_head_has_closed() -> None:
    """There is nobody to answer."""
    async with client_and_us() as (client, ours):
        client.sendall(HEAD[:-2])
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(ClientClosed):
            await read_head(ours, LIMIT)


# --- ClientHellos --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flight", [HELLO, refragment(HELLO, 64), HELLO + b"early data"], ids=["whole", "in records", "with more behind"]
)
async def test_a_client_hello_is_read_and_stays_for_the_tls_library(flight: bytes) -> None:
    """In one record or many; its size tells where it ends."""
    async with client_and_us() as (client, ours):
        client.sendall(flight)
        peeked = await peek_client_hello(ours)
        assert (peeked.hello.server_name, peeked.hello.alpn) == ("api.example.com", ("h2",))
        assert peeked.size_bytes == len(flight.removesuffix(b"early data"))
        assert ours.recv(100_000) == flight


async def test_a_client_hello_may_come_byte_by_byte() -> None:
    """Each look sees more than the last one."""
    async with client_and_us() as (client, ours):
        peeking = asyncio.create_task(peek_client_hello(ours))
        for byte in HELLO[:-1]:
            client.sendall(bytes([byte]))
            await asyncio.sleep(0)
        assert await waits(peeking)
        client.sendall(HELLO[-1:])
        assert (await peeking).hello.server_name == "api.example.com"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", NotTls),
        (HELLO[:50], ClientHelloInvalid),
        (b"", ClientClosed),
        (HELLO[:5] + b"\x02" + HELLO[6:], ClientHelloInvalid),
    ],
    ids=["HTTP", "half a hello", "nothing", "another message"],
)
async def test_anything_else_is_refused_for_what_it_is(said: bytes, kind: type[Exception]) -> None:
    """Another protocol, an end, and TLS that must not pass are three things."""
    async with client_and_us() as (client, ours):
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(kind):
            await peek_client_hello(ours)
