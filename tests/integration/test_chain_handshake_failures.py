"""Origins that speak no TLS, too old a TLS, or none in time; and those that cannot be reached at all."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace

import pytest

from pinproxy.limits import Limits
from pinproxy.policy.rule import DialOverride, Mode
from pinproxy.tls.alert import AlertDescription, alert
from tests.harness.blocking_origin import answer_once, blocking_origin
from tests.harness.clients import Answer, Way, ask, each_way
from tests.harness.origin import Handler, running_origin
from tests.harness.outcome import ask_once, assert_served
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
PINS, TRUST = [LEAF.pin], ROOT.anchors
SHORT = Limits(handshake_seconds=0.3)

TLS12 = server_context(LEAF)
TLS12.maximum_version = ssl.TLSVersion.TLSv1_2
TLS13 = server_context(LEAF)
TLS13.minimum_version = ssl.TLSVersion.TLSv1_3


# --- versions ----------------------------------------------------------------------------------------------------------


@pytest.mark.attack("a server below the rule's lowest TLS version", expect="tls_version", topic="certificates", motive="RFC 8996")
@each_way
@pytest.mark.parametrize("mode", ["enforce", "report-only"])
async def test_a_server_below_min_tls_is_denied(way: Way, mode: Mode) -> None:
    """`min_tls: "1.3"` against an origin that speaks up to 1.2, and says so with an alert."""
    with blocking_origin(TLS12, answer_once) as origin:
        async with running_proxy(host_rule(PINS, TRUST, mode=mode, min_tls="1.3", port=origin.port)) as proxy:
            assert await refusal(way, proxy) == (502, "tls_version")
    assert (origin.handshakes, origin.failures) == (0, ["UNSUPPORTED_PROTOCOL"])


@each_way
@pytest.mark.parametrize(
    ("context", "min_tls", "spoken"),
    [(TLS13, "1.3", "TLSv1.3"), (TLS12, "1.2", "TLSv1.2"), (TLS13, "1.2", "TLSv1.3")],
    ids=["1.3 met", "1.2 met", "1.2 exceeded"],
)
async def test_a_server_that_meets_min_tls_is_served(way: Way, context: ssl.SSLContext, min_tls: str, spoken: str) -> None:
    """The twins; the log names the version that was spoken."""
    outcome = await ask_once(way, context, PINS, TRUST, min_tls=min_tls)
    assert_served(outcome)
    assert outcome.line["tls_version"] == spoken


# --- no handshake ------------------------------------------------------------------------------------------------------


def says(words: bytes) -> Handler:
    """Make an origin without TLS that reads the first bytes, says something and ends."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(words)
        await writer.drain()
        await reader.read()

    return handler


async def resets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Cut the connection as soon as it is there."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


async def ends(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the connection as soon as it is there."""
    writer.close()


async def hangs(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Take everything and say nothing."""
    await asyncio.Event().wait()


async def trickles(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send the beginning of a long handshake record, byte by byte, so that no single read waits for long."""
    writer.write(b"\x16\x03\x03\x3f\xff")
    while True:
        writer.write(b"\x02")
        await writer.drain()
        await asyncio.sleep(0.05)


def is_one_record(received: bytes) -> bool:
    """Tell whether these bytes are one TLS record and nothing else, as the ClientHello is that a plain origin sees."""
    return received[:2] == b"\x16\x03" and len(received) == 5 + int.from_bytes(received[3:5], "big")


NO_HANDSHAKE: dict[str, tuple[Handler, str, int]] = {
    "a TLS alert": (says(alert(AlertDescription.HANDSHAKE_FAILURE)), "tls_handshake_failed", 502),
    "an alert about the version": (says(alert(AlertDescription.PROTOCOL_VERSION)), "tls_version", 502),
    "HTTP": (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tls_handshake_failed", 502),
    "SSH": (says(b"SSH-2.0-OpenSSH_9.7\r\n"), "tls_handshake_failed", 502),
    "noise": (says(bytes(range(256)) * 64), "tls_handshake_failed", 502),
    "a reset": (resets, "tls_handshake_failed", 502),
    "an end": (ends, "tls_handshake_failed", 502),
    "silence": (hangs, "handshake_timeout", 504),
    "one byte at a time": (trickles, "handshake_timeout", 504),
}


@pytest.mark.attack(
    "an origin that hangs, resets, closes or speaks no TLS instead of shaking hands",
    expect=("tls_handshake_failed", "handshake_timeout"),
    topic="faults",
)
@each_way
@pytest.mark.parametrize(("handler", "code", "status"), NO_HANDSHAKE.values(), ids=NO_HANDSHAKE.keys())
async def test_an_origin_without_a_handshake_is_denied(way: Way, handler: Handler, code: str, status: int) -> None:
    """The only bytes it ever gets are those of a ClientHello; the deadline is one for the whole handshake."""
    async with running_origin(None, handler) as origin:
        rule = host_rule(PINS, TRUST, port=origin.port)
        async with running_proxy(rule, limits=SHORT) as proxy:
            answer = await ask(way, proxy)
            assert (answer.status, answer.code) in {(status, code), *_cut_early(handler)}
            assert (await proxy.connection())["code"] == answer.code
        if origin.received:
            assert is_one_record(bytes(origin.received))


def _cut_early(handler: Handler) -> set[tuple[int, str]]:
    """A reset may come before the kernel has told us that we are connected."""
    return {(502, "dial_refused")} if handler is resets else set()


@each_way
async def test_an_origin_with_a_handshake_is_served_within_the_same_limits(way: Way) -> None:
    """The twin."""
    assert_served(await ask_once(way, server_context(LEAF), PINS, TRUST, limits=SHORT))


# --- no connection -----------------------------------------------------------------------------------------------------


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def refusal(way: Way, proxy: RunningProxy, host: str = HOST) -> tuple[int, str | None]:
    """Ask, and check that log and answer agree."""
    answer: Answer = await ask(way, proxy, host)
    assert (await proxy.connection())["code"] == answer.code
    return answer.status, answer.code


@pytest.mark.attack("a port that nobody listens on", expect="dial_refused", topic="faults")
@each_way
async def test_a_port_that_nobody_listens_on_is_a_refused_dial(way: Way) -> None:
    """RFC 9209 has a word for it, and the client gets to read it."""
    async with running_proxy(host_rule(PINS, TRUST, port=free_port())) as proxy:
        assert await refusal(way, proxy) == (502, "dial_refused")


@pytest.mark.attack("a name that does not resolve", expect="dns_failed", topic="faults")
@each_way
async def test_a_name_without_an_address_is_a_dns_failure(way: Way) -> None:
    """Listed, and nobody has heard of it."""
    async with running_proxy(host_rule(PINS, TRUST)) as proxy:
        assert await refusal(way, proxy) == (502, "dns_failed")
        assert proxy.resolved == [HOST]


@each_way
async def test_a_name_with_an_address_is_dialled_there(way: Way) -> None:
    """The twin of both: the name resolves, and an origin listens on the port."""
    async with running_origin(server_context(LEAF)) as origin:
        rule = replace(host_rule(PINS, TRUST), dial=DialOverride("origin.example.test", origin.port))
        async with running_proxy(rule, addresses={"origin.example.test": "127.0.0.1"}) as proxy:
            assert (await ask(way, proxy)).status == 200
            assert proxy.resolved == ["origin.example.test"]
            assert (await proxy.connection())["upstream_address"] == f"127.0.0.1:{origin.port}"
