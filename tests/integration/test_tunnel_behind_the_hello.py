"""What a tunnel's client sends ahead, behind its CONNECT or its ClientHello: it waits for the verdict, and goes once or never."""

from __future__ import annotations

import asyncio

import pytest

from pinproxy.tls.alert import AlertDescription, alert
from tests.harness.clients import connect, connect_head, open_tunnel, read_answer, read_head
from tests.harness.origin import running_origin
from tests.harness.running import RunningProxy, running_proxy
from tests.harness.tunnelling import (
    IMPOSTOR,
    TLS12,
    HandClient,
    client_context,
    client_hello,
    fetch,
    hear,
    origin_context,
    running_go_between,
    tunnel_rule,
    tunnelling,
)


@pytest.mark.attack(
    "bytes behind the head of a CONNECT, before its 200, read as a request or forwarded before the verdict",
    expect="neutralise",
    topic="requests",
    motive="CVE-2025-64763",
)
async def test_a_hello_behind_the_connect_in_one_segment_is_carried_once() -> None:
    """Some clients do not wait for the 200 (CVE-2025-64763 is about what becomes of such bytes elsewhere)."""
    async with tunnelling() as stage:

        def talk() -> bytes:
            client = HandClient(client_context(TLS12))
            with connect(stage.proxy) as sock:
                sock.sendall(connect_head() + client.hello)
                assert read_head(sock).startswith(b"HTTP/1.1 200 ")
                return client.finish(sock, "/early")

        assert await asyncio.to_thread(talk) == b"GET /early 0\n"
        await stage.proxy.connection()
        assert bytes(stage.origin.received).count(b"GET /early") == 1


@pytest.mark.attack("bytes behind a CONNECT that is refused", expect="pin_mismatch", topic="requests", motive="CVE-2025-64763")
async def test_a_hello_behind_a_connect_that_is_refused_reaches_nobody() -> None:
    """The twin: not a request, and not sent up."""
    async with tunnelling(rule={"pins": [IMPOSTOR.pin]}) as stage:

        def talk() -> tuple[int, str | None]:
            with connect(stage.proxy) as sock:
                sock.sendall(connect_head() + client_hello(client_context(TLS12)))
                answer = read_answer(sock)
                assert sock.recv(1) == b""
                return answer.status, answer.code

        assert await asyncio.to_thread(talk) == (403, "pin_mismatch")
        await stage.origin.quiet()
        assert stage.origin.connections == 1


def _open_and_close(proxy: RunningProxy) -> None:
    open_tunnel(proxy).close()


@pytest.mark.attack(
    "false start or early data behind the ClientHello, before the verdict",
    expect="serve",
    topic="tunnel",
    motive="RFC 7918, RFC 8446 §2.3",
)
async def test_what_comes_behind_the_hello_waits_for_the_verdict_and_goes_once() -> None:
    """Early data, false start: nothing but the hello goes up before the server's flight was verified (RFC 7918)."""
    hello, tail = client_hello(client_context(TLS12)), b"\x17\x03\x03\x00\x05early"
    passed: list[tuple[str, bytes]] = []
    async with (
        running_origin(origin_context(newest=TLS12)) as origin,
        running_go_between(lambda _first: origin.port, passed=passed) as port,
        running_proxy(tunnel_rule(port)) as proxy,
    ):
        await asyncio.to_thread(_open_and_close, proxy)
        await proxy.connection()
        passed.clear()  # so much for the preflight
        heard = await hear(proxy, hello + tail)
        assert heard.startswith(b"\x16")  # the flight, and then the server's word on that tail
        assert (await proxy.connection(count=2))["bytes_up"] == len(hello) + len(tail)
    assert [way for way, _ in passed[:3]] == ["up", "down", "up"]
    assert (passed[0][1], passed[2][1]) == (hello, tail)


@pytest.mark.attack(
    "false start or early data behind the ClientHello, and the verdict is against it",
    expect="tls13_unverifiable",
    topic="tunnel",
    motive="RFC 7918, RFC 8446 §2.3",
)
async def test_what_comes_behind_the_hello_does_not_go_where_the_verdict_is_against_it() -> None:
    """The twin."""
    hello, tail = client_hello(client_context()), b"\x17\x03\x03\x00\x05early"
    passed: list[tuple[str, bytes]] = []
    async with (
        running_origin(origin_context()) as origin,
        running_go_between(lambda _first: origin.port, passed=passed) as port,
        running_proxy(tunnel_rule(port)) as proxy,
    ):
        assert await hear(proxy, hello + tail) == alert(AlertDescription.PROTOCOL_VERSION)
        await origin.quiet()
    assert all(tail not in data for _, data in passed)
    assert ("up", hello) in passed


@pytest.mark.attack(
    "a HelloRetryRequest in a tunnel",
    expect=("serve", "tls13_unverifiable"),
    topic="tunnel",
    motive="RFC 8446 §4.1.4",
)
async def test_a_hello_retry_request_passes() -> None:
    """A server may ask for another key share first (RFC 8446 §4.1.4); under TLS 1.3 the verdict is advisory as ever."""
    context = origin_context()
    context.set_ecdh_curve("secp521r1")  # no client sends a share for it unasked
    for tls13, version in (("preflight", "TLSv1.3"), ("refuse", None)):
        async with tunnelling(context, rule={"tls13": tls13}) as stage:
            if version:
                assert (await fetch(stage.proxy, client_context())).version == version
                assert (await stage.proxy.connection())["assurance"] == "advisory"
            else:
                heard = await hear(stage.proxy, client_hello(client_context()))
                assert heard == alert(AlertDescription.PROTOCOL_VERSION)
                assert (await stage.proxy.connection())["code"] == "tls13_unverifiable"
