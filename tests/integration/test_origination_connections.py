"""What happens on a connection besides one request and its answer: interim and early responses, pipelining, reuse."""

from __future__ import annotations

import asyncio

import pytest

from pinproxy.limits import Limits
from tests.harness.origin import answer_ok, read_request, running_origin
from tests.harness.originating import URL, answering, certificates, ok, originating, request
from tests.harness.pki import make_leaf, server_context
from tests.harness.running import host_rule, running_proxy


async def test_requests_one_after_the_other_use_one_connection_on_either_side() -> None:
    """One handshake serves them all."""
    async with originating() as stage:
        client = await stage.client()
        for number in range(5):
            client.get(f"{URL}/{number}")
            assert (await client.response()).body == b"GET /%d 0\n" % number
        lines = await stage.logged(5)
        assert (stage.origin.connections, stage.origin.handshakes) == (1, 1)
    assert len({line["id"] for line in lines}) == 5


async def test_an_idle_client_has_no_task() -> None:
    """Even one that is over takes a kilobyte; who waits is the protocol."""
    async with originating() as stage:
        client = await stage.client()
        client.get(f"{URL}/")
        assert (await client.response()).status == 200
        (slot,) = stage.proxy.server._proxy.live._slots
        assert slot.carrying is not None
        assert slot.task is None


async def test_another_client_reuses_the_upstream_connection() -> None:
    """Idle upstream connections belong to the rule, not to a client."""
    async with originating() as stage:
        for _ in range(3):
            client = await stage.client()
            client.get(f"{URL}/", "Connection: close")
            assert (await client.response()).status == 200
            assert await client.rest() == b""
        assert stage.origin.handshakes == 1


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    """The origin sees one at a time, the next only after the answer to the last (RFC 9112 §9.3.2)."""
    begun: list[bytes] = []

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (found := await read_request(reader)) is not None:
            begun.append(found[0].split(b" ")[1])
            assert not reader._buffer  # type: ignore[attr-defined]  # the one look at what has come and is not asked for
            writer.write(ok(found[0].split(b" ")[1] + found[1]))

    async with originating(origin) as stage:
        client = await stage.client()
        post = request(f"{URL}/2", "Content-Length: 3", method="POST") + b"abc"
        client.send(request(f"{URL}/1") + post + request(f"{URL}/3"))
        assert [(await client.response()).body for _ in range(3)] == [b"/1", b"/2abc", b"/3"]
        assert begun == [b"/1", b"/2", b"/3"]
        await stage.logged(3)
        assert stage.origin.handshakes == 1


async def test_two_hosts_over_one_client_connection_go_to_their_own_origins() -> None:
    """An upstream connection is for one authority; the client's is for any."""
    root, leaf = certificates()
    other = make_leaf(root, "other.example.test")
    async with (
        running_origin(server_context(leaf)) as first,
        running_origin(server_context(other), answering(ok(b"other"))) as second,
        running_proxy(
            host_rule([leaf.pin], root.anchors, port=first.port),
            host_rule([other.pin], root.anchors, host="other.example.test", port=second.port),
        ) as proxy,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(request() + request("http://other.example.test/", host="other.example.test") + request())
        assert (await reader.readuntil(b"GET / 0\n")).count(b"HTTP/1.1 200") == 1
        assert (await reader.readuntil(b"other")).count(b"HTTP/1.1 200") == 1
        assert (await reader.readuntil(b"GET / 0\n")).count(b"HTTP/1.1 200") == 1
        assert (first.handshakes, second.handshakes) == (1, 1)
        writer.close()


@pytest.mark.attack(
    "Expect: 100-continue, which the origin answers, refuses or ignores",
    expect="serve",
    topic="requests",
    motive="RFC 9110 §10.1.1",
)
async def test_a_client_that_waits_for_100_gets_it_from_the_origin() -> None:
    """The head goes on without a body, and the body follows the origin's word (RFC 9110 §10.1.1)."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"\r\nExpect: 100-continue\r\n" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.write(ok(await reader.readexactly(4)))

    async with originating(origin) as stage:
        client = await stage.client()
        client.send(request(f"{URL}/", "Content-Length: 4", "Expect: 100-continue", method="POST"))
        assert (await client.response()).status == 100
        client.send(b"body")
        assert (await client.response()).body == b"body"
        await stage.logged(1)


@pytest.mark.attack(
    "Expect: 100-continue, which the origin answers, refuses or ignores",
    expect="serve",
    topic="requests",
    motive="RFC 9110 §10.1.1",
)
async def test_an_origin_that_refuses_the_expectation_is_heard_at_once() -> None:
    """417 comes without the body, and nothing follows it on this connection."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        assert await reader.read() == b""

    async with originating(origin) as stage:
        client = await stage.client()
        client.send(request(f"{URL}/", "Content-Length: 4", "Expect: 100-continue", method="POST"))
        response = await client.response()
        assert (response.status, response.get("connection")) == (417, "close")
        assert await client.rest() == b""
        (line,) = await stage.logged(1)
    assert (line["status"], line["code"]) == (417, None)


@pytest.mark.attack(
    "Expect: 100-continue, which the origin answers, refuses or ignores",
    expect="serve",
    topic="requests",
    motive="RFC 9110 §10.1.1",
)
async def test_an_origin_that_says_nothing_gets_the_body_when_the_client_sends_it() -> None:
    """A client need not wait for 100 for ever (RFC 9110 §10.1.1)."""
    has_head = asyncio.Event()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        has_head.set()
        writer.write(ok(await reader.readexactly(4)))

    async with originating(origin) as stage:
        client = await stage.client()
        client.send(request(f"{URL}/", "Content-Length: 4", "Expect: 100-continue", method="POST"))
        async with asyncio.timeout(10):
            await has_head.wait()
        client.send(b"body")
        assert (await client.response()).body == b"body"


EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\nX: 1\r\n\r\n"


async def test_interim_responses_are_passed_on() -> None:
    """A proxy forwards 1xx, without the hop's own fields (RFC 9110 §15.2)."""
    async with originating(answering(EARLY_HINTS * 2 + ok(b"final"))) as stage:
        client = await stage.client()
        client.get()
        for _ in range(2):
            hints = await client.response()
            assert (hints.status, hints.fields) == (103, [("link", "</a.css>"), ("via", "1.1 pinproxy")])
        assert (await client.response()).body == b"final"


@pytest.mark.attack("1xx for a client of HTTP/1.0", expect="neutralise", topic="responses", motive="RFC 9110 §15.2")
async def test_http_1_0_gets_no_interim_response() -> None:
    """Its client would take it for the answer (RFC 9110 §15.2)."""
    async with originating(answering(EARLY_HINTS + ok(b"final"))) as stage:
        client = await stage.client()
        client.get(minor=0)
        assert (await client.response()).body == b"final"


@pytest.mark.parametrize("framing", ["Content-Length: 50000000", "Transfer-Encoding: chunked"])
async def test_an_early_answer_reaches_a_client_that_is_still_sending(framing: str) -> None:
    """413 comes through whole, and no reset takes it away while the client goes on to send (RFC 9112 §9.6)."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge")

    async with originating(origin) as stage:
        client = await stage.client()
        client.send(request(f"{URL}/", framing, method="POST"))
        piece = b"8000\r\n%b\r\n" % bytes(0x8000)
        async with asyncio.timeout(10):
            for _ in range(200):  # 6.5 MB, before it looks for an answer
                client.send(piece)
                await client.writer.drain()
        response = await client.response()
        assert (response.status, response.body, response.get("connection")) == (413, b"large", "close")
        assert await client.rest() == b""
        (line,) = await stage.logged(1)
    assert (line["status"], line["code"]) == (413, None)


async def test_an_early_answer_whose_request_then_ends_does_not_disturb_the_next() -> None:
    """An upstream connection with half a request on it is never used again."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(head.split(b" ")[0]))
        await reader.read()

    async with originating(origin) as stage:
        client = await stage.client()
        client.send(request(f"{URL}/", "Content-Length: 4", method="POST") + b"bo")
        assert (await client.response()).body == b"POST"
        client.send(b"dy" + request())
        assert await client.rest() == b""
        other = await stage.client()
        other.get()
        assert (await other.response()).body == b"GET"
        await stage.logged(2)
        assert stage.origin.handshakes == 2


async def test_an_idle_client_is_closed() -> None:
    """`limits.keep_alive_seconds` without a request, and without a word: it would be taken for an answer."""
    async with originating(limits=Limits(keep_alive_seconds=0.1)) as stage:
        client = await stage.client()
        client.get()
        await client.response()
        assert await client.rest() == b""
        await stage.logged(1)


async def test_an_upstream_that_waited_too_long_is_not_used_again() -> None:
    """`limits.pool_idle_seconds`: the origin hears a close, and the next request a new handshake."""
    has_ended = asyncio.Event()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer_ok(reader, writer)
        has_ended.set()

    async with originating(origin, limits=Limits(pool_idle_seconds=0.1)) as stage:
        client = await stage.client()
        client.get()
        await client.response()
        async with asyncio.timeout(10):
            await has_ended.wait()
        client.get()
        assert (await client.response()).status == 200
        assert stage.origin.handshakes == 2


async def test_a_client_over_the_limit_is_told_to_come_again_later() -> None:
    """503 with Retry-After, before a byte is read; when somebody leaves there is room (`limits.connections`)."""
    async with originating(limits=Limits(connections=2)) as stage:
        first, second = await stage.client(), await stage.client()
        for client in (first, second):
            client.get()
            assert (await client.response()).status == 200
        third = await stage.client()
        response = await third.response()
        assert (response.status, response.code, response.get("retry-after")) == (503, "overloaded", "5")
        assert await third.rest() == b""
        third.writer.close()
        second.get(f"{URL}/", "Connection: close")
        await second.response()
        assert await second.rest() == b""
        second.writer.close()
        await stage.connected(1)
        fourth = await stage.client()
        fourth.get()
        assert (await fourth.response()).status == 200
        lines = await stage.logged(5)
    assert [line["code"] for line in lines] == [None, None, "overloaded", None, None]
