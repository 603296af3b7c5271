"""CONNECT is answered 200 only after the upstream was verified, and a ClientHello must fit what was asked for."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl

import pytest

from pinproxy.limits import Limits
from pinproxy.tls.alert import AlertDescription, alert
from tests.harness.clients import (
    connect,
    connect_head,
    finish_handshake,
    get_head,
    hello_and_rest,
    open_intercepted,
    open_tunnel,
    read_answer,
    read_head,
    read_to_end,
    start_tls,
)
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy
from tests.harness.scene import origin_and_proxy

ROOT = make_root()
LEAF, IMPOSTOR = make_leaf(ROOT, HOST), make_leaf(ROOT, HOST)
CONTEXT = server_context(LEAF)
in_thread = asyncio.to_thread


def minted(proxy: RunningProxy) -> list[str]:
    """List the hosts that the local CA has made a certificate for."""
    return [host for host, _ in proxy.local_ca._contexts]


# --- the order of things -----------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "a certificate of the local CA for a server that failed its verification",
    expect="neutralise",
    topic="secrets",
    motive="Squid's mimicking; Superfish",
)
@pytest.mark.parametrize("is_true", [True, False])
async def test_nothing_is_said_and_nothing_minted_while_the_handshake_is_on_its_way(*, is_true: bool) -> None:
    """The origin is connected and has not shown its certificate: no 200 yet. What comes then depends on the pins."""
    gate = asyncio.Event()
    async with origin_and_proxy(server_context(LEAF if is_true else IMPOSTOR), [LEAF.pin], ROOT.anchors, gate=gate) as (
        origin,
        proxy,
    ):
        with connect(proxy) as client:
            client.sendall(connect_head())
            await origin.accepted()
            assert select.select([client], [], [], 0)[0] == []
            gate.set()
            answer = await in_thread(read_answer, client)
            assert minted(proxy) == []
            assert (answer.status, answer.code) == ((200, None) if is_true else (403, "pin_mismatch"))
            if not is_true:
                assert answer.problem["host"] == f"{HOST}:443"
                assert await in_thread(read_to_end, client) == b""
        await origin.quiet()
        assert (origin.connections, bytes(origin.received)) == (1, b"")


@pytest.mark.attack(
    "bytes behind the head of a CONNECT, before its 200, read as a request or forwarded before the verdict",
    expect="neutralise",
    topic="requests",
    motive="CVE-2025-64763",
)
async def test_a_client_hello_behind_the_connect_in_one_segment_is_neither_lost_nor_sent_up() -> None:
    """Some clients do not wait for the 200; their ClientHello waits in the socket until it may be looked at."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (origin, proxy):

        def talk() -> bytes:
            hello, tls, incoming, outgoing = hello_and_rest(proxy.client_context(), HOST)
            with connect(proxy) as client:
                client.sendall(connect_head() + hello)
                assert read_head(client).startswith(b"HTTP/1.1 200 ")
                finish_handshake(client, tls, incoming, outgoing)
                tls.write(get_head("/early"))
                client.sendall(outgoing.read())
                return client.recv(1)

        assert await in_thread(talk)
        await proxy.connection()
        assert origin.received.startswith(b"GET /early HTTP/1.1\r\n")


@pytest.mark.attack("bytes behind a CONNECT that is refused", expect="pin_mismatch", topic="requests", motive="CVE-2025-64763")
async def test_a_client_hello_behind_a_denied_connect_goes_nowhere() -> None:
    """The twin: the same segment, towards an impostor; the refusal is still read whole, and not cut by a reset."""
    async with origin_and_proxy(server_context(IMPOSTOR), [LEAF.pin], ROOT.anchors) as (origin, proxy):

        def talk() -> tuple[int, str | None, bytes]:
            hello, *_ = hello_and_rest(proxy.client_context(), HOST)
            with connect(proxy) as client:
                client.sendall(connect_head() + hello)
                answer = read_answer(client)
                return answer.status, answer.code, read_to_end(client)

        assert await in_thread(talk) == (403, "pin_mismatch", b"")
        await origin.quiet()
        assert origin.received == b""


# --- the ClientHello ---------------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "the ClientHello inside an intercepted CONNECT names another host",
    expect="sni_mismatch",
    topic="interception",
    motive="domain fronting; RFC 6066 §3",
)
async def test_another_server_name_than_that_of_the_connect_is_refused_with_an_alert() -> None:
    """The name that was verified is the name the client gets a certificate for: no domain fronting."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (origin, proxy):
        with pytest.raises(ssl.SSLError) as caught:
            await in_thread(lambda: start_tls(open_tunnel(proxy), proxy, "other.example.test"))
        assert caught.value.reason == "TLSV1_UNRECOGNIZED_NAME"
        assert (await proxy.connection())["code"] == "sni_mismatch"
        await origin.quiet()
        assert (bytes(origin.received), minted(proxy)) == (b"", [])


async def test_the_alert_is_read_whole_although_the_client_hello_was_not() -> None:
    """The connection ends after the alert, in good order: a reset could have overtaken it."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (_origin, proxy):

        def talk() -> bytes:
            hello, *_ = hello_and_rest(proxy.client_context(), "other.example.test")
            with connect(proxy) as client:
                client.sendall(connect_head() + hello)
                assert read_head(client).startswith(b"HTTP/1.1 200 ")
                return read_to_end(client)

        assert await in_thread(talk) == alert(AlertDescription.UNRECOGNIZED_NAME)


@pytest.mark.parametrize("server_name", [HOST, HOST.upper(), None], ids=["the same", "in capitals", "none"])
async def test_the_server_name_of_the_connect_or_none_is_served(server_name: str | None) -> None:
    """The twins: one host has one canonical form, and a client may leave the name out."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (_origin, proxy):

        def talk() -> int:
            with start_tls(open_tunnel(proxy), proxy, server_name) as tls:
                tls.sendall(get_head("/"))
                return read_answer(tls).status

        assert await in_thread(talk) == 200


@pytest.mark.attack(
    "SSH, HTTP and other protocols through an intercepted CONNECT",
    expect="not_tls",
    topic="interception",
    motive="StartTLS and protocols seen in the wild",
)
@pytest.mark.parametrize(
    "words",
    [get_head("/"), b"SSH-2.0-OpenSSH_9.7\r\n", b"\x80\x2e\x01\x00\x02", b"\x00"],
    ids=["HTTP", "SSH", "SSLv2", "a zero"],
)
async def test_what_is_no_tls_is_refused_with_an_alert_and_not_sent_up(words: bytes) -> None:
    """A listed host is reached over TLS or not at all."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (origin, proxy):

        def talk() -> bytes:
            with open_tunnel(proxy) as client:
                client.sendall(words)
                return read_to_end(client)

        assert await in_thread(talk) == alert(AlertDescription.UNEXPECTED_MESSAGE)
        assert (await proxy.connection())["code"] == "not_tls"
        await origin.quiet()
        assert origin.received == b""


@pytest.mark.attack("a ClientHello that never comes", expect="handshake_timeout", topic="resources", motive="slowloris")
async def test_a_client_hello_that_never_comes_is_waited_for_only_so_long() -> None:
    """`limits.head_seconds` is a total: a byte now and then does not extend it."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, limits=Limits(head_seconds=0.3)) as (origin, proxy):

        def talk() -> bytes:
            hello, *_ = hello_and_rest(proxy.client_context(), HOST)
            with open_tunnel(proxy) as client:
                client.settimeout(0.05)
                for byte in hello[:100]:
                    client.sendall(bytes([byte]))
                    try:
                        return client.recv(100)
                    except TimeoutError:
                        continue
            raise AssertionError("waited for 100 bytes, one by one")

        assert (await in_thread(talk))[:1] == b"\x15"
        assert (await proxy.connection())["code"] == "head_timeout"
        await origin.quiet()
        assert origin.received == b""


# --- the client's side of TLS ------------------------------------------------------------------------------------------


async def test_a_client_that_does_not_trust_the_local_ca_is_told_apart_from_a_bad_server() -> None:
    """`client_tls_failed` names the remedy; the origin was verified and got nothing."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (origin, proxy):

        def talk() -> None:
            context = ssl.create_default_context(cadata=ROOT.pem.decode("ascii"))
            with open_tunnel(proxy) as client:
                context.wrap_socket(client, server_hostname=HOST)

        with pytest.raises(ssl.SSLCertVerificationError):
            await in_thread(talk)
        line = await proxy.connection()
        assert (line["code"], line["verdict"]) == ("client_tls_failed", "matched")
        assert "does it trust the CA" in line["detail"]
        await origin.quiet()
        assert origin.received == b""


async def test_a_client_that_trusts_the_local_ca_sees_a_certificate_for_its_host_alone() -> None:
    """The twin: what was minted names the host that was asked for and verified."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (_origin, proxy):

        def talk() -> object:
            with open_intercepted(proxy) as tls:
                return tls.getpeercert()

        certificate = await in_thread(talk)
        assert isinstance(certificate, dict)
        assert certificate["subjectAltName"] == (("DNS", HOST),)
        assert minted(proxy) == [HOST]


async def test_a_client_that_goes_away_after_the_200_leaves_nothing_behind() -> None:
    """Its upstream is closed with it."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors) as (origin, proxy):
        client = await in_thread(open_tunnel, proxy)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        client.close()
        assert (await proxy.connection())["code"] == "client_closed"
        await origin.quiet()
        assert (bytes(origin.received), proxy.metrics.active) == (b"", 0)
