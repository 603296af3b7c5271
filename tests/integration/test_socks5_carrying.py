"""A SOCKS5 client is carried like a CONNECT: the same pins, the same stories, and not a byte lost in between."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from pinproxy.limits import Limits
from tests.harness.clients import Answer, connect, get_head, read_answer, start_tls
from tests.harness.origin import running_origin
from tests.harness.pki import Issued, make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy
from tests.harness.socks5 import GREETING, NO_AUTHENTICATION, OPEN, greet, open_socks, read_exactly, socks_request

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
OTHER = make_leaf(ROOT, HOST)
CONTEXT = server_context(LEAF)
LOCAL = Limits(allow_private=True)


def get(sock: socket.socket, proxy: RunningProxy) -> Answer:
    """Begin TLS as a client that trusts the proxy's CA, and ask for `/`."""
    with sock, start_tls(sock, proxy) as tls:
        tls.sendall(get_head("/"))
        return read_answer(tls)


def shake_hands(sock: socket.socket, context: ssl.SSLContext, first: bytes, answers: bytes) -> str | None:
    """Send bytes and a ClientHello in one segment; read the answers to those bytes, finish the handshake.

    Returns:
        The TLS version.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    sock.sendall(first + outgoing.read())
    assert read_exactly(sock, len(answers)) == answers
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            incoming.write(sock.recv(16384))
        else:
            sock.sendall(outgoing.read())
            return tls.version()


async def test_a_listed_host_is_intercepted_under_its_pins() -> None:
    """By name: the client asks no DNS, and the proxy verifies before it says that the way is open."""
    async with (
        running_origin(CONTEXT) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port)) as proxy,
    ):

        def ask() -> Answer:
            return get(open_socks(proxy), proxy)

        answer = await asyncio.to_thread(ask)
        assert (answer.status, answer.body) == (200, b"GET / 0\n")
        line = await proxy.connection()
        assert (line["mode"], line["method"], line["verdict"]) == ("interception", "SOCKS5", "matched")
        assert (line["authority"], line["decision"]) == (f"{HOST}:443", "allow")


@pytest.mark.attack(
    "bytes behind a SOCKS5 request, before its answer, lost or forwarded before the verdict",
    expect="neutralise",
    topic="requests",
    motive="CVE-2025-64763",
)
async def test_a_clienthello_in_the_same_segment_as_everything_before_it_is_not_lost() -> None:
    """A client in a hurry sends greeting, request and ClientHello at once: each message ends where it says it does."""
    async with (
        running_origin(CONTEXT) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port)) as proxy,
    ):

        def hurry() -> str | None:
            with connect(proxy) as sock:
                return shake_hands(sock, proxy.client_context(), GREETING + socks_request(), NO_AUTHENTICATION + OPEN)

        assert await asyncio.to_thread(hurry) == "TLSv1.3"


async def test_a_dialogue_in_single_bytes_is_the_same_dialogue() -> None:
    """However the network cuts it."""
    async with (
        running_origin(CONTEXT) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port)) as proxy,
    ):

        def dribble() -> Answer:
            sock = connect(proxy)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in GREETING + socks_request():
                sock.send(bytes([byte]))
            assert read_exactly(sock, 12) == NO_AUTHENTICATION + OPEN
            return get(sock, proxy)

        assert (await asyncio.to_thread(dribble)).status == 200


async def test_a_tunnel_is_a_tunnel() -> None:
    """The rule decides who carries; how the client asked does not matter."""
    context = server_context(LEAF)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running_origin(context) as origin:
        rule = host_rule([LEAF.pin], ROOT.anchors, port=origin.port, connect="tunnel", tls13="refuse")
        async with running_proxy(rule) as proxy:

            def ask() -> bytes | None:
                trust = ssl.create_default_context(cadata=ROOT.pem.decode())
                with open_socks(proxy) as sock, trust.wrap_socket(sock, server_hostname=HOST) as tls:
                    tls.sendall(get_head("/", further="Connection: close\r\n"))
                    assert read_answer(tls).status == 200
                    return tls.getpeercert(binary_form=True)

            assert await asyncio.to_thread(ask) == LEAF.der
            assert (await proxy.connection())["mode"] == "tunnel"


async def test_an_unlisted_host_is_tunnelled_blindly_where_the_operator_allows_it() -> None:
    """Not TLS, not ours: what a database speaks passes as it is."""
    async with (
        running_origin(None) as origin,
        running_proxy(unlisted="allow", limits=LOCAL, addresses={"plain.test": "127.0.0.1"}) as proxy,
    ):

        def ask() -> Answer:
            with open_socks(proxy, "plain.test", origin.port) as sock:
                sock.sendall(get_head("/", "plain.test"))
                return read_answer(sock)

        assert (await asyncio.to_thread(ask)).status == 200
        line = await proxy.connection()
        assert (line["mode"], line["method"], proxy.resolved) == ("blind", "SOCKS5", ["plain.test"])


@pytest.mark.attack(
    "CONNECT by address or by another name, with the pinned name in the ClientHello",
    expect="pin_mismatch",
    topic="authority",
    motive="an application that resolves by itself",
)
@pytest.mark.parametrize(("leaf", "alert"), [(LEAF, None), (OTHER, "BAD_CERTIFICATE")], ids=["pinned", "other-key"])
async def test_asking_by_address_is_no_way_around_the_pins(leaf: Issued, alert: str | None) -> None:
    """`curl --socks5` resolves by itself and asks for an address; the server name in its ClientHello brings the rule along."""
    async with (
        running_origin(server_context(leaf)) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors), unlisted="allow", limits=LOCAL) as proxy,
    ):

        def ask() -> Answer:
            return get(open_socks(proxy, "127.0.0.1", origin.port), proxy)

        if alert is None:
            assert (await asyncio.to_thread(ask)).status == 200
        else:
            with pytest.raises(ssl.SSLError, match=alert):
                await asyncio.to_thread(ask)
            await origin.quiet()
            assert bytes(origin.received) == b""
        line = await proxy.connection()
        assert (line["host_rule"], line["code"]) == (HOST, alert and "pin_mismatch")


@pytest.mark.attack("SOCKS5 to a listed host without TLS", expect="not_tls", topic="tunnel")
async def test_a_client_without_a_word_of_tls_does_not_reach_a_listed_host() -> None:
    """What is not TLS cannot be verified; the twin is the interception above."""
    async with (
        running_origin(CONTEXT) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port)) as proxy,
    ):

        def ask() -> bytes:
            with greet(proxy) as sock:
                sock.sendall(socks_request() + get_head("/"))
                return read_exactly(sock, 10 + 7)

        assert await asyncio.to_thread(ask) == OPEN + bytes.fromhex("15 0303 0002 02 0a")
        assert (await proxy.connection())["code"] == "not_tls"
        await origin.quiet()
        assert bytes(origin.received) == b""
