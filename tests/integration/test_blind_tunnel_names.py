"""CONNECT to something unlisted, with a listed name in the ClientHello: no way around its pins, however it is hidden."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from pinproxy.limits import Limits
from pinproxy.tls.alert import AlertDescription, alert
from tests.harness.blind import ADDRESS, OTHER, blind, listed, say_back
from tests.harness.clients import open_tunnel, read_answer, read_to_end, start_tls
from tests.harness.origin import running_origin
from tests.harness.pki import Issued
from tests.harness.running import HOST, RunningProxy, host_rule
from tests.harness.tls_handshakes import refragment
from tests.harness.tunnelling import (
    BOTH,
    IMPOSTOR,
    LEAF,
    client_context,
    client_hello,
    fetch,
    hear,
    origin_context,
    running_go_between,
)

each_connect = pytest.mark.parametrize("connect", ["intercept", "tunnel"])


@each_connect
@pytest.mark.parametrize("host", [ADDRESS, OTHER], ids=["address", "name"])
async def test_connect_to_something_else_meets_the_pins_of_its_sni(connect: str, host: str) -> None:
    """The ClientHello names a listed host: it is verified like any other, at the address the client asked for."""
    async with running_origin(origin_context()) as origin, blind(listed(connect)) as proxy:
        if connect == "tunnel":
            assert (await fetch(proxy, client_context(), host=host, port=origin.port)).body == b"GET / 0\n"
        else:
            assert await asyncio.to_thread(get_intercepted, proxy, host, origin.port) == b"GET / 0\n"
        line = await proxy.connection()
    assert (line["authority"], line["host_rule"]) == (f"{HOST}:{origin.port}", HOST)
    assert line["mode"] == ("tunnel" if connect == "tunnel" else "interception")
    assert (line["verdict"], line["decision"]) == ("matched", "allow")
    assert line["upstream_address"] == f"{ADDRESS}:{origin.port}"


@pytest.mark.attack(
    "CONNECT by address or by another name, with the pinned name in the ClientHello",
    expect="pin_mismatch",
    topic="authority",
    motive="an application that resolves by itself",
)
@each_connect
@pytest.mark.parametrize("host", [ADDRESS, OTHER], ids=["address", "name"])
async def test_connect_to_something_else_is_no_way_around_the_pins_of_its_sni(connect: str, host: str) -> None:
    """The twin: another key, a valid certificate; an alert, and not one byte."""
    async with running_origin(origin_context(IMPOSTOR)) as origin, blind(listed(connect)) as proxy:
        heard = await hear(proxy, client_hello(client_context()), host=host, port=origin.port)
        assert heard == alert(AlertDescription.BAD_CERTIFICATE)
        line = await proxy.connection()
        assert (line["code"], line["verdict"], line["host_rule"]) == ("pin_mismatch", "no_match", HOST)
        await origin.quiet()
        assert origin.received == b""


def get_intercepted(proxy: RunningProxy, host: str, port: int) -> bytes:
    """Get `/` through a tunnel whose TLS the proxy ends."""
    with open_tunnel(proxy, host, port) as sock, start_tls(sock, proxy) as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return read_answer(tls).body


@pytest.mark.attack(
    "CONNECT by address or by another name, with the pinned name in the ClientHello",
    expect="pin_mismatch",
    topic="authority",
    motive="an application that resolves by itself",
)
@each_connect
@pytest.mark.parametrize(("leaf", "code"), [(LEAF, None), (IMPOSTOR, "pin_mismatch")], ids=["true", "impostor"])
async def test_connect_to_an_ipv6_address_meets_the_pins_of_its_sni(connect: str, leaf: Issued, code: str | None) -> None:
    """The same over the other family."""
    if not has_ipv6_loopback():
        pytest.skip("this machine has no IPv6 loopback")
    async with (
        running_origin(origin_context(leaf)) as origin,
        running_go_between(lambda _first: origin.port, listen="::1") as port,
        blind(listed(connect)) as proxy,
    ):
        if code is not None:
            heard = await hear(proxy, client_hello(client_context()), host="[::1]", port=port)
            assert heard == alert(AlertDescription.BAD_CERTIFICATE)
        elif connect == "tunnel":
            assert (await fetch(proxy, client_context(), host="[::1]", port=port)).body == b"GET / 0\n"
        else:
            assert await asyncio.to_thread(get_intercepted, proxy, "[::1]", port) == b"GET / 0\n"
        line = await proxy.connection()
        assert (line["code"], line["upstream_address"]) == (code, f"[::1]:{port}")


def has_ipv6_loopback() -> bool:
    """Tell whether ::1 can be listened on."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.attack(
    "a listed name on a port that is not listed",
    expect="host_not_listed",
    topic="authority",
    motive="RFC 9110 §9.3.6",
)
@each_connect
async def test_a_listed_name_for_a_port_that_is_not_listed_is_refused(connect: str) -> None:
    """As a CONNECT to that name and port would be."""
    further: dict[str, Any] = {"connect": "tunnel", "tls13": "preflight"} if connect == "tunnel" else {}
    rule = host_rule([LEAF.pin], BOTH, ports=frozenset({443}), **further)
    async with running_origin(origin_context()) as origin, blind(rule) as proxy:
        heard = await hear(proxy, client_hello(client_context()), host=ADDRESS, port=origin.port)
        assert heard == alert(AlertDescription.ACCESS_DENIED)
        assert (await proxy.connection())["code"] == "host_not_listed"
        await origin.quiet()
        assert origin.received == b""


async def test_a_server_that_spoke_first_is_not_followed_by_a_verified_one() -> None:
    """What it said has gone to the client already, and was not verified by anybody."""

    async def speak_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        await reader.read()

    def talk(proxy: RunningProxy, port: int, name: str) -> bytes:
        with open_tunnel(proxy, ADDRESS, port) as sock:
            heard = sock.recv(100)
            sock.sendall(client_hello(client_context(), name))
            if name != HOST:
                sock.shutdown(socket.SHUT_WR)
            return heard + read_to_end(sock)

    async with running_origin(None, speak_first) as origin, blind(listed("tunnel")) as proxy:
        heard = await asyncio.to_thread(talk, proxy, origin.port, HOST)
        assert heard == b"220 ready\r\n" + alert(AlertDescription.UNRECOGNIZED_NAME)
        assert (await proxy.connection())["code"] == "sni_mismatch"
        await origin.quiet()
        assert origin.received == b""
        # The twin: a name that nobody lists.
        assert await asyncio.to_thread(talk, proxy, origin.port, OTHER) == b"220 ready\r\n"
        assert (await proxy.connection(count=2))["code"] is None


@pytest.mark.attack(
    "blind tunnel: a listed name in a ClientHello that comes in pieces or behind another record",
    expect=("pin_mismatch", "client_hello_invalid"),
    topic="tunnel",
    motive="RFC 8446 §5.1",
)
async def test_a_hello_in_pieces_does_not_hide_its_name() -> None:
    """Small records, small segments: the name is read before anything goes up."""
    hello = refragment(client_hello(client_context()), 1)
    async with running_origin(origin_context(IMPOSTOR)) as origin, blind(listed("tunnel")) as proxy:
        heard = await hear(proxy, *(hello[at : at + 50] for at in range(0, len(hello), 50)), host=ADDRESS, port=origin.port)
        assert heard == alert(AlertDescription.BAD_CERTIFICATE)
        assert (await proxy.connection())["code"] == "pin_mismatch"


@pytest.mark.attack(
    "CONNECT by address, and a ClientHello that stays unfinished until the deadline",
    expect=("head_timeout", "client_hello_invalid"),
    topic="authority",
    motive="an application that resolves by itself",
)
@pytest.mark.parametrize("ends", [False, True], ids=["waits", "ends"])
async def test_half_a_hello_does_not_pass_however_long_it_takes(*, ends: bool) -> None:
    """What cannot be read cannot be said to name nobody: to wait out the deadline is no way around the pins."""
    limits = Limits(allow_private=True, head_seconds=0.2)

    def talk(proxy: RunningProxy, port: int) -> bytes:
        with open_tunnel(proxy, ADDRESS, port) as sock:
            sock.sendall(client_hello(client_context())[:60])
            if ends:
                sock.shutdown(socket.SHUT_WR)
            return read_to_end(sock)

    async with running_origin(None, say_back) as origin, blind(listed("tunnel"), limits=limits) as proxy:
        heard = await asyncio.to_thread(talk, proxy, origin.port)
        expected = (
            ("client_hello_invalid", AlertDescription.DECODE_ERROR) if ends else ("head_timeout", AlertDescription.INTERNAL_ERROR)
        )
        assert ((await proxy.connection())["code"], heard) == (expected[0], alert(expected[1]))
        await origin.quiet()
        assert origin.received == b""


@pytest.mark.attack(
    "blind tunnel: a listed name in a ClientHello that comes in pieces or behind another record",
    expect=("pin_mismatch", "client_hello_invalid"),
    topic="tunnel",
    motive="RFC 8446 §5.1",
)
@pytest.mark.parametrize(
    "front",
    [b"\x14\x03\x03\x00\x01\x01", b"\x15\x03\x03\x00\x02\x01\x00", b"\x17\x03\x03\x00\x01x"],
    ids=["CCS", "alert", "data"],
)
async def test_a_record_in_front_of_the_hello_does_not_hide_it(front: bytes) -> None:
    """Some server may skip it, and read the name behind it."""
    async with running_origin(None, say_back) as origin, blind(listed("tunnel")) as proxy:
        heard = await hear(proxy, front + client_hello(client_context()), host=ADDRESS, port=origin.port)
        assert heard == alert(AlertDescription.DECODE_ERROR)
        assert (await proxy.connection())["code"] == "client_hello_invalid"
        await origin.quiet()
        assert origin.received == b""


async def test_bytes_that_only_begin_like_tls_pass() -> None:
    """The twin: a protocol of its own whose first byte happens to be 22."""
    async with running_origin(None, say_back) as origin, blind(listed("tunnel")) as proxy:

        def talk() -> bytes:
            with open_tunnel(proxy, ADDRESS, origin.port) as sock:
                sock.sendall(b"\x16\x00 my own")
                sock.shutdown(socket.SHUT_WR)
                return read_to_end(sock)

        assert await asyncio.to_thread(talk) == b"\x16\x00 my own"
        assert (await proxy.connection())["code"] is None
