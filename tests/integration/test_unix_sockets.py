"""UNIX sockets as listeners: everything that a port can do, without a port."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from pathlib import Path

import pytest

from pinproxy.limits import Limits
from pinproxy.net.unix_socket import UnixAddress
from tests.harness.clients import Answer, connect_head, get_head, read_answer, start_tls
from tests.harness.origin import answer_bodies, answer_ok, body_of, receipt_for, running_origin
from tests.harness.originating import answering, certificates, ok
from tests.harness.pki import Issued, make_leaf, server_context
from tests.harness.routes import connect_to, running_route
from tests.harness.running import HOST, host_rule, running_proxy
from tests.harness.socks5 import GREETING, NO_AUTHENTICATION, OPEN, read_exactly, socks_request

ROOT, LEAF = certificates()
OTHER = make_leaf(ROOT, HOST)
CONTEXT = server_context(LEAF)
TLS12 = server_context(LEAF)
TLS12.maximum_version = ssl.TLSVersion.TLSv1_2
LOCAL = Limits(allow_private=True)


@pytest.fixture
def address(tmp_path: Path) -> UnixAddress:
    """A path of its own."""
    return UnixAddress(tmp_path / "proxy.sock")


class UnixConnection(http.client.HTTPConnection):
    """Python's own client, over a UNIX socket."""

    def __init__(self, address: UnixAddress, host: str = "localhost") -> None:
        """Know the way; the name is for the Host field."""
        super().__init__(host, timeout=10)
        self._address = address

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = connect_to(self._address)


def dribble(sock: socket.socket, data: bytes) -> None:
    """Send byte by byte."""
    for byte in data:
        sock.sendall(bytes([byte]))


# --- the proxy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_dribbled", [False, True], ids=["whole", "byte by byte"])
async def test_connect_is_intercepted(address: UnixAddress, *, is_dribbled: bool) -> None:
    """The first bytes are peeked at here, too; the client's address is `unix`."""
    async with (
        running_origin(CONTEXT) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port), also_listen=[address]) as proxy,
    ):

        def ask() -> Answer:
            with connect_to(address) as sock:
                (dribble if is_dribbled else socket.socket.sendall)(sock, connect_head())
                assert read_answer(sock).status == 200
                with start_tls(sock, proxy) as tls:
                    tls.sendall(get_head("/"))
                    return read_answer(tls)

        assert (await asyncio.to_thread(ask)).body == b"GET / 0\n"
        line = await proxy.connection()
        assert (line["client"], line["mode"], line["verdict"]) == ("unix", "interception", "matched")


async def test_connect_is_tunnelled_by_the_kernel(address: UnixAddress) -> None:
    """A body of some size through splice(2), both ways."""
    async with running_origin(TLS12, answer_bodies) as origin:
        rule = host_rule([LEAF.pin], ROOT.anchors, port=origin.port, connect="tunnel", tls13="refuse")
        async with running_proxy(rule, also_listen=[address]) as proxy:

            def ask() -> tuple[bytes, bytes]:
                trust = ssl.create_default_context(cadata=ROOT.pem.decode())
                with connect_to(address) as sock:
                    sock.sendall(connect_head())
                    assert read_answer(sock).status == 200
                    with trust.wrap_socket(sock, server_hostname=HOST) as tls:
                        tls.sendall(get_head("/3000000"))
                        got = read_answer(tls).body
                        head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(got)}\r\n\r\n"
                        tls.sendall(head.encode() + got)
                        return got, read_answer(tls).body

            body = body_of(3_000_000)
            assert await asyncio.to_thread(ask) == (body, receipt_for(body))
            line = await proxy.connection()
            assert (line["client"], line["mode"], line["assurance"]) == ("unix", "tunnel", "full")


async def test_socks5_leads_to_an_unlisted_host(address: UnixAddress) -> None:
    """Blind, where the operator allows it."""
    async with (
        running_origin(None) as origin,
        running_proxy(unlisted="allow", limits=LOCAL, also_listen=[address]) as proxy,
    ):

        def ask() -> Answer:
            with connect_to(address) as sock:
                dribble(sock, GREETING + socks_request("127.0.0.1", origin.port))
                assert read_exactly(sock, 12) == NO_AUTHENTICATION + OPEN
                sock.sendall(get_head("/", "plain.test"))
                return read_answer(sock)

        assert (await asyncio.to_thread(ask)).status == 200
        line = await proxy.connection()
        assert (line["client"], line["mode"]) == ("unix", "blind")


@pytest.mark.parametrize(
    ("leaf", "status", "code"), [(LEAF, 200, None), (OTHER, 403, "pin_mismatch")], ids=["pinned", "other key"]
)
async def test_plain_http_is_originated_under_the_pins(leaf: Issued, status: int, code: str | None, address: UnixAddress) -> None:
    """Absolute targets, as to any forward proxy; refusals are read as over TCP."""
    async with (
        running_origin(server_context(leaf)) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port), also_listen=[address]) as proxy,
    ):

        def ask() -> tuple[int, str | None]:
            client = UnixConnection(address)
            client.request("GET", f"http://{HOST}/", headers={"Host": HOST})
            answer = client.getresponse()
            answer.read()
            client.close()
            return answer.status, answer.headers["X-Pinproxy-Error"]

        assert await asyncio.to_thread(ask) == (status, code)
        assert (await proxy.connection())["client"] == "unix"
        if code is not None:
            await origin.quiet()
            assert bytes(origin.received) == b""


async def test_a_client_that_ends_within_its_first_bytes_is_gone_at_once(address: UnixAddress) -> None:
    """Its end is seen behind bytes that stay unread: nobody waits for `limits.head_seconds`."""
    async with running_proxy(also_listen=[address], limits=Limits(head_seconds=60)) as proxy:

        def leave() -> bytes:
            with connect_to(address) as sock:
                sock.sendall(b"CONN")
                sock.shutdown(socket.SHUT_WR)
                return sock.recv(100)

        await asyncio.to_thread(leave)
        assert (await proxy.connection())["code"] == "client_closed"


async def test_the_path_is_gone_after_a_drain(address: UnixAddress) -> None:
    """And no new client gets in."""
    async with running_proxy(also_listen=[address]) as proxy:
        assert proxy.server.sockets == (address,)
        assert address.path.is_socket()
        await proxy.server.drain()
        assert not address.path.exists()


# --- routes ---------------------------------------------------------------------------------------------------------------


async def test_a_route_of_http_is_an_origin_on_a_path(address: UnixAddress) -> None:
    """Where there is no port, the client's Host is what it says it is, and what redirects lead back to."""
    redirect = ok(b"moved", f"Location: https://{HOST}/next")
    async with running_route("http", answering(redirect, ok(b"next")), listen=address) as stage:

        def ask() -> tuple[str | None, bytes]:
            client = UnixConnection(address)
            client.request("GET", "/")
            moved = client.getresponse()
            moved.read()
            client.request("GET", "/next")
            body = client.getresponse().read()
            client.close()
            return moved.headers["Location"], body

        assert await asyncio.to_thread(ask) == ("http://localhost/next", b"next")
        lines = [await stage.proxy.connection(index, 2) for index in (0, 1)]
        assert {(line["client"], line["mode"], line["code"]) for line in lines} == {("unix", "origination", None)}


@pytest.mark.parametrize(("leaf", "code"), [(LEAF, None), (OTHER, "pin_mismatch")], ids=["pinned", "other key"])
async def test_a_route_of_tcp_carries_a_paths_bytes(leaf: Issued, code: str | None, address: UnixAddress) -> None:
    """A refused client sees its connection end without a byte."""
    async with running_route("tcp", answer_ok, context=server_context(leaf), listen=address) as stage:

        def ask() -> int | None:
            with stage.connect() as sock:
                try:
                    sock.sendall(get_head("/", further="Connection: close\r\n"))
                    return read_answer(sock).status
                except (EOFError, ConnectionResetError, BrokenPipeError):
                    return None

        assert await asyncio.to_thread(ask) == (200 if code is None else None)
        line = await stage.proxy.connection()
        assert (line["client"], line["mode"], line["code"]) == ("unix", "route", code)
        if code is not None:
            await stage.origin.quiet()
            assert bytes(stage.origin.received) == b""
