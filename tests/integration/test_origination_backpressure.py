"""A slow reader makes the fast writer wait: what the proxy holds is bounded by `limits.buffer_bytes`, not by the body."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from pinproxy.limits import Limits
from pinproxy.net.relay import Relay
from pinproxy.net.transport import READ_BYTES, SocketTransport
from pinproxy.proxy.carried import Carried
from pinproxy.proxy.http_upstream import HttpUpstream
from pinproxy.proxy.origination import OriginationClient
from tests.harness.origin import body_of, read_request
from tests.harness.originating import URL, Stage, ok, originating, request

PIECE = body_of(2**20)
PIECES = 64
TOTAL = PIECES * len(PIECE)
LIMITS = Limits(buffer_bytes=64 * 1024)
MOST_HELD = LIMITS.buffer_bytes + READ_BYTES + 64  # the mark, the read that went over it, and its chunk line
MOST_MEMORY = 16 * 2**20  # of this whole process: proxy, client and origin, buffers of asyncio's streams included


@pytest.fixture(scope="module")
def digest() -> bytes:
    """The hash of the whole body."""
    whole = hashlib.sha256()
    for _ in range(PIECES):
        whole.update(PIECE)
    return whole.digest()


@pytest.fixture(autouse=True)
def counted_memory() -> Iterator[None]:
    """Count what Python allocates."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def until(is_so: Callable[[], object]) -> None:
    """Wait for something inside the proxy that nobody is told of."""
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - as said
            await asyncio.sleep(0.001)


async def in_flight(stage: Stage) -> tuple[OriginationClient, SocketTransport]:
    """Wait until the only client's request is on its way; return the proxy's side of the client and the origin's transport."""
    (slot,) = stage.proxy.server._proxy.live._slots

    def upstream() -> HttpUpstream | None:
        client = slot.carrying
        return client._exchange._upstream if isinstance(client, OriginationClient) and client._exchange is not None else None

    await until(upstream)
    found = upstream()
    assert isinstance(slot.carrying, OriginationClient)
    assert found is not None
    return slot.carrying, found.transport


async def held_up(reading: SocketTransport, writing: SocketTransport) -> None:
    """Wait until one side is not read any more, and check that the other holds no more than it may."""
    await until(lambda: not reading.is_reading())
    assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    # Held pieces count a little more than their bytes, so the mark is reached a little before as many bytes are held.
    assert LIMITS.buffer_bytes * 3 // 4 < writing.get_write_buffer_size() <= MOST_HELD


async def write_all(writer: asyncio.StreamWriter) -> None:
    """Write the body as fast as it is taken."""
    for _ in range(PIECES):
        for start in range(0, len(PIECE), 2**16):
            writer.write(PIECE[start : start + 2**16])
            await writer.drain()


async def digest_of(reader: asyncio.StreamReader) -> bytes:
    """Read the body and return its hash."""
    found, left = hashlib.sha256(), TOTAL
    while left:
        data = await reader.read(min(left, 2**16))
        assert data, f"{left} bytes are missing"
        left -= len(data)
        found.update(data)
    return found.digest()


async def digest_of_chunks(reader: asyncio.StreamReader) -> bytes:
    """Read the body in chunks and return its hash."""
    found = hashlib.sha256()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        found.update((await reader.readexactly(size + 2))[:-2])
    return found.digest()


@pytest.mark.attack(
    "a slow reader and a fast writer, in either direction and in each mode",
    expect="bound",
    topic="resources",
    motive="asyncio's drain(); Envoy's watermarks",
)
async def test_a_client_that_does_not_read_holds_up_the_origin(digest: bytes) -> None:
    """64 MiB are not read from the origin before the client takes them; then they arrive as they were sent."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % TOTAL)
        await write_all(writer)
        await reader.read()

    async with originating(origin, limits=LIMITS) as stage:
        client = await stage.client(receive_buffer_bytes=4096)
        client.get()
        ours, to_origin = await in_flight(stage)
        await held_up(to_origin, ours.transport)
        await client.head()
        assert await digest_of(client.reader) == digest
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        (line,) = await stage.logged(1)
    assert line["bytes_down"] == TOTAL


@pytest.mark.attack(
    "a slow reader and a fast writer, in either direction and in each mode",
    expect="bound",
    topic="resources",
    motive="asyncio's drain(); Envoy's watermarks",
)
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_an_origin_that_does_not_read_holds_up_the_client(digest: bytes, *, is_chunked: bool) -> None:
    """The twin on the way up."""
    go_on = asyncio.Event()
    digests = []

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        digests.append(await (digest_of_chunks(reader) if is_chunked else digest_of(reader)))
        writer.write(ok(b"done"))

    async with originating(origin, limits=LIMITS) as stage:
        client = await stage.client()
        framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {TOTAL}"
        client.send(request(f"{URL}/", framing, method="POST"))
        if is_chunked:
            client.send(b"%x\r\n" % TOTAL)
        uploading = asyncio.get_running_loop().create_task(write_all(client.writer))
        ours, to_origin = await in_flight(stage)
        await held_up(ours.transport, to_origin)
        go_on.set()
        await uploading
        if is_chunked:
            client.send(b"\r\n0\r\n\r\n")
        assert (await client.response()).body == b"done"
        assert digests == [digest]
        (line,) = await stage.logged(1)
    assert line["bytes_up"] == TOTAL


@pytest.mark.attack(
    "a WebSocket frame that announces 4 GiB, and an origin that does not read it",
    expect="bound",
    topic="resources",
    motive="RFC 6455 §5.2",
)
async def test_a_frame_of_4_gib_is_held_up_like_any_other_bytes(digest: bytes) -> None:
    """Behind 101 nothing is parsed, so nothing is made room for; what comes is carried as fast as it is taken."""
    go_on = asyncio.Event()
    header = b"\x82\xff" + (2**32).to_bytes(8, "big") + b"mask"
    received: list[bytes] = []

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        await go_on.wait()
        received.append(await reader.readexactly(len(header)))
        received.append(await digest_of(reader))
        writer.write(b"\x88\x00")

    async with originating(origin, limits=LIMITS) as stage:
        client = await stage.client()
        client.get(f"{URL}/", "Upgrade: websocket", "Connection: Upgrade")
        assert (await client.response()).status == 101
        (slot,) = stage.proxy.server._proxy.live._slots
        assert isinstance(slot.carrying, Carried)
        relay = slot.carrying._relay
        assert isinstance(relay, Relay)
        client.send(header)
        sending = asyncio.get_running_loop().create_task(write_all(client.writer))
        assert relay.client.transport is not None
        assert relay.upstream.transport is not None
        await held_up(relay.client.transport, relay.upstream.transport)
        go_on.set()
        await sending
        assert await client.reader.readexactly(2) == b"\x88\x00"
        assert received == [header, digest]
        client.writer.close()
        (line,) = await stage.logged(1)
    assert (line["bytes_up"], line["bytes_down"]) == (len(header) + TOTAL, 2)


async def test_what_a_client_sends_behind_its_request_stays_in_the_kernel() -> None:
    """Pipelined bytes are read when their turn comes, so that they cost nothing while an answer is awaited."""
    go_on = asyncio.Event()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await go_on.wait()
        writer.write(ok(b"first"))

    async with originating(origin, limits=LIMITS) as stage:
        client = await stage.client()
        client.get()
        sending = asyncio.get_running_loop().create_task(write_all(client.writer))
        ours, _ = await in_flight(stage)
        await until(lambda: not ours.transport.is_reading())
        assert ours._reader.buffered <= READ_BYTES
        go_on.set()
        assert (await client.response()).body == b"first"
        sending.cancel()
        client.reset()


@pytest.mark.attack("pipelined requests from a client that reads no answer", expect="bound", topic="resources")
async def test_pipelined_requests_wait_for_a_client_that_does_not_read() -> None:
    """The next one begins only when the answers to the last ones are taken: their number does not multiply what is held."""
    count, size = 600, 15_000
    begun = 0

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal begun
        while await read_request(reader) is not None:
            begun += 1
            writer.write(ok(PIECE[:size]))
            await writer.drain()

    async with originating(origin, limits=LIMITS) as stage:
        client = await stage.client(receive_buffer_bytes=4096)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(request() * count)
        to_client = (await in_flight(stage))[0].transport
        await until(lambda: to_client.get_write_buffer_size() > LIMITS.buffer_bytes)
        # A request begun in spite of it would be answered by now.
        await asyncio.sleep(0.05)
        assert begun < count
        assert to_client.get_write_buffer_size() <= MOST_HELD
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(count):
            assert (await client.response()).body == PIECE[:size]
        await stage.logged(count)
        assert stage.origin.handshakes == 1


async def test_a_response_that_ends_while_its_reader_is_slow_leaves_its_connection_in_order() -> None:
    """The upstream was told to pause for that reader; the next request on it is somebody else's."""
    stage: Stage

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        ours, _ = await in_flight(stage)
        record = ours._exchange.record if ours._exchange is not None else None
        assert record is not None
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        room = 4096
        while ours.transport.get_write_buffer_size() <= LIMITS.buffer_bytes - 3 * room:
            writer.write(b"%x\r\n%b\r\n" % (room, PIECE[:room]))
            before = record.bytes_down
            await until(lambda before=before: record.bytes_down > before)  # type: ignore[misc]
        # One record goes over the mark and ends the response.
        last = 15 * 1024
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (last, PIECE[:last]))
        await until(lambda: ours._exchange is None)
        assert ours.transport.get_write_buffer_size() > LIMITS.buffer_bytes
        await read_request(reader)
        writer.write(ok(b"in order"))
        await reader.read()

    async with originating(origin, limits=LIMITS) as stage:
        client = await stage.client(receive_buffer_bytes=4096)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.get()
        await in_flight(stage)
        await until(lambda: len(stage.proxy.connections))
        other = await stage.client()
        other.get()
        assert (await other.response()).body == b"in order"
        assert stage.origin.handshakes == 1
        client.reset()


async def test_a_connection_with_unsent_bytes_is_not_used_again() -> None:
    """An origin that answers without reading the request to its end would read the next one behind the rest of this."""
    answer_now = asyncio.Event()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await answer_now.wait()
        writer.write(ok(head.split(b" ")[0]))
        await asyncio.Event().wait()

    async with originating(origin, limits=Limits(buffer_bytes=TOTAL)) as stage:
        client = await stage.client()
        size = 16 * len(PIECE)
        client.send(request(f"{URL}/", f"Content-Length: {size}", method="POST") + PIECE * 16)
        ours, to_origin = await in_flight(stage)
        await until(lambda: ours._exchange is not None and ours._exchange.is_request_done)
        assert to_origin.get_write_buffer_size() > 0
        answer_now.set()
        assert (await client.response()).body == b"POST"
        assert to_origin.is_closing()
        client.get()
        assert (await client.response()).body == b"GET"
        assert stage.origin.handshakes == 2
