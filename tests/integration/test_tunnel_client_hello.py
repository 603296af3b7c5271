"""What a tunnel lets a client say before the verdict: one ClientHello, for the host that was asked for, however it is cut."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from pinproxy.limits import Limits
from pinproxy.tls.alert import AlertDescription, alert
from tests.harness.clients import get_head, open_tunnel
from tests.harness.running import HOST, RunningProxy
from tests.harness.tls_handshakes import refragment, with_extensions
from tests.harness.tunnelling import (
    TLS12,
    HandClient,
    Stage,
    client_context,
    client_hello,
    hear,
    tunnelling,
)

NAME = HOST.encode("ascii")


def names(*entries: bytes) -> tuple[int, bytes]:
    """Make a server_name extension."""
    listed = b"".join(b"\x00" + len(name).to_bytes(2, "big") + name for name in entries)
    return 0, len(listed).to_bytes(2, "big") + listed


def named(*entries: bytes) -> bytes:
    """Make a ClientHello with these server names."""
    return with_extensions(client_hello(client_context(TLS12)), names(*entries), without=0)


async def heard_and_code(stage: Stage, *pieces: bytes) -> tuple[bytes, str]:
    """Send bytes through a tunnel; returns what came back, and the code that was logged. Nothing may have gone up."""
    heard = await hear(stage.proxy, *pieces)
    line = await stage.proxy.connection()
    await stage.origin.quiet()
    assert (stage.origin.handshakes, line["bytes_up"]) == (1, 0)
    return heard, line["code"]


async def first_byte(proxy: RunningProxy, *pieces: bytes) -> bytes:
    """Send bytes through a tunnel, and leave at the first byte that comes back."""

    def talk() -> bytes:
        with open_tunnel(proxy) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                sock.sendall(piece)
            return sock.recv(1)

    return await asyncio.to_thread(talk)


# --- the name ------------------------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "the name in the ClientHello is not that of CONNECT, absent, double, an address, or has a trailing dot or a NUL",
    expect=("sni_mismatch", "sni_missing", "client_hello_invalid"),
    topic="tunnel",
    motive="domain fronting; RFC 6066 §3",
)
@pytest.mark.parametrize(
    ("hello", "code", "description"),
    [
        (named(b"other.example.test"), "sni_mismatch", AlertDescription.UNRECOGNIZED_NAME),
        (named(b"x" + NAME), "sni_mismatch", AlertDescription.UNRECOGNIZED_NAME),
        (with_extensions(client_hello(client_context(TLS12)), without=0), "sni_missing", AlertDescription.UNRECOGNIZED_NAME),
        (named(NAME, b"other.example.test"), "client_hello_invalid", AlertDescription.DECODE_ERROR),
        (named(b"other.example.test", NAME), "client_hello_invalid", AlertDescription.DECODE_ERROR),
        (named(NAME, NAME), "client_hello_invalid", AlertDescription.DECODE_ERROR),
        (named(NAME + b"."), "client_hello_invalid", AlertDescription.DECODE_ERROR),
        (named(NAME + b"\x00.other"), "client_hello_invalid", AlertDescription.DECODE_ERROR),
        (named(b"127.0.0.1"), "client_hello_invalid", AlertDescription.DECODE_ERROR),
        (named(b""), "client_hello_invalid", AlertDescription.DECODE_ERROR),
        (with_extensions(named(NAME), names(NAME)), "client_hello_invalid", AlertDescription.DECODE_ERROR),
    ],
    ids=[
        "other",
        "longer",
        "none",
        "two",
        "two, other first",
        "twice",
        "trailing dot",
        "NUL",
        "address",
        "empty",
        "two extensions",
    ],
)
async def test_a_hello_that_does_not_name_the_host_once_and_clearly_goes_nowhere(
    hello: bytes, code: str, description: AlertDescription
) -> None:
    """Whichever name a more forgiving reader would take, the server gets to read none."""
    async with tunnelling() as stage:
        assert await heard_and_code(stage, hello) == (alert(description), code)


@pytest.mark.parametrize("name", [NAME, NAME.upper(), b"aPi.ExAmPlE.tEsT"])
async def test_a_name_in_any_case_is_that_of_the_host(name: bytes) -> None:
    """RFC 6066 §3: DNS hostnames are case-insensitive. The twin: the handshake is answered and verified."""
    async with tunnelling() as stage:
        assert await first_byte(stage.proxy, named(name)) == b"\x16"
        assert (await stage.proxy.connection())["verdict"] == "matched"


@pytest.mark.attack(
    "ECH with another outer name; a GREASE ECH extension passes",
    expect=("sni_mismatch", "serve"),
    topic="tunnel",
    motive="Encrypted Client Hello",
)
async def test_a_grease_ech_extension_passes_and_the_outer_name_counts() -> None:
    """Browsers send one to everybody; nobody but the server can tell it from a true one (RFC 8446's ECH extension, 0xFE0D)."""
    grease = (0xFE0D, b"\x00\x00\x01\x00\x01\x07" + b"\x00\x20" + bytes(32) + b"\x00\x10" + bytes(16))
    async with tunnelling() as stage:
        assert await first_byte(stage.proxy, with_extensions(named(NAME), grease)) == b"\x16"
        assert (await stage.proxy.connection())["code"] is None
    async with tunnelling() as stage:
        heard = await heard_and_code(stage, with_extensions(named(b"other.example.test"), grease))
        assert heard == (alert(AlertDescription.UNRECOGNIZED_NAME), "sni_mismatch")


# --- no TLS, and not enough of it -----------------------------------------------------------------------------------------


@pytest.mark.attack(
    "SSH, HTTP, HTTP/2 or SSLv2 through CONNECT to a pinned host",
    expect="not_tls",
    topic="tunnel",
    motive="StartTLS and protocols seen in the wild",
)
@pytest.mark.parametrize(
    "words",
    [
        get_head("/"),
        b"SSH-2.0-OpenSSH_9.7\r\n",
        b"\x80\x2e\x01\x00\x02" + bytes(40),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00",
    ],
    ids=["HTTP", "SSH", "SSLv2", "HTTP/2", "a zero"],
)
async def test_what_is_no_tls_does_not_reach_a_pinned_host(words: bytes) -> None:
    """A listed host is reached over TLS or not at all."""
    async with tunnelling() as stage:
        assert await heard_and_code(stage, words) == (alert(AlertDescription.UNEXPECTED_MESSAGE), "not_tls")


@pytest.mark.attack(
    "an alert, a ChangeCipherSpec or application data in front of the ClientHello",
    expect="client_hello_invalid",
    topic="tunnel",
    motive="RFC 8446 §5",
)
@pytest.mark.parametrize(
    "words",
    [b"\x15\x03\x03\x00\x02\x01\x00", b"\x14\x03\x03\x00\x01\x01", b"\x17\x03\x03\x00\x01x"],
    ids=["alert", "change_cipher_spec", "application data"],
)
async def test_tls_that_does_not_begin_with_a_hello_goes_nowhere(words: bytes) -> None:
    """What stands in front of a ClientHello could hide it."""
    async with tunnelling() as stage:
        heard = await heard_and_code(stage, words + client_hello(client_context(TLS12)))
        assert heard == (alert(AlertDescription.DECODE_ERROR), "client_hello_invalid")


async def test_a_slow_hello_ends_at_the_deadline_whatever_trickles_in() -> None:
    """`limits.head_seconds` is for the whole of it."""
    async with tunnelling(limits=Limits(head_seconds=0.3)) as stage:

        def trickle() -> bytes:
            with open_tunnel(stage.proxy) as sock:
                sock.settimeout(0.05)
                for byte in client_hello(client_context(TLS12)):
                    sock.sendall(bytes([byte]))
                    try:
                        return sock.recv(100)
                    except TimeoutError:
                        continue
            raise AssertionError("waited for the whole of it")

        assert await asyncio.to_thread(trickle) == alert(AlertDescription.INTERNAL_ERROR)
        assert (await stage.proxy.connection())["code"] == "head_timeout"


async def test_half_a_hello_and_an_end_is_refused() -> None:
    """The rest will not come."""
    async with tunnelling() as stage:

        def talk() -> bytes:
            with open_tunnel(stage.proxy) as sock:
                sock.sendall(client_hello(client_context(TLS12))[:-1])
                sock.shutdown(socket.SHUT_WR)
                return sock.recv(100)

        assert await asyncio.to_thread(talk) == alert(AlertDescription.DECODE_ERROR)
        assert (await stage.proxy.connection())["code"] == "client_hello_invalid"


@pytest.mark.parametrize(
    ("record_bytes", "first", "code"), [(2**14, b"\x16", None), (1, b"\x15", "client_hello_invalid")], ids=["within", "over"]
)
async def test_a_hello_is_read_up_to_its_bound(record_bytes: int, first: bytes, code: str | None) -> None:
    """64 KiB hold any real one, with room for keys and tickets to come; headers of records count."""
    hello = refragment(with_extensions(named(NAME), (0xF000, bytes(12_000))), record_bytes)
    async with tunnelling() as stage:
        heard = await hear(stage.proxy, hello) if code else await first_byte(stage.proxy, hello)
        assert heard[:1] == first
        assert (await stage.proxy.connection())["code"] == code


# --- however it is cut ------------------------------------------------------------------------------------------------------


def cuts(hello: bytes) -> Iterator[tuple[bytes, ...]]:
    """Cut a hello in two, at every seventh boundary."""
    for at in range(1, len(hello), 7):
        yield hello[:at], hello[at:]


@pytest.mark.attack(
    "a ClientHello cut into records or segments so that its name cannot be seen at once",
    expect="sni_mismatch",
    topic="tunnel",
    motive="RFC 8446 §5.1",
)
@pytest.mark.parametrize(("name", "code"), [(NAME, None), (b"other.example.test", "sni_mismatch")], ids=["right", "wrong"])
async def test_no_segmentation_changes_the_decision(name: bytes, code: str | None) -> None:
    """TCP may cut anywhere."""
    hello = named(name)
    async with tunnelling() as stage:
        for count, pieces in enumerate(cuts(hello), start=1):
            heard = await hear(stage.proxy, *pieces) if code else await first_byte(stage.proxy, *pieces)
            assert heard[:1] == (b"\x15" if code else b"\x16")
            assert (await stage.proxy.connection(count=count))["code"] == code


@pytest.mark.attack(
    "a ClientHello cut into records or segments so that its name cannot be seen at once",
    expect="sni_mismatch",
    topic="tunnel",
    motive="RFC 8446 §5.1",
)
@pytest.mark.parametrize("size", [1, 3, 100])
async def test_a_hello_in_small_records_is_read_like_a_whole_one(size: int) -> None:
    """A server's reader joins them, so ours must (RFC 8446 §5.1)."""
    async with tunnelling() as stage:

        def talk() -> bytes:
            client = HandClient(client_context(TLS12))
            with open_tunnel(stage.proxy) as sock:
                sock.sendall(refragment(client.hello, size))
                return client.finish(sock)

        assert await asyncio.to_thread(talk) == b"GET / 0\n"
        assert (await stage.proxy.connection())["assurance"] == "full"
    async with tunnelling() as stage:
        heard = await heard_and_code(stage, refragment(named(b"other.example.test"), size))
        assert heard == (alert(AlertDescription.UNRECOGNIZED_NAME), "sni_mismatch")
