"""Routes of `tcp`: plain bytes in, a verified TLS connection out, and not a byte of the client before the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from pinproxy.authority import Authority
from pinproxy.limits import Limits
from pinproxy.policy.rule import Mode
from pinproxy.policy.table import PolicyTable
from pinproxy.proxy.route import Route
from tests.harness.blocking_origin import Story, blocking_origin
from tests.harness.clients import end_direction, read_to_end
from tests.harness.origin import Origin
from tests.harness.originating import certificates
from tests.harness.pki import make_leaf, server_context
from tests.harness.routes import ANY_PORT, RouteStage, running_route
from tests.harness.running import HOST, host_rule, running_proxy

ROOT, LEAF = certificates()
OTHER = make_leaf(ROOT, HOST)
Result = TypeVar("Result")


async def as_client(stage: RouteStage, act: Callable[[socket.socket], Result]) -> Result:
    """Connect to the route and act, in a thread."""

    def run() -> Result:
        with stage.connect() as sock:
            return act(sock)

    return await asyncio.to_thread(run)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back whatever comes, to its end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def answer_at_the_end(tls: ssl.SSLSocket) -> None:
    """Read to the end of the client's direction, then answer with the length, then end."""
    tls.sendall(b"%d" % len(read_to_end(tls)))
    tls.unwrap()


def speak_first(tls: ssl.SSLSocket) -> None:
    """Greet and say goodbye, as SMTP and MySQL begin; then read what the client still has to say."""
    tls.sendall(b"220 ready\r\n")
    end_direction(tls)
    assert read_to_end(tls) == b"late"


@contextlib.asynccontextmanager
async def route_to(story: Story) -> AsyncIterator[RouteStage]:
    """Run a route to an origin that can end one direction, which asyncio's TLS cannot."""
    with blocking_origin(server_context(LEAF), story) as origin:
        rule = host_rule([LEAF.pin], ROOT.anchors, port=origin.port)
        async with running_proxy(rule, routes=(Route(ANY_PORT, Authority(HOST, 443), "tcp"),)) as proxy:
            yield RouteStage(Origin(), proxy, proxy.server.route_addresses[0])
    assert origin.failures == []


def is_cut(stage: RouteStage) -> bool:
    """Connect, say something, and tell whether the connection was cut rather than ended or answered."""
    try:
        with stage.connect() as sock:
            return was_cut(sock)
    except (ConnectionResetError, BrokenPipeError):
        return True


def was_cut(sock: socket.socket) -> bool:
    """Tell it of an open connection."""
    try:
        sock.sendall(b"?")
        sock.recv(1)
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


async def test_bytes_go_both_ways_over_a_verified_connection() -> None:
    """As many as there are, whatever they are."""
    sent = bytes(range(256)) * 4096

    def exchange(sock: socket.socket) -> bytes:
        got = bytearray()
        for start in range(0, len(sent), 65536):
            sock.sendall(sent[start : start + 65536])
            while len(got) < start + 65536:
                got += sock.recv(65536)
        return bytes(got)

    async with running_route("tcp", echo) as stage:
        assert await as_client(stage, exchange) == sent
        line = await stage.proxy.connection()
        assert (line["mode"], line["method"], line["verdict"], line["decision"]) == ("route", None, "matched", "allow")
        assert (line["authority"], line["host_rule"]) == (f"{HOST}:443", HOST)
        assert (line["bytes_up"], line["bytes_down"], line["alpn"]) == (len(sent), len(sent), None)


async def test_the_clients_end_is_passed_on_and_the_answer_comes_back() -> None:
    """Half-close: a client may end its direction and still read (`nc -N`, `redis-cli --pipe`)."""

    def ask(sock: socket.socket) -> bytes:
        sock.sendall(b"x" * 1000)
        sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)

    async with route_to(answer_at_the_end) as stage:
        assert await as_client(stage, ask) == b"1000"


async def test_the_servers_end_is_passed_on_and_the_client_may_go_on() -> None:
    """The other way round; the server speaks first, before the client has sent a byte."""

    def listen(sock: socket.socket) -> bytes:
        greeting = read_to_end(sock)
        sock.sendall(b"late")
        return greeting

    async with route_to(speak_first) as stage:
        assert await as_client(stage, listen) == b"220 ready\r\n"
        assert (await stage.proxy.connection())["bytes_up"] == len(b"late")


@pytest.mark.attack("a path up without the check: routes", expect="pin_mismatch", topic="pins", motive="CVE-2025-5025")
@pytest.mark.parametrize("mode", ["enforce", "report-only"])
async def test_a_server_with_another_key_gets_no_byte_unless_it_is_only_reported(mode: Mode) -> None:
    """A `tcp` client is refused without a word: its connection is cut, and the log says why. Report-only is the twin."""
    context = server_context(OTHER)
    async with running_route("tcp", echo, context=context, rule={"mode": mode}) as stage:
        if mode == "report-only":

            def exchange(sock: socket.socket) -> bytes:
                sock.sendall(b"PING\r\n")
                return sock.recv(100)

            assert await as_client(stage, exchange) == b"PING\r\n"
            assert (await stage.proxy.connection())["would_deny"] is True
            return
        assert await asyncio.to_thread(is_cut, stage)
        line = await stage.proxy.connection()
        assert (line["mode"], line["code"], line["decision"]) == ("route", "pin_mismatch", "deny")
        await stage.origin.quiet()
        assert (stage.origin.handshakes, bytes(stage.origin.received)) == (1, b"")


async def test_what_a_client_says_too_early_waits_for_the_verdict() -> None:
    """The origin holds its handshake up: until that is done and judged, nothing goes to it; then nothing is lost."""
    gate = asyncio.Event()

    def say_and_listen(sock: socket.socket) -> bytes:
        sock.sendall(b"early")
        return sock.recv(100)

    async with running_route("tcp", echo, gate=gate) as stage:
        answer = asyncio.create_task(as_client(stage, say_and_listen))
        await stage.origin.accepted()
        assert (stage.origin.handshakes, bytes(stage.origin.received)) == (0, b"")
        gate.set()
        assert await answer == b"early"


async def test_a_server_that_is_not_there_is_a_cut_connection() -> None:
    """The log says what the client cannot be told."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with running_route("tcp", echo) as stage:
        stage.proxy.server.swap(PolicyTable((host_rule([LEAF.pin], ROOT.anchors, port=port),)))
        assert await asyncio.to_thread(is_cut, stage)
        assert (await stage.proxy.connection())["code"] == "dial_refused"


async def test_a_client_that_is_one_too_many_is_cut() -> None:
    """There is no 503 in a protocol that nobody knows."""
    async with running_route("tcp", echo, limits=Limits(connections=1)) as stage:
        with stage.connect() as first:
            first.sendall(b"x")
            assert await asyncio.to_thread(first.recv, 1) == b"x"
            assert await asyncio.to_thread(is_cut, stage)
            assert (await stage.proxy.connection())["code"] == "overloaded"


# --- ALPN --------------------------------------------------------------------------------------------------------------


async def test_no_application_protocol_is_offered_unless_the_route_names_one() -> None:
    """Redis and LDAP have none; a server that chooses among ours would still not choose."""
    async with running_route("tcp", echo, context=server_context(LEAF, alpn=("postgresql",))) as stage:
        await as_client(stage, lambda sock: sock.shutdown(socket.SHUT_WR))
        assert (await stage.proxy.connection())["alpn"] is None


async def test_the_protocol_that_the_route_names_is_agreed_upon() -> None:
    """PostgreSQL 17 refuses a direct TLS connection without it."""
    context = server_context(LEAF, alpn=("postgresql",))
    async with running_route("tcp", echo, context=context, alpn=("postgresql",)) as stage:
        await as_client(stage, lambda sock: sock.shutdown(socket.SHUT_WR))
        line = await stage.proxy.connection()
        assert (line["alpn"], line["code"]) == ("postgresql", None)


@pytest.mark.attack(
    "a server that agrees on none of a route's protocols",
    expect="tls_handshake_failed",
    topic="interception",
    motive="RFC 7301 §3.2",
)
async def test_a_server_that_chooses_none_of_the_routes_protocols_gets_no_byte() -> None:
    """It would take the bytes for something else; the twin is above."""
    async with running_route("tcp", echo, alpn=("postgresql",)) as stage:
        assert await asyncio.to_thread(is_cut, stage)
        assert (await stage.proxy.connection())["code"] == "tls_handshake_failed"
        await stage.origin.quiet()
        assert bytes(stage.origin.received) == b""


# --- reload and drain --------------------------------------------------------------------------------------------------


async def test_a_reload_that_denies_the_server_ends_what_is_open_and_what_comes() -> None:
    """A pin change takes effect at once, on a route as in a tunnel."""
    async with running_route("tcp", echo) as stage:
        with stage.connect() as sock:
            sock.sendall(b"x")
            assert await asyncio.to_thread(sock.recv, 1) == b"x"
            stage.proxy.server.swap(PolicyTable((host_rule([OTHER.pin], ROOT.anchors, port=stage.origin.port),)))
            line = await stage.proxy.connection()
            assert (line["code"], line["verdict"]) == ("pin_mismatch", "matched")
            assert await asyncio.to_thread(was_cut, sock)
        assert await asyncio.to_thread(is_cut, stage)
        assert (await stage.proxy.connection(count=2))["code"] == "pin_mismatch"


async def test_a_reload_that_unlists_the_host_closes_the_route() -> None:
    """Also where unlisted hosts are allowed: a route never becomes a plain forwarder."""
    async with running_route("tcp", echo) as stage:
        stage.proxy.server.swap(PolicyTable((), "allow"))
        assert await asyncio.to_thread(is_cut, stage)
        assert (await stage.proxy.connection())["code"] == "host_not_listed"
        assert stage.origin.connections == 0
