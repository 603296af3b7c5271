"""When a request is sent a second time, and when never (RFC 9112 §9.3.1)."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from tests.harness.origin import Handler, read_request, running_origin
from tests.harness.originating import URL, Stage, answering, certificates, ok, originating, request
from tests.harness.pki import make_leaf, server_context
from tests.harness.running import HOST, host_rule, running_proxy


def dying(last_bytes: bytes = b"", *, is_cut: bool = False) -> Handler:
    """Make an origin whose first connection dies with the second request, after these bytes; later ones answer."""
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        is_first = connections == 1
        requests = 0
        while (found := await read_request(reader)) is not None:
            requests += 1
            if is_first and requests == 2:
                writer.write(last_bytes)
                if is_cut:
                    writer.transport.abort()
                return
            writer.write(ok(found[0].split(b" ")[0] + found[1]))

    return handle


async def warmed_up(stage: Stage) -> None:
    """Leave one idle upstream connection in the pool."""
    client = await stage.client()
    client.get()
    assert (await client.response()).status == 200


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "PUT", "DELETE"])
async def test_an_idempotent_request_on_a_reused_connection_that_died_is_sent_again(method: str, *, is_cut: bool) -> None:
    """On a new connection, verified like any other; the client notices nothing."""
    async with originating(dying(is_cut=is_cut)) as stage:
        await warmed_up(stage)
        client = await stage.client()
        client.get(method=method)
        assert (await client.response()).body == method.encode()
        assert stage.origin.handshakes == 2
        assert stage.origin.received.count(method.encode() + b" / HTTP/1.1") == (3 if method == "GET" else 2)
        await stage.logged(2)


@pytest.mark.parametrize(
    "post",
    [
        request(f"{URL}/", "Content-Length: 4", method="POST") + b"body",
        request(f"{URL}/", "Content-Length: 0", method="POST"),
        request(f"{URL}/", "Content-Length: 4", method="PUT") + b"body",
        request(f"{URL}/", "Transfer-Encoding: chunked", method="GET") + b"0\r\n\r\n",
    ],
    ids=["POST", "POST without a body", "PUT with a body", "GET with chunks"],
)
async def test_what_may_have_been_acted_upon_is_not_sent_again(post: bytes) -> None:
    """Not idempotent, or its body is gone: the client has to decide."""
    async with originating(dying()) as stage:
        await warmed_up(stage)
        client = await stage.client()
        client.send(post)
        response = await client.response()
        assert (response.status, response.code) == (502, "upstream_closed")
        assert stage.origin.handshakes == 1
        lines = await stage.logged(2)
    assert [line["code"] for line in lines] == [None, "upstream_closed"]


async def test_a_post_goes_over_a_new_connection_where_the_pooled_one_has_ended() -> None:
    """An end that has already arrived is seen before a request that cannot be sent again is risked on it."""
    has_ended = asyncio.Event()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = await read_request(reader)
        assert found is not None
        writer.write(ok(found[0].split(b" ")[0] + found[1]))
        writer.close()
        await writer.wait_closed()
        has_ended.set()

    async with originating(origin) as stage:
        client = await stage.client()
        client.get()
        await client.response()
        async with asyncio.timeout(10):
            await has_ended.wait()
        client.send(request(f"{URL}/", "Content-Length: 4", method="POST") + b"body")
        assert (await client.response()).body == b"POSTbody"
        assert stage.origin.handshakes == 2
        await stage.logged(2)


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("answer", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_nothing_is_sent_again_after_a_byte_of_an_answer(answer: bytes, *, is_cut: bool) -> None:
    """The origin has begun to act upon it."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(ok(b"first"))
        await read_request(reader)
        writer.write(answer)
        if is_cut:
            await asyncio.sleep(0)
            writer.transport.abort()

    async with originating(origin) as stage:
        await warmed_up(stage)
        client = await stage.client()
        client.get()
        response = await client.response()
        if response.status == 103:
            response = await client.response()
        assert (response.status, response.code) == (502, "upstream_closed")
        assert stage.origin.handshakes == 1
        await stage.logged(2)


@pytest.mark.parametrize("answer", [ok(b"last", "Connection: close"), ok(b"last").replace(b"1.1", b"1.0")])
async def test_a_connection_that_the_origin_wants_to_end_is_not_used_again(answer: bytes) -> None:
    """Whether it has ended it yet or not (RFC 9112 §9.3)."""
    async with originating(answering(answer, ok(b"first"))) as stage:
        client = await stage.client()
        for expected in (b"last", b"first"):
            client.get()
            assert (await client.response()).body == expected
        assert stage.origin.handshakes == 2


async def test_a_new_connection_that_dies_at_once_is_not_tried_again() -> None:
    """One failure is the origin's answer; a second try would only double its load."""
    async with originating(answering(b"")) as stage:
        client = await stage.client()
        client.get()
        response = await client.response()
        assert (response.status, response.code) == (502, "upstream_closed")
        assert stage.origin.handshakes == 1
        await stage.logged(1)


@pytest.mark.attack(
    "a path up without the check: the retry on a new connection",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2024-2379, CVE-2025-5025",
)
async def test_a_second_try_is_verified_like_the_first() -> None:
    """An origin that dies and comes back with another key gets nothing of the request."""
    root, leaf = certificates()
    impostor = make_leaf(root, HOST)

    def context(number: int) -> ssl.SSLContext:
        return server_context(leaf if number == 0 else impostor)

    async with (
        running_origin(context, dying()) as origin,
        running_proxy(host_rule([leaf.pin], root.anchors, port=origin.port)) as proxy,
    ):
        stage = Stage(origin, proxy)
        await warmed_up(stage)
        client = await stage.client()
        client.get(f"{URL}/secret")
        response = await client.response()
        assert (response.status, response.code) == (403, "pin_mismatch")
        assert origin.received.count(b"/secret") == 1
        assert response.get("x-pinproxy-id") == (await stage.logged(2))[1]["id"]
