"""Hosts that no rule lists, where the operator allows them: carried byte for byte, and nowhere that is private."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from pinproxy.limits import Limits
from tests.harness.blind import ADDRESS, OTHER, blind, listed, say_back
from tests.harness.clients import open_tunnel, read_to_end
from tests.harness.origin import running_origin
from tests.harness.running import RunningProxy, running_proxy
from tests.harness.socket_pairs import reset
from tests.harness.tunnelling import (
    TLS12,
    client_context,
    fetch,
    origin_context,
    refused_code,
)

# --- unlisted, and nothing else ---------------------------------------------------------------------------------------------


async def test_a_protocol_in_which_the_server_speaks_first_passes() -> None:
    """SSH, SMTP and the like: nobody waits for a ClientHello that never comes."""

    async def speak_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-server\r\n")
        writer.write(b"you said " + await reader.readexactly(16))
        await writer.drain()

    def talk(proxy: RunningProxy, port: int) -> bytes:
        with open_tunnel(proxy, ADDRESS, port) as sock:
            heard = sock.recv(100)
            sock.sendall(b"SSH-2.0-client\r\n")
            return heard + read_to_end(sock)

    async with running_origin(None, speak_first) as origin, blind(listed("tunnel")) as proxy:
        heard = await asyncio.to_thread(talk, proxy, origin.port)
        assert heard == b"SSH-2.0-server\r\nyou said SSH-2.0-client\r\n"
        line = await proxy.connection()
    assert (line["mode"], line["decision"], line["code"], line["host_rule"]) == ("blind", "allow", None, None)
    assert (line["verdict"], line["assurance"]) == (None, None)
    assert (line["bytes_up"], line["bytes_down"]) == (16, 41)


@pytest.mark.parametrize("newest", [TLS12, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
async def test_tls_to_an_unlisted_host_passes_untouched(newest: ssl.TLSVersion) -> None:
    """Its certificate is its client's affair; with an unlisted name, a listed one elsewhere, or none at all."""
    async with running_origin(origin_context(newest=newest)) as origin, blind() as proxy:
        assert (await fetch(proxy, client_context(), host=ADDRESS, port=origin.port)).body == b"GET / 0\n"
        assert (await proxy.connection())["mode"] == "blind"


async def test_a_hello_without_a_name_passes_to_an_unlisted_address() -> None:
    """Nothing in it is anybody's of ours."""
    client = client_context()
    client.check_hostname = False

    def talk(proxy: RunningProxy, port: int) -> str | None:
        with open_tunnel(proxy, ADDRESS, port) as sock, client.wrap_socket(sock) as tls:
            return tls.version()

    async with running_origin(origin_context()) as origin, blind(listed("tunnel")) as proxy:
        assert await asyncio.to_thread(talk, proxy, origin.port) == "TLSv1.3"


@pytest.mark.parametrize("side", ["client", "server"])
async def test_an_end_of_either_side_is_half_a_close(side: str) -> None:
    """Each direction ends by itself, also before the client has said a word."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if side == "server":
            writer.write(b"done")
            writer.write_eof()
            await reader.read()
        else:
            writer.write(b"got " + await reader.read())
        await writer.drain()

    def talk(proxy: RunningProxy, port: int) -> bytes:
        with open_tunnel(proxy, ADDRESS, port) as sock:
            if side == "client":
                sock.sendall(b"all")
                sock.shutdown(socket.SHUT_WR)
                return read_to_end(sock)
            heard = read_to_end(sock)
            sock.sendall(b"more")
            return heard

    async with running_origin(None, serve) as origin, blind() as proxy:
        assert await asyncio.to_thread(talk, proxy, origin.port) == (b"got all" if side == "client" else b"done")
        await origin.quiet()
        assert bytes(origin.received) == (b"all" if side == "client" else b"more")
        assert (await proxy.connection())["code"] is None


async def test_a_server_that_resets_while_the_client_is_silent_resets_it() -> None:
    """The client's first bytes are still being looked at; the look ends, and the cut is passed on."""
    hang_up = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hang_up.wait()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort()

    async with running_origin(None, serve) as origin, blind() as proxy:
        with await asyncio.to_thread(open_tunnel, proxy, ADDRESS, origin.port) as sock:
            await origin.accepted()
            hang_up.set()
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(sock.recv, 1)
        assert (await proxy.connection())["code"] == "upstream_closed"


@pytest.mark.attack(
    "an unlisted name or literal that leads to a private address",
    expect=("address_denied", "dns_failed"),
    topic="authority",
    motive="SSRF",
)
async def test_a_private_address_is_not_for_unlisted_hosts() -> None:
    """The default, and what `limits.allow_private` turns off (every other test here is its twin)."""
    async with running_origin(None) as origin, blind(limits=Limits()) as proxy:
        for host in (ADDRESS, OTHER, "localhost"):
            status, code = await refused_code(proxy, host, origin.port)
            assert (status, code) in {(403, "address_denied"), (502, "dns_failed")}
            assert code == "address_denied" or host == "localhost"
        assert origin.connections == 0


@pytest.mark.attack("an unlisted host, by name and by address", expect="host_not_listed", topic="authority", motive="smokescreen")
async def test_unlisted_hosts_are_refused_where_they_are_denied() -> None:
    """`unlisted: deny`, the default, by name and by address."""
    async with running_origin(None) as origin, running_proxy(listed("tunnel"), limits=Limits(allow_private=True)) as proxy:
        for host in (ADDRESS, OTHER, "[::1]"):
            assert await refused_code(proxy, host, origin.port) == (403, "host_not_listed")
        assert origin.connections == 0


# --- who leaves --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves_without_a_word_takes_its_server_along(how: str) -> None:
    """Nothing stays open behind it."""
    async with running_origin(None, say_back) as origin, blind() as proxy:
        sock = await asyncio.to_thread(open_tunnel, proxy, ADDRESS, origin.port)
        await origin.accepted()
        if how == "reset":
            reset(sock)
        sock.close()
        await origin.quiet()
        assert (await proxy.connection())["mode"] == "blind"
