"""What is carried arrives as it was sent, byte for byte, both ways; ends stay ends and cuts stay cuts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator

import pytest

from tests.harness.blocking_origin import BlockingOrigin, Story, blocking_origin
from tests.harness.clients import end_direction, get_head, open_intercepted, read_head, read_to_end
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy
from tests.harness.scene import origin_and_proxy

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
CONTEXT = server_context(LEAF)
MEBIBYTE = 1024 * 1024
in_thread = asyncio.to_thread

each_version = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@contextlib.asynccontextmanager
async def intercepted(
    story: Story, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> AsyncIterator[tuple[BlockingOrigin, RunningProxy]]:
    """Run an origin that can end and cut, and a proxy that pins it."""
    context = server_context(LEAF)
    context.maximum_version = version
    with blocking_origin(context, story) as origin:
        async with running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port)) as proxy:
            yield origin, proxy


def pattern(seed: bytes, size: int) -> bytes:
    """Make bytes without a period, the same for the same seed."""
    return hashlib.shake_128(seed).digest(size)


async def test_a_protocol_that_is_no_http_is_carried_word_for_word() -> None:
    """After the handshake it is bytes: here a client that waits for each echo before it says more, as WebSockets do."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    words = [b"\x00", b"\x81\x05hello", pattern(b"frame", 70_000), b"\r\n\r\n", b"\xff" * 3]

    def talk(proxy: RunningProxy) -> list[bytes]:
        heard = []
        with open_intercepted(proxy) as tls:
            for word in words:
                tls.sendall(word)
                heard.append(b"")
                while len(heard[-1]) < len(word):
                    heard[-1] += tls.recv(65536)
            tls.unwrap()
        return heard

    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, echo) as (origin, proxy):
        assert await in_thread(talk, proxy) == words
        line = await proxy.connection()
        total = sum(map(len, words))
        assert (line["bytes_up"], line["bytes_down"], line["code"]) == (total, total, None)
        assert bytes(origin.received) == b"".join(words)


async def test_four_mebibytes_arrive_whole_in_each_direction() -> None:
    """More than every buffer between the two ends holds, so that each of them fills and empties many times."""
    up, down = pattern(b"up", 4 * MEBIBYTE), pattern(b"down", 4 * MEBIBYTE)

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.readexactly(len(up))
        writer.write(hashlib.sha256(received).digest() + down)
        await writer.drain()

    def talk(proxy: RunningProxy) -> bytes:
        with open_intercepted(proxy) as tls:
            tls.sendall(up)
            return read_to_end(tls)

    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, exchange) as (_origin, proxy):
        answer = await in_thread(talk, proxy)
        assert answer[:32] == hashlib.sha256(up).digest()
        assert hashlib.sha256(answer[32:]).digest() == hashlib.sha256(down).digest()
        line = await proxy.connection()
        assert (line["bytes_up"], line["bytes_down"]) == (len(up), 32 + len(down))


@each_version
async def test_a_client_may_end_its_direction_and_still_be_answered(version: ssl.TLSVersion) -> None:
    """A half-close goes through as one: the origin sees the end of the request and answers after it."""

    def answers_after_the_end(tls: ssl.SSLSocket) -> None:
        received = read_to_end(tls)
        tls.sendall(b"%d bytes, thank you" % len(received))
        with contextlib.suppress(OSError):
            tls.unwrap()

    def talk(proxy: RunningProxy) -> bytes:
        with open_intercepted(proxy) as tls:
            tls.sendall(b"x" * 100_000)
            end_direction(tls)
            return read_to_end(tls)

    async with intercepted(answers_after_the_end, version) as (origin, proxy):
        assert await in_thread(talk, proxy) == b"100000 bytes, thank you"
        assert (await proxy.connection())["code"] is None
        await in_thread(origin.join)
        assert origin.failures == []


HALF = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it"


@pytest.mark.attack("truncation of a stream, hidden behind a close_notify", expect="cut", topic="faults", motive="RFC 8446 §6.1")
@each_version
async def test_a_response_that_is_cut_looks_cut_to_the_client(version: ssl.TLSVersion) -> None:
    """RFC 8446 §6.1: an end without close_notify may be an attacker's; it is not turned into a good one."""

    def cuts(tls: ssl.SSLSocket) -> None:
        read_head(tls)
        tls.sendall(HALF)

    def talk(proxy: RunningProxy) -> bytes:
        with open_intercepted(proxy) as tls:
            tls.sendall(get_head("/"))
            received = b"".join(tls.recv(1) for _ in HALF)
            with pytest.raises(ssl.SSLEOFError):
                tls.recv(1)
            return received

    async with intercepted(cuts, version) as (_origin, proxy):
        assert await in_thread(talk, proxy) == HALF
        assert (await proxy.connection())["code"] == "upstream_closed"


@each_version
async def test_a_response_that_ends_looks_ended_to_the_client(version: ssl.TLSVersion) -> None:
    """The twin: the origin says goodbye."""

    def ends(tls: ssl.SSLSocket) -> None:
        read_head(tls)
        tls.sendall(HALF)
        with contextlib.suppress(OSError):
            tls.unwrap()

    def talk(proxy: RunningProxy) -> bytes:
        with open_intercepted(proxy) as tls:
            tls.sendall(get_head("/"))
            return read_to_end(tls)

    async with intercepted(ends, version) as (_origin, proxy):
        assert await in_thread(talk, proxy) == HALF
        assert (await proxy.connection())["code"] is None


@pytest.mark.attack("truncation of a stream, hidden behind a close_notify", expect="cut", topic="faults", motive="RFC 8446 §6.1")
@each_version
async def test_a_request_that_is_cut_looks_cut_to_the_origin(version: ssl.TLSVersion) -> None:
    """The other direction: half an upload must not pass for a whole one."""
    seen: list[str] = []

    def listens(tls: ssl.SSLSocket) -> None:
        try:
            read_to_end(tls)
        except ssl.SSLEOFError:
            seen.append("cut")
        else:
            seen.append("ended")

    def cut(proxy: RunningProxy) -> None:
        with open_intercepted(proxy) as tls:
            tls.sendall(b"half an upload")

    def end(proxy: RunningProxy) -> None:
        with open_intercepted(proxy) as tls:
            tls.sendall(b"a whole upload")
            end_direction(tls)
            with contextlib.suppress(OSError):
                read_to_end(tls)

    async with intercepted(listens, version) as (origin, proxy):
        await in_thread(cut, proxy)
        await in_thread(origin.join)
        await in_thread(end, proxy)
        await in_thread(origin.join)
    assert seen == ["cut", "ended"]
