"""Origins that misbehave: the client gets a refusal, or a response that looks as cut as it is; never somebody else's answer."""

from __future__ import annotations

import asyncio

import pytest

from pinproxy.limits import Limits
from tests.harness.origin import Handler, body_of, read_request
from tests.harness.originating import URL, answering, ok, originating, request


def saying(answer: bytes, *, is_cut: bool = False) -> Handler:
    """Make an origin that answers each connection's first request with these bytes, and ends or cuts the connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        if is_cut:
            await writer.drain()
            writer.transport.abort()

    return handle


def hanging(answer: bytes = b"") -> Handler:
    """Make an origin that answers with these bytes and then says nothing more."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await reader.read()

    return handle


NO_RESPONSES = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "a version of the future": b"HTTP/2.0 200 OK\r\n\r\n",
    "a bare LF": b"HTTP/1.1 200 OK\nX: 1\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n",
    "two framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "a head over 64 KiB": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 65536 + b"\r\n\r\n",
    "no end of the head": b"HTTP/1.1 200 OK\r\nX: 1\r\n",
    "nothing": b"",
    "too many interim responses": b"HTTP/1.1 102 Processing\r\n\r\n" * 101 + ok(b"late"),
}


@pytest.mark.attack(
    "a storm of 1xx responses, a head without an end, another protocol, two framings",
    expect="upstream_closed",
    topic="responses",
    motive="RFC 9110 §15.2; CVE-2026-111750",
)
@pytest.mark.parametrize("answer", NO_RESPONSES.values(), ids=NO_RESPONSES)
async def test_what_is_no_response_becomes_502(answer: bytes) -> None:
    """`upstream_closed`, with nothing of what the origin said in it."""
    async with originating(saying(answer)) as stage:
        client = await stage.client()
        client.get()
        while (response := await client.response()).status == 102:
            pass
        assert (response.status, response.code) == (502, "upstream_closed")
        assert response.get("proxy-status") == 'pinproxy; error=http_response_incomplete; details="upstream_closed"'
        assert b"SSH" not in response.body
        assert b"Error" not in response.body
        (line,) = await stage.logged(1)
    assert (line["code"], line["status"], line["verdict"]) == ("upstream_closed", 502, "matched")


async def test_a_hundred_interim_responses_are_passed() -> None:
    """The twin: patience has a bound, but it is a wide one."""
    async with originating(saying(b"HTTP/1.1 102 Processing\r\n\r\n" * 100 + ok(b"at last"))) as stage:
        client = await stage.client()
        client.get()
        for _ in range(100):
            assert (await client.response()).status == 102
        assert (await client.response()).body == b"at last"


@pytest.mark.attack(
    "a response that breaks off, and looks whole to the client",
    expect=("upstream_closed", "cut"),
    topic="responses",
    motive="RFC 9112 §8",
)
@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ],
    ids=["short", "no last chunk", "bad chunk"],
)
async def test_a_response_that_breaks_off_looks_broken_off(answer: bytes, *, is_cut: bool) -> None:
    """What came is passed on, and the end is missing (RFC 9112 §8)."""
    async with originating(saying(answer, is_cut=is_cut)) as stage:
        client = await stage.client()
        client.get()
        with pytest.raises(asyncio.IncompleteReadError):
            await client.response()
        (line,) = await stage.logged(1)
    assert (line["code"], line["bytes_down"]) == ("upstream_closed", 4)


@pytest.mark.attack(
    "a response that breaks off, and looks whole to the client",
    expect=("upstream_closed", "cut"),
    topic="responses",
    motive="RFC 9112 §8",
)
@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_body_until_close_that_is_cut_has_no_last_chunk(*, is_cut: bool) -> None:
    """Without close_notify an attacker may have cut it (RFC 8446 §6.1); the twin with one is whole."""
    async with originating(saying(b"HTTP/1.1 200 OK\r\n\r\nbody", is_cut=is_cut)) as stage:
        client = await stage.client()
        client.get()
        if is_cut:
            with pytest.raises(asyncio.IncompleteReadError):
                await client.response()
        else:
            assert (await client.response()).body == b"body"
        (line,) = await stage.logged(1)
    assert line["code"] == ("upstream_closed" if is_cut else None)


@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_cut_body_until_close_ends_in_a_reset_for_http_1_0(*, is_cut: bool) -> None:
    """Where only the end of the connection ends the body, a reset is the only word for a cut."""
    async with originating(saying(b"HTTP/1.1 200 OK\r\n\r\nbody", is_cut=is_cut)) as stage:
        client = await stage.client()
        client.get(minor=0)
        await client.head()
        assert await client.reader.readexactly(4) == b"body"
        if is_cut:
            with pytest.raises(ConnectionResetError):
                await client.rest()
        else:
            assert await client.rest() == b""
        await stage.logged(1)


@pytest.mark.attack("an origin that takes the request and never answers", expect="upstream_timeout", topic="faults")
@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 102 Processing\r\n\r\n"])
async def test_an_origin_that_does_not_answer_is_given_up(beginning: bytes) -> None:
    """504 after `limits.response_head_seconds`."""
    async with originating(hanging(beginning), limits=Limits(response_head_seconds=0.1)) as stage:
        client = await stage.client()
        client.get()
        response = await client.response()
        if response.status == 102:
            response = await client.response()
        assert (response.status, response.code) == (504, "upstream_timeout")
        (line,) = await stage.logged(1)
    assert line["code"] == "upstream_timeout"


async def test_a_long_download_is_not_cut_by_the_bound_of_its_head() -> None:
    """The bound is for the head; a body may take as long as it moves."""
    go_on = asyncio.Event()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await go_on.wait()
        writer.write(b"b")

    async with originating(origin, limits=Limits(response_head_seconds=0.05)) as stage:
        client = await stage.client()
        client.get()
        await client.head()
        # Two sweeps of the deadlines pass: time is what this test is about.
        asyncio.get_running_loop().call_later(1.2, go_on.set)
        assert await client.reader.readexactly(2) == b"ab"
        (line,) = await stage.logged(1)
    assert line["code"] is None


@pytest.mark.attack("an origin whose body stops moving", expect="cut", topic="faults")
async def test_a_body_that_stops_moving_is_cut() -> None:
    """`limits.idle_seconds` without a byte."""
    async with originating(hanging(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"), limits=Limits(idle_seconds=0.1)) as stage:
        client = await stage.client()
        client.get()
        with pytest.raises(asyncio.IncompleteReadError):
            await client.response()
        (line,) = await stage.logged(1)
    assert line["code"] == "upstream_timeout"


@pytest.mark.attack("an origin that does not read the request", expect="upstream_timeout", topic="faults")
async def test_an_origin_that_does_not_read_is_given_up() -> None:
    """A request that does not move for `limits.idle_seconds`, and the origin is to blame."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with originating(origin, limits=Limits(idle_seconds=0.1)) as stage:
        client = await stage.client()
        body = body_of(16 * 2**20)
        client.send(request(f"{URL}/", f"Content-Length: {len(body)}", method="POST") + body)
        response = await client.response()
        assert (response.status, response.code) == (504, "upstream_timeout")
        await stage.logged(1)


SMUGGLED = ok(b"poison")


@pytest.mark.attack(
    "response splitting: a second answer behind the first, or a body where there is none (HEAD, 204, 304)",
    expect="cut",
    topic="responses",
    motive="CVE-2026-111750",
)
@pytest.mark.parametrize("is_in_one_piece", [True, False])
async def test_a_second_answer_behind_the_first_answers_nobody(*, is_in_one_piece: bool) -> None:
    """Bytes that no request asked for end the connection, and the next request gets its own answer on a new one."""
    is_first = True

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal is_first
        await read_request(reader)
        if is_first:
            is_first = False
            if is_in_one_piece:
                writer.write(ok(b"first") + SMUGGLED)
            else:  # two TLS records: the second is still in the kernel when the first has been read
                writer.write(ok(b"first"))
                writer.write(SMUGGLED)
            await reader.read()
        writer.write(ok(b"second"))

    async with originating(origin) as stage:
        client = await stage.client()
        client.send(request() + request())
        assert [(await client.response()).body for _ in range(2)] == [b"first", b"second"]
        assert stage.origin.handshakes == 2
        await stage.logged(2)


@pytest.mark.attack(
    "response splitting: a second answer behind the first, or a body where there is none (HEAD, 204, 304)",
    expect="cut",
    topic="responses",
    motive="CVE-2026-111750",
)
async def test_a_body_where_there_must_be_none_answers_nobody() -> None:
    """What stands behind a response to HEAD is not its body, and not the next response either (RFC 9112 §6.3)."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = await read_request(reader)
        assert found is not None
        writer.write(ok(SMUGGLED) if found[0].startswith(b"HEAD") else ok(b"own"))
        await reader.read()

    async with originating(origin) as stage:
        client = await stage.client()
        client.get(method="HEAD")
        await client.response(is_bodiless=True)
        client.get()
        assert (await client.response()).body == b"own"
        assert stage.origin.handshakes == 2


async def test_a_refused_upstream_leaves_the_next_request_a_fresh_start() -> None:
    """After 502 the client connects again, and nothing of the failure is left over."""
    async with originating(answering(b"garbage\r\n\r\n", ok(b"fine"))) as stage:
        for expected in (502, 200):
            client = await stage.client()
            client.get()
            assert (await client.response()).status == expected
        lines = await stage.logged(2)
    assert [line["code"] for line in lines] == ["upstream_closed", None]
