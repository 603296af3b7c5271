"""Requests that go nowhere: each is answered with its reason, logged once, and reaches no origin with a whole byte."""

from __future__ import annotations

import asyncio

import pytest

from pinproxy.limits import Limits
from tests.harness.origin import answer_ok, running_origin
from tests.harness.originating import URL, Stage, certificates, originating, request
from tests.harness.running import HOST, host_rule, running_proxy

GET = f"GET {URL}/ HTTP/1.1\r\nHost: {HOST}\r\n".encode()
POST = f"POST {URL}/ HTTP/1.1\r\nHost: {HOST}\r\n".encode()

INVALID = {
    "Content-Length and Transfer-Encoding": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "a signed length": POST + b"Content-Length: +3\r\n\r\nabc",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "two Hosts": GET + f"Host: {HOST}\r\n\r\n".encode(),
    "no Host": f"GET {URL}/ HTTP/1.1\r\n\r\n".encode(),
    "a Host that is not the authority": request(f"{URL}/", host="other.test"),
    "a Host with another port": request(f"{URL}/", host=f"{HOST}:8080"),
    "obs-fold": GET + b"X: 1\r\n 2\r\n\r\n",
    "a space before the colon": GET + b"X : 1\r\n\r\n",
    "a bare LF": GET + b"X: 1\n\r\n",
    "a bare CR": GET + b"X: 1\rY: 2\r\n\r\n",
    "a NUL": GET + b"X: \0\r\n\r\n",
    "userinfo": request(f"http://user:secret@{HOST}/"),
    "origin-form": request("/"),
    "asterisk-form": request("*", method="OPTIONS"),
    "another scheme": request(f"ftp://{HOST}/"),
    "a fragment": request(f"{URL}/#top"),
    "port 0": request(f"http://{HOST}:0/", host=f"{HOST}:0"),
    "port 65536": request(f"http://{HOST}:65536/", host=f"{HOST}:65536"),
    "an address in a loose form": request("http://127.1/", host="127.1"),
    "HTTP/0.9": f"GET {URL}/\r\n".encode(),
    "HTTP/2 with prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no more hop allowed": request(f"{URL}/", "Max-Forwards: 0", method="OPTIONS"),
    "a TLS ClientHello": bytes.fromhex("16030100050100000100"),
    "SOCKS4": b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
}


@pytest.mark.attack(
    "a request that two readers could read differently, with another request behind it",
    expect="bad_request",
    topic="requests",
    motive="RFC 9112 §11.2; CVE-2022-24766",
)
@pytest.mark.parametrize("sent", INVALID.values(), ids=INVALID)
async def test_what_could_be_read_in_two_ways_is_refused(sent: bytes) -> None:
    """400 and close: nothing is repaired, and what stands behind is not read as a request."""
    async with originating() as stage:
        client = await stage.client()
        client.send(sent + request())
        response = await client.response()
        assert (response.status, response.code, response.get("connection")) == (400, "bad_request", "close")
        assert response.problem["code"] == "bad_request"
        assert response.get("proxy-status") == 'pinproxy; error=http_request_error; details="bad_request"'
        assert await client.rest() == b""
        (line,) = await stage.logged(1)
        assert (line["code"], line["decision"], line["id"]) == ("bad_request", "deny", response.get("x-pinproxy-id"))
        assert stage.origin.connections == 0
    assert "secret" not in response.body.decode() + str(line)


async def test_the_twin_of_all_of_them_passes() -> None:
    """The same request with nothing wrong in it."""
    async with originating() as stage:
        client = await stage.client()
        client.send(POST + b"Content-Length: 3\r\nX: 1\r\n\r\nabc" + request())
        assert (await client.response()).body == b"POST / 3\n"
        assert (await client.response()).body == b"GET / 0\n"


async def test_a_refusal_comes_after_the_answers_to_the_requests_before_it() -> None:
    """Answers keep the order of the requests, refusals too; behind one the connection ends."""
    async with originating() as stage:
        client = await stage.client()
        client.send(request() + b"BROKEN\r\n\r\n" + request())
        assert (await client.response()).status == 200
        assert (await client.response()).code == "bad_request"
        assert await client.rest() == b""
        lines = await stage.logged(2)
    assert [line["code"] for line in lines] == [None, "bad_request"]


@pytest.mark.attack(
    "a CONNECT behind another request on one connection",
    expect="bad_request",
    topic="requests",
    motive="RFC 9110 §9.3.6",
)
async def test_connect_after_a_request_is_refused() -> None:
    """A tunnel begins on a connection of its own, before anything was read beyond its head."""
    async with originating() as stage:
        client = await stage.client()
        client.get()
        assert (await client.response()).status == 200
        client.send(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n".encode())
        assert (await client.response()).code == "bad_request"
        await stage.logged(2)


@pytest.mark.attack(
    "a bad chunk in the middle of an upload: the origin never sees a whole request",
    expect="bad_request",
    topic="requests",
    motive="RFC 9112 §8",
)
@pytest.mark.parametrize("broken", [b"zz\r\n", b"4\r\nbodyX\r\n", b"-1\r\n", b"0\r\nX : 1\r\n\r\n"])
async def test_a_bad_chunk_in_the_middle_cuts_the_request(broken: bytes) -> None:
    """The origin sees half a request, never a whole one."""
    received = bytearray()
    has_first, has_ended = asyncio.Event(), asyncio.Event()

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        received.extend(await reader.readuntil(b"2\r\nok\r\n"))
        has_first.set()
        try:
            received.extend(await reader.read())
        finally:
            has_ended.set()

    async with originating(origin) as stage, asyncio.timeout(10):
        client = await stage.client()
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await has_first.wait()
        client.send(broken)
        response = await client.response()
        assert (response.status, response.code) == (400, "bad_request")
        await has_ended.wait()
        (line,) = await stage.logged(1)
    assert line["code"] == "bad_request"
    assert b"\r\n0\r\n" not in received


@pytest.mark.attack("a head of 64 KiB and a byte", expect="head_too_large", topic="resources", motive="RFC 6585 §5")
@pytest.mark.parametrize(("size", "status"), [(64 * 1024, 200), (64 * 1024 + 1, 431)])
async def test_a_head_may_have_64_kib_and_not_a_byte_more(size: int, status: int) -> None:
    """431 (RFC 6585 §5), and the twin one byte shorter."""
    filler = size - len(request(f"{URL}/", "X: "))
    async with originating() as stage:
        client = await stage.client()
        client.send(request(f"{URL}/", "X: " + "x" * filler))
        response = await client.response()
        assert (response.status, response.code) == (status, "head_too_large" if status == 431 else None)
        await stage.logged(1)


@pytest.mark.attack(
    "a head that comes a byte at a time: its deadline is for the whole of it",
    expect="head_timeout",
    topic="resources",
    motive="slowloris",
)
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_head_that_does_not_come_to_its_end_is_given_up(*, is_first: bool) -> None:
    """408 after `limits.head_seconds` in all, on a connection that has served a request as well; no byte stretches it."""
    async with originating(limits=Limits(head_seconds=0.1)) as stage:
        client = await stage.client()
        if not is_first:
            client.get()
            await client.response()
        client.send(GET + b"X: ")
        answering = asyncio.create_task(client.response())
        async with asyncio.timeout(5):
            while not answering.done():
                client.send(b"x")
                await asyncio.wait([answering], timeout=0.03)
        response = await answering
        assert (response.status, response.code) == (408, "head_timeout")
        assert await client.rest() == b""
        await stage.logged(1 if is_first else 2)


@pytest.mark.attack(
    "a request body that stops in the middle", expect="cut", topic="resources", motive="slowloris; Squid's GHSA-jjq6"
)
async def test_a_body_that_stops_is_given_up() -> None:
    """Nothing moves for `limits.idle_seconds`: the client is to blame, and the origin sees a cut."""
    async with originating(limits=Limits(idle_seconds=0.1)) as stage:
        client = await stage.client()
        client.send(POST + b"Content-Length: 4\r\n\r\nbo")
        response = await client.response()
        assert (response.status, response.code) == (408, "head_timeout")
        await stage.logged(1)


REFUSED_HOSTS = {
    "unlisted": ("http://other.test/", "host_not_listed"),
    "listed on another port": (f"http://{HOST}:8080/", "host_not_listed"),
    "this proxy itself": ("http://127.0.0.1:{port}/", "loop_detected"),
}


@pytest.mark.attack(
    "a listed host on a port that its rule leaves out",
    expect=("host_not_listed"),
    topic="authority",
    motive="RFC 9110 §9.3.6",
)
@pytest.mark.parametrize(("target", "code"), REFUSED_HOSTS.values(), ids=REFUSED_HOSTS)
async def test_a_host_that_policy_denies_is_refused(target: str, code: str) -> None:
    """A listed host on a port its entry leaves out is never reached in clear, even where unlisted hosts are."""
    root, leaf = certificates()
    is_unlisted_denied = "other.test" in target
    async with (
        running_origin(None) as origin,
        running_proxy(
            host_rule([leaf.pin], root.anchors, port=origin.port, ports=frozenset({443})),
            unlisted="deny" if is_unlisted_denied else "allow",
            limits=Limits(allow_private=True),
            addresses={HOST: "127.0.0.1", "other.test": "127.0.0.1"},
        ) as proxy,
    ):
        stage = Stage(origin, proxy)
        client = await stage.client()
        target = target.format(port=proxy.port)
        client.get(target, host=target.split("/")[2])
        response = await client.response()
        assert (response.status, response.code) == (403, code)
        assert origin.connections == 0
        await stage.logged(1)


@pytest.mark.attack(
    "an unlisted name or literal that leads to a private address",
    expect=("address_denied", "dns_failed"),
    topic="authority",
    motive="SSRF",
)
async def test_a_private_address_is_denied_to_an_unlisted_host() -> None:
    """Loopback, unless `limits.allow_private`; the twin with it stands with the forwarded fields."""
    async with running_origin(None, answer_ok) as origin, running_proxy(unlisted="allow") as proxy:
        stage = Stage(origin, proxy)
        client = await stage.client()
        client.get(f"http://127.0.0.1:{origin.port}/", host=f"127.0.0.1:{origin.port}")
        response = await client.response()
        assert (response.status, response.code) == (403, "address_denied")
        assert origin.connections == 0
        await stage.logged(1)


async def test_the_refusal_of_a_head_has_no_body() -> None:
    """A HEAD client reads none, and would take it for the next answer (RFC 9110 §9.3.2)."""
    async with originating() as stage:
        client = await stage.client()
        client.get("http://other.test/", method="HEAD", host="other.test")
        head = await client.response(is_bodiless=True)
        assert (head.status, head.code) == (403, "host_not_listed")
        assert await client.rest() == b""
