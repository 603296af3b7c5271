"""Plain HTTP by CONNECT to port 80: origination under the host's pins, and nothing in clear to the origin."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.harness.clients import Answer, connect, connect_head, get_head, open_tunnel, read_answer, start_tls
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy
from tests.harness.scene import origin_and_proxy
from tests.harness.socks5 import OPEN, greet, read_exactly, socks_request
from tests.harness.tunnelling import refused_code
from tests.harness.users import basic, quick_hash

ROOT = make_root()
LEAF, OTHER = make_leaf(ROOT, HOST), make_leaf(ROOT, HOST)
CONTEXT = server_context(LEAF, alpn=("h2", "http/1.1"))


async def say(proxy: RunningProxy, *heads: bytes, port: int = 80) -> list[Answer]:
    """Open a way, and send requests one after the other on it."""

    def talk() -> list[Answer]:
        answers = []
        with open_tunnel(proxy, port=port) as sock:
            for head in heads:
                sock.sendall(head)
                answers.append(read_answer(sock))
        return answers

    return await asyncio.to_thread(talk)


@pytest.mark.parametrize(
    "rule", [{}, {"connect": "tunnel", "tls13": "refuse"}, {"ports": frozenset({443})}], ids=["intercept", "tunnel", "port 443"]
)
async def test_requests_behind_a_connect_to_port_80_go_up_over_verified_tls(rule: dict[str, Any]) -> None:
    """One after the other on one connection, each with its line; what was verified before the 200 waits for the first."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, **rule) as (origin, proxy):
        answers = await say(proxy, get_head("/one"), get_head("/two", f"{HOST}:80"), get_head(f"http://{HOST}/three"))
        assert [(answer.status, answer.body) for answer in answers] == [
            (200, b"GET /one 0\n"),
            (200, b"GET /two 0\n"),
            (200, b"GET /three 0\n"),
        ]
        await proxy.connection(count=3)
        assert [(line["mode"], line["method"], line["authority"], line["verdict"]) for line in proxy.connections] == [
            ("origination", "GET", f"{HOST}:443", "matched")
        ] * 3
        # Tickets of TLS 1.3 that are still unread when the first request comes make the pool prefer a new connection.
        assert origin.connections in {1, 2}


@pytest.mark.attack(
    "plain HTTP by CONNECT to port 80 of a listed host, to reach it without its pins", expect="pin_mismatch", topic="authority"
)
async def test_an_impostor_is_denied_before_the_200() -> None:
    """The way is not called open, as with every CONNECT."""
    async with origin_and_proxy(server_context(OTHER), [LEAF.pin], ROOT.anchors) as (origin, proxy):
        assert await refused_code(proxy, port=80) == (403, "pin_mismatch")
        assert (await proxy.connection())["authority"] == f"{HOST}:80"
        await origin.quiet()
        assert origin.received == b""


@pytest.mark.attack(
    "a request behind CONNECT to port 80 that names another host", expect="bad_request", topic="authority", motive="RFC 9112 §3.2"
)
@pytest.mark.parametrize(
    "head",
    [
        get_head("/", "other.example.test"),
        get_head("/", f"{HOST}:443"),
        get_head("http://other.example.test/", "other.example.test"),
        get_head(f"http://{HOST}:8080/", f"{HOST}:8080"),
        connect_head(),
    ],
    ids=["host", "port", "absolute host", "absolute port", "CONNECT"],
)
async def test_a_request_that_names_somebody_else_is_refused(head: bytes) -> None:
    """The twin is the first test: what CONNECT asked for is the authority, with its port written out or not."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (origin, proxy):
        (answer,) = await say(proxy, head)
        assert (answer.status, answer.code) == (400, "bad_request")
        assert origin.received == b""


async def test_tls_behind_a_connect_to_port_80_is_carried_like_any_other() -> None:
    """The first byte tells; the host is dialled at the port that was asked for."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (_origin, proxy):

        def talk() -> int:
            with start_tls(open_tunnel(proxy, port=80), proxy) as tls:
                tls.sendall(get_head("/"))
                return read_answer(tls).status

        assert await asyncio.to_thread(talk) == 200
        line = await proxy.connection()
        assert (line["mode"], line["authority"]) == ("interception", f"{HOST}:80")


async def test_an_entry_that_names_port_80_means_tls_on_it() -> None:
    """There the CONNECT opens a way to TLS as on every other port, and HTTP behind it is `not_tls`."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, ports=frozenset({80, 443})) as (origin, proxy):

        def talk() -> bytes:
            with open_tunnel(proxy, port=80) as sock:
                sock.sendall(get_head("/"))
                return sock.recv(1)

        assert await asyncio.to_thread(talk) == b"\x15"
        assert (await proxy.connection())["code"] == "not_tls"
        assert origin.received == b""


async def test_a_socks5_client_may_ask_in_the_same_way() -> None:
    """As curl does for `http://` URLs with `--socks5-hostname`."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (_origin, proxy):

        def talk() -> Answer:
            with greet(proxy) as sock:
                sock.sendall(socks_request(port=80))
                assert read_exactly(sock, len(OPEN)) == OPEN
                sock.sendall(get_head("/"))
                return read_answer(sock)

        assert (await asyncio.to_thread(talk)).body == b"GET / 0\n"


async def test_who_showed_himself_at_the_connect_is_not_asked_again() -> None:
    """The requests behind it are as for an origin, and know of no proxy; their lines name the user."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (_origin, proxy):
        proxy.server.ask_clients({"alice": quick_hash("open sesame")})

        def talk() -> Answer:
            with connect(proxy) as sock:
                sock.sendall(connect_head(port=80)[:-2] + basic("alice", "open sesame").encode() + b"\r\n")
                assert read_answer(sock).status == 200
                sock.sendall(get_head("/"))
                return read_answer(sock)

        assert (await asyncio.to_thread(talk)).status == 200
        assert (await proxy.connection())["user"] == "alice"
        assert await refused_code(proxy, port=80) == (407, "auth_required")


async def test_an_unlisted_host_is_no_matter_of_this() -> None:
    """Its port 80 stays a blind tunnel, where those are allowed."""
    async with running_proxy(host_rule([LEAF.pin], ROOT.anchors), unlisted="allow") as proxy:
        assert await refused_code(proxy, "127.0.0.1", 80) == (403, "address_denied")
        assert (await proxy.connection())["mode"] == "blind"
