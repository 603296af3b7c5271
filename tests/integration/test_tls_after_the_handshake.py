"""What either side may do to TLS once it is up: renegotiate, update keys, ask for certificates, send early data. Little of it.

One connection has one verified chain from its first byte to its last, so nothing may bring another certificate into it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.harness.clients import (
    Way,
    ask,
    each_way,
    finish_handshake,
    get_head,
    hello_and_rest,
    open_intercepted,
    open_tunnel,
    read_answer,
    read_to_end,
)
from tests.harness.origin import answer_ok
from tests.harness.pki import server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy
from tests.harness.scene import origin_and_proxy
from tests.harness.tls_handshakes import with_extensions
from tests.harness.tunnelling import BOTH, LEAF, client_context, client_hello

CONTEXT = server_context(LEAF)

# --- renegotiation -------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def openssl(*arguments: str, until: bytes) -> AsyncIterator[tuple[Process, bytes]]:
    """Run a program of OpenSSL up to the line with these words; yields it with that line."""
    program = await asyncio.create_subprocess_exec("openssl", *arguments, stdin=PIPE, stdout=PIPE, stderr=STDOUT)
    try:
        async with asyncio.timeout(10):
            yield program, await line_of(program, until)
    finally:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        await program.communicate()


async def line_of(program: Process, words: bytes) -> bytes:
    """Read what a program prints up to a line with these words."""
    assert program.stdout is not None
    while line := await program.stdout.readline():
        if words in line:
            return line
    raise AssertionError(f"no line has {words!r}")


async def type_in(program: Process, text: bytes) -> None:
    """Type a line."""
    assert program.stdin is not None
    program.stdin.write(text)
    await program.stdin.drain()


@pytest.mark.attack(
    "TLS 1.2 renegotiation, which could bring another certificate into a verified connection",
    expect=("upstream_closed", "cut"),
    topic="certificates",
    motive="RFC 5746",
)
@pytest.mark.needs_tool("openssl")
@pytest.mark.parametrize(
    ("typed", "status", "code"),
    [(b"r\n", 502, "upstream_closed"), (b"HTTP/1.1 204 No Content\r\n\r\n", 204, None)],
    ids=["renegotiates", "answers"],
)
async def test_a_server_that_renegotiates_is_left(typed: bytes, status: int, code: str | None, tmp_path: Path) -> None:
    """It has the request by then, and is not heard any more; the twin answers where the other asks for a handshake."""
    (tmp_path / "leaf.pem").write_bytes(LEAF.key_pem + LEAF.pem)
    arguments = ("s_server", "-accept", "127.0.0.1:0", "-cert", str(tmp_path / "leaf.pem"), "-tls1_2")
    async with openssl(*arguments, until=b"ACCEPT") as (server, line):
        port = int(line.rpartition(b":")[2])
        async with running_proxy(host_rule([LEAF.pin], BOTH, port=port)) as proxy:
            asking = asyncio.create_task(ask("origination", proxy))
            await line_of(server, b"GET / ")
            await line_of(server, b"Via: ")
            await type_in(server, typed)
            answer = await asking
            assert (answer.status, answer.code) == (status, code)


@pytest.mark.attack(
    "TLS 1.2 renegotiation by a client, to make the proxy compute",
    expect="cut",
    topic="interception",
    motive="RFC 5746; CVE-2011-1473",
)
@pytest.mark.needs_tool("openssl")
async def test_a_client_that_renegotiates_is_not_heard() -> None:
    """`no_renegotiation` is an alert, and this client takes it for the end; the origin sees nothing of it."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], BOTH) as (origin, proxy):
        arguments = ("s_client", "-proxy", f"127.0.0.1:{proxy.port}", "-connect", f"{HOST}:443", "-servername", HOST, "-tls1_2")
        async with openssl(*arguments, until=b"SSL handshake has read") as (client, _):
            await type_in(client, b"R\n")
            await line_of(client, b":no renegotiation:")
        await proxy.connection()
        await origin.quiet()
        assert origin.received == b""


# --- key updates -----------------------------------------------------------------------------------------------------------


class RecordWriter:
    """Writes records of TLS 1.3 under the keys of a client of ours, which OpenSSL has agreed on (TLS_AES_256_GCM_SHA384)."""

    def __init__(self, secret: bytes) -> None:
        """Begin with the client's first traffic secret."""
        self._secret = secret
        self._number = 0

    def record(self, content: bytes, kind: int) -> bytes:
        """Protect one record (RFC 8446 §5.2)."""
        inner = content + bytes([kind])
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = int.from_bytes(self._expand(b"iv", 12), "big") ^ self._number
        self._number += 1
        return header + AESGCM(self._expand(b"key", 32)).encrypt(nonce.to_bytes(12, "big"), inner, header)

    def key_update(self) -> bytes:
        """Announce the next key, ask the peer for the same, and go over to it (RFC 8446 §4.6.3, §7.2)."""
        announced = self.record(b"\x18\x00\x00\x01\x01", 0x16)
        self._secret, self._number = self._expand(b"traffic upd", 48), 0
        return announced

    def _expand(self, label: bytes, size: int) -> bytes:
        # > RFC 8446 §7.1: struct { uint16 length; opaque label<7..255> = "tls13 " + Label; opaque context<0..255>; }
        name = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\x00"
        return HKDFExpand(SHA384(), size, info).derive(self._secret)


@pytest.mark.attack(
    "a flood of TLS 1.3 key updates, each of which asks for one in return",
    expect="bound",
    topic="interception",
    motive="RFC 8446 §4.6.3",
)
async def test_a_flood_of_key_updates_costs_little_and_changes_nothing(tmp_path: Path) -> None:
    """A thousand of them, and then a request, which is answered."""
    secrets = tmp_path / "secrets"

    def flood(proxy: RunningProxy) -> bytes:
        context = proxy.client_context()
        context.keylog_filename = str(secrets)
        hello, tls, incoming, outgoing = hello_and_rest(context, HOST)
        with open_tunnel(proxy) as sock:
            sock.sendall(hello)
            finish_handshake(sock, tls, incoming, outgoing)
            assert tls.cipher()[0] == "TLS_AES_256_GCM_SHA384"  # type: ignore[index]  # there is one after a handshake
            (line,) = [line for line in secrets.read_text().splitlines() if line.startswith("CLIENT_TRAFFIC_SECRET_0")]
            writer = RecordWriter(bytes.fromhex(line.split()[2]))
            sock.sendall(b"".join(writer.key_update() for _ in range(1000)) + writer.record(get_head("/"), 0x17))
            answer = b""
            while not answer.endswith(b" 0\n"):
                try:
                    answer += tls.read(65536)
                except ssl.SSLWantReadError:
                    data = sock.recv(65536)
                    assert data, "the connection ended"
                    incoming.write(data)
            return answer

    async with origin_and_proxy(CONTEXT, [LEAF.pin], BOTH) as (origin, proxy):
        began = time.thread_time()
        assert (await asyncio.to_thread(flood, proxy)).endswith(b"GET / 0\n")
        assert time.thread_time() - began < 1.0
        assert origin.received.count(b"GET / ") == 1


# --- certificates on demand, early data --------------------------------------------------------------------------------------


@pytest.mark.attack(
    "a server that asks for a client certificate once the request is there",
    expect="neutralise",
    topic="certificates",
    motive="RFC 8446 §4.6.2",
)
@each_way
async def test_no_server_may_ask_for_a_certificate_after_the_handshake(way: Way) -> None:
    """The proxy does not offer `post_handshake_auth`, so a server's TLS library refuses to ask; the request goes on."""
    refusals: list[str | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        with pytest.raises(ssl.SSLError) as refused:
            tls.verify_client_post_handshake()
        refusals.append(refused.value.reason)
        await answer_ok(reader, writer)

    context = server_context(LEAF)
    context.verify_mode = ssl.CERT_OPTIONAL
    async with origin_and_proxy(context, [LEAF.pin], BOTH, handle) as (_, proxy):
        assert (await ask(way, proxy)).status == 200
    assert refusals == ["EXTENSION_NOT_RECEIVED"]


@pytest.mark.attack(
    "TLS 1.3 early data from a client, which anybody could send again",
    expect="neutralise",
    topic="interception",
    motive="RFC 8446 §8",
)
async def test_no_client_gets_a_ticket_to_send_early_data_with() -> None:
    """RFC 8446 §2.3: early data needs a session to resume, and interception makes none."""

    def look(proxy: RunningProxy) -> bool:
        with open_intercepted(proxy) as tls:
            tls.sendall(get_head("/"))
            assert read_answer(tls).status == 200
            assert tls.version() == "TLSv1.3"
            return tls.session is not None and tls.session.has_ticket

    async with origin_and_proxy(CONTEXT, [LEAF.pin], BOTH) as (_, proxy):
        assert not await asyncio.to_thread(look, proxy)


@pytest.mark.attack(
    "TLS 1.3 early data from a client, which anybody could send again",
    expect="neutralise",
    topic="interception",
    motive="RFC 8446 §8",
)
async def test_early_data_of_a_session_that_nobody_made_goes_nowhere() -> None:
    """The extension, and data behind the hello under no key that the proxy knows: it is skipped, and then missed."""
    early = with_extensions(client_hello(client_context()), (42, b"")) + b"\x17\x03\x03\x00\x20" + get_head("/")[:32]

    def send(proxy: RunningProxy) -> bytes:
        with open_tunnel(proxy) as sock:
            sock.sendall(early)
            first = sock.recv(1)
            sock.shutdown(1)
            return first + read_to_end(sock)

    async with origin_and_proxy(CONTEXT, [LEAF.pin], BOTH) as (origin, proxy):
        assert (await asyncio.to_thread(send, proxy))[:1] in {b"\x15", b"\x16"}
        await proxy.connection()
        await origin.quiet()
        assert origin.received == b""
