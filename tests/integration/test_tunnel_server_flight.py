"""The server's flight as a tunnel reads it: however it is cut, late, broken off or too large, nothing of it passes unverified."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest

from pinproxy.limits import Limits
from pinproxy.tls.alert import AlertDescription, alert
from pinproxy.tls.records import HandshakeType
from tests.harness.clients import open_tunnel
from tests.harness.running import RunningProxy
from tests.harness.tls_handshakes import refragment
from tests.harness.tunnelling import (
    LEAF,
    ROOT,
    TLS12,
    HandClient,
    client_context,
    client_hello,
    fetch,
    flight_of,
    hear,
    messages_of,
    on_tunnel,
    origin_context,
    tunnelling,
    with_body,
)

HELLO = client_hello(client_context(TLS12))
FAILED = alert(AlertDescription.HANDSHAKE_FAILURE)


async def shake_hands(edit: Callable[[bytes], bytes]) -> tuple[bytes, dict[str, object]]:
    """Finish a handshake and ask for a path, through a go-between that edits the server's flight; returns answer and log line."""
    async with tunnelling(edit=on_tunnel(edit)) as stage:

        def talk() -> bytes:
            client = HandClient(client_context(TLS12))
            with open_tunnel(stage.proxy) as sock:
                sock.sendall(client.hello)
                return client.finish(sock)

        return await asyncio.to_thread(talk), await stage.proxy.connection()


# --- however it is cut -----------------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "the server's flight in records of any size, or all its messages in one record",
    expect="serve",
    topic="tunnel",
    motive="RFC 5246 §6.2.1",
)
@pytest.mark.parametrize("size", [1, 2, 50])
async def test_a_flight_in_small_records_is_verified_like_a_whole_one(size: int) -> None:
    """Messages may be cut anywhere over records (RFC 5246 §6.2.1)."""
    answer, line = await shake_hands(lambda flight: refragment(flight, size))
    assert (answer, line["verdict"], line["assurance"]) == (b"GET / 0\n", "matched", "full")


@pytest.mark.attack(
    "the server's flight in records of any size, or all its messages in one record",
    expect="serve",
    topic="tunnel",
    motive="RFC 5246 §6.2.1",
)
async def test_a_flight_with_all_its_messages_in_one_record_is_verified_like_any_other() -> None:
    """And several may share one."""

    def joined(flight: bytes) -> bytes:
        content = b"".join(bytes([kind]) + len(body).to_bytes(3, "big") + body for kind, body in messages_of(flight))
        return b"\x16\x03\x03" + len(content).to_bytes(2, "big") + content

    answer, line = await shake_hands(joined)
    assert (answer, line["assurance"]) == (b"GET / 0\n", "full")


# --- too much of it --------------------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "more certificates on the wire than the bound",
    expect="chain_invalid",
    topic="tunnel",
    motive="RFC 5246 §7.4.2",
)
async def test_more_certificates_than_the_bound_are_refused_and_no_more_pass() -> None:
    """`limits.chain_certificates` holds on the wire as it does in a handshake of ours (RFC 5280 sets no bound)."""

    def lengthened(count: int) -> Callable[[bytes], bytes]:
        entry = len(LEAF.der).to_bytes(3, "big") + LEAF.der

        def change(body: bytes) -> bytes:
            certificates = body[3:] + entry * (count - 1)
            return len(certificates).to_bytes(3, "big") + certificates

        return lambda flight: with_body(flight, HandshakeType.CERTIFICATE, change)

    for count, code, description in (
        (11, "chain_invalid", AlertDescription.CERTIFICATE_UNKNOWN),
        (500, "tls_handshake_failed", AlertDescription.HANDSHAKE_FAILURE),
    ):
        async with tunnelling(edit=on_tunnel(lengthened(count))) as stage:
            assert await hear(stage.proxy, HELLO) == alert(description)
            assert (await stage.proxy.connection())["code"] == code
    async with tunnelling(edit=on_tunnel(lengthened(10))) as stage:
        # The client will not like it: its transcript is another. What the tunnel had to say about it is said by then.
        heard = await asyncio.to_thread(_first_bytes_of, stage.proxy)
        assert heard[:1] == b"\x16"
        assert (await stage.proxy.connection())["verdict"] == "matched"


def _first_bytes_of(proxy: RunningProxy) -> bytes:
    with open_tunnel(proxy) as sock:
        sock.sendall(HELLO)
        return sock.recv(65536)


@pytest.mark.attack("a server's flight without an end", expect="tls_handshake_failed", topic="tunnel", motive="RFC 5246 §6.2.1")
async def test_a_flight_without_an_end_is_refused_at_its_bound() -> None:
    """Certificate messages count, and so does everything around them."""

    def endless(flight: bytes) -> bytes:
        hello = flight_of(messages_of(flight)[:1])
        return hello + b"\x15\x03\x03\x00\x02\x01\x5a" * 20_000  # warnings: user_canceled

    async with tunnelling(edit=on_tunnel(endless)) as stage:
        assert await hear(stage.proxy, HELLO) == FAILED
        line = await stage.proxy.connection()
        assert (line["code"], line["bytes_down"]) == ("tls_handshake_failed", 0)


# --- not all of it ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept_messages", [0, 1, 2, 3])
async def test_a_server_that_closes_inside_its_flight_is_an_upstream_failure(kept_messages: int) -> None:
    """The client gets an alert, and none of the pieces."""

    def part(flight: bytes) -> bytes:
        return flight_of(messages_of(flight)[:kept_messages])

    async with tunnelling(edit=on_tunnel(part, then_hang_up=True)) as stage:
        assert await hear(stage.proxy, HELLO) == FAILED
        line = await stage.proxy.connection()
        assert (line["code"], line["status"], line["bytes_down"]) == ("tls_handshake_failed", 502, 0)


@pytest.mark.parametrize("kept_messages", [0, 1, 3])
async def test_a_server_that_hangs_inside_its_flight_ends_at_the_deadline(kept_messages: int) -> None:
    """`limits.handshake_seconds`, from the ClientHello on, whatever comes meanwhile."""

    def part(flight: bytes) -> bytes:
        return flight_of(messages_of(flight)[:kept_messages])

    async with tunnelling(edit=on_tunnel(part), limits=Limits(handshake_seconds=0.3)) as stage:
        assert await hear(stage.proxy, HELLO) == alert(AlertDescription.INTERNAL_ERROR)
        line = await stage.proxy.connection()
        assert (line["code"], line["status"], line["bytes_down"]) == ("handshake_timeout", 504, 0)


async def test_a_fatal_alert_of_the_server_ends_it() -> None:
    """A server that wants no part of the client's offer says so in plaintext."""
    async with tunnelling(edit=on_tunnel(lambda _: b"\x15\x03\x03\x00\x02\x02\x28")) as stage:
        assert await hear(stage.proxy, HELLO) == FAILED
        line = await stage.proxy.connection()
        assert (line["code"], line["decision"]) == ("tls_handshake_failed", "deny")
        assert "handshake_failure (40)" in line["detail"]


async def test_a_warning_in_front_of_the_flight_is_no_end() -> None:
    """RFC 6066 §3: a server may answer a name it does not know with a warning, and go on."""
    answer, line = await shake_hands(lambda flight: b"\x15\x03\x03\x00\x02\x01\x70" + flight)
    assert (answer, line["assurance"]) == (b"GET / 0\n", "full")


@pytest.mark.attack(
    "a server that answers the ClientHello with something else than a handshake",
    expect="tls_handshake_failed",
    topic="tunnel",
    motive="RFC 8446 §4",
)
@pytest.mark.parametrize(
    "words",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n", b"\x17\x03\x03\x00\x01x", b"\x14\x03\x03\x00\x01\x01", b"\x00"],
    ids=["HTTP", "SSH", "application data", "change_cipher_spec", "a zero"],
)
async def test_what_is_no_flight_is_not_passed_on(words: bytes) -> None:
    """A server that answers a ClientHello with something else is not the one that answered ours."""
    async with tunnelling(edit=on_tunnel(lambda _: words)) as stage:
        assert await hear(stage.proxy, HELLO) == FAILED
        assert (await stage.proxy.connection())["code"] == "tls_handshake_failed"


# --- what belongs to it ------------------------------------------------------------------------------------------------------


async def test_a_server_that_asks_the_client_for_a_certificate_is_verified_like_any_other() -> None:
    """CertificateRequest and the client's answer to it are between the two ends."""
    context = origin_context(newest=TLS12)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=ROOT.pem.decode("ascii"))
    async with tunnelling(context) as stage:
        assert (await fetch(stage.proxy, client_context(TLS12))).body == b"GET / 0\n"
        assert (await stage.proxy.connection())["assurance"] == "full"
