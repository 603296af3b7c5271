"""TLS between clients and the proxy itself: every story behind it is told as without, inside it."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from pathlib import Path

import pytest

from pinproxy.errors import SettingsError
from pinproxy.limits import Limits
from pinproxy.policy.password_hash import hash_password
from pinproxy.settings.checks import startup_warnings
from pinproxy.settings.load import load_settings
from tests.harness.clients import Answer, connect, connect_head, get_head, read_answer, read_to_end
from tests.harness.configured import configured_proxy
from tests.harness.origin import answer_bodies, body_of
from tests.harness.pki import Issued, make_client, make_root
from tests.harness.running import HOST, RunningProxy
from tests.harness.tls_front import (
    FRONT,
    certificates,
    client_context,
    clients,
    connect_tls,
    front_certificates,
    get,
    get_through_connect,
    staged,
)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_requests_come_through_tls(version: ssl.TLSVersion) -> None:
    """And the log knows the client by its own address."""
    async with staged() as stage:
        assert (await asyncio.to_thread(get, stage.proxy, None, version)).status == 200
        line = await stage.proxy.connection()
        assert line["client"].startswith("127.0.0.1:")


async def test_interception_is_tls_in_tls() -> None:
    """The story ends the client's second TLS connection inside the first."""
    async with staged() as stage:
        assert (await asyncio.to_thread(get_through_connect, stage.proxy, stage.proxy.client_context())).status == 200
        assert (await stage.proxy.connection())["mode"] == "interception"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_a_tunnel_is_verified_on_the_wire_inside_tls(version: ssl.TLSVersion) -> None:
    """Its ClientHello is peeked at, its bytes are spliced."""
    context = ssl.create_default_context(cadata=certificates()[0].pem.decode("ascii"))
    context.maximum_version = version
    async with staged(connect="tunnel", tls13="preflight") as stage:
        assert (await asyncio.to_thread(get_through_connect, stage.proxy, context)).status == 200
        assert (await stage.proxy.connection())["mode"] == "tunnel"


async def test_many_bytes_come_out_whole_for_a_slow_reader() -> None:
    """What the story said last is still sent when it is over, and then the end."""
    size = 3_000_000

    def fetch(proxy: RunningProxy) -> bytes:
        with connect_tls(proxy.port) as sock:
            sock.sendall(get_head(f"http://{HOST}/{size}", further="Connection: close\r\n"))
            return read_to_end(sock)

    async with staged(handler=answer_bodies) as stage:
        answer = await asyncio.to_thread(fetch, stage.proxy)
        await stage.proxy.server.drain()
    assert answer.partition(b"\r\n\r\n")[2] == body_of(size)


@pytest.mark.attack("truncation of a stream, hidden behind a close_notify", expect="cut", topic="faults", motive="RFC 8446 §6.1")
async def test_a_cut_answer_is_cut_for_the_client_too() -> None:
    """A body that ends with its connection must not look whole: the client sees no close_notify."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        await writer.drain()
        writer.transport.abort()

    def fetch(proxy: RunningProxy) -> None:
        with connect_tls(proxy.port) as sock:
            sock.sendall(b"GET http://%b/ HTTP/1.0\r\nHost: %b\r\n\r\n" % (HOST.encode(), HOST.encode()))
            with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                read_to_end(sock)

    async with staged(handler=cut) as stage:
        await asyncio.to_thread(fetch, stage.proxy)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_a_client_with_a_certificate_of_the_ca_is_served(version: ssl.TLSVersion) -> None:
    """`client_ca_file` names the CA."""
    async with staged(asks=True) as stage:
        assert (await asyncio.to_thread(get, stage.proxy, make_client(clients()), version)).status == 200


@pytest.mark.attack("a client without the certificate that listen_tls asks for", expect="client_tls_failed", topic="control")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("has_one", [False, True], ids=["none", "foreign"])
async def test_a_client_without_one_is_refused_inside_the_handshake(version: ssl.TLSVersion, has_one: bool) -> None:
    """The twin; also a certificate of another CA, and the log says whose fault it was."""
    client = make_client(make_root("Others")) if has_one else None
    async with staged(asks=True) as stage:
        with pytest.raises(OSError, match=r"ALERT|alert|reset|EOF|Broken pipe"):
            await asyncio.to_thread(get, stage.proxy, client, version)
        line = await stage.proxy.connection()
        assert (line["code"], line["decision"]) == ("client_tls_failed", "deny")
        assert "the client showed no certificate that is accepted here" in line["detail"]
        assert stage.origin.connections == 0


@pytest.mark.attack(
    "a resumed session in the place of the certificate that listen_tls asks for", expect="neutralise", topic="control"
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_every_connection_shows_its_certificate_anew(version: ssl.TLSVersion) -> None:
    """A session would outlive what it rests on."""
    context = client_context(make_client(clients()), version)

    def ask(proxy: RunningProxy) -> list[bool]:
        session, reused = None, []
        for _ in range(2):
            sock = connect(proxy)
            with context.wrap_socket(sock, server_hostname=FRONT, session=session) as tls:
                tls.sendall(get_head(f"http://{HOST}/"))
                assert read_answer(tls).status == 200
                session = tls.session
                reused.append(bool(tls.session_reused))
        return reused

    async with staged(asks=True) as stage:
        assert await asyncio.to_thread(ask, stage.proxy) == [False, False]


@pytest.mark.attack(
    "more clients than the process may have descriptors",
    expect=("bound", "overloaded"),
    topic="resources",
    motive="asyncio's pause after EMFILE",
)
async def test_a_client_for_whom_there_are_no_descriptors_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two more are needed behind the handshake. It keeps no place, and the next is served."""

    def exhausted() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with staged() as stage:
        with monkeypatch.context() as none_left:
            none_left.setattr(socket, "socketpair", exhausted)
            with pytest.raises((EOFError, OSError)):
                await asyncio.to_thread(get, stage.proxy)
            assert (await stage.proxy.connection())["code"] == "overloaded"
        assert stage.proxy.metrics.active == 0
        assert (await asyncio.to_thread(get, stage.proxy)).status == 200


async def test_a_client_that_does_not_trust_the_proxy_is_logged() -> None:
    """Whoever reads the log learns where to look."""

    def distrust(proxy: RunningProxy) -> None:
        context = ssl.create_default_context(cadata=certificates()[0].pem.decode("ascii"))
        with connect(proxy) as sock, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(sock, server_hostname=FRONT)

    async with staged() as stage:
        await asyncio.to_thread(distrust, stage.proxy)
        line = await stage.proxy.connection()
        assert line["code"] == "client_tls_failed"
        assert line["detail"].endswith("; does it trust the certificate of `listen_tls`?")


async def test_a_client_in_clear_is_told_so_in_clear() -> None:
    """It expects an HTTP answer, and gets one."""

    def plain(proxy: RunningProxy) -> Answer:
        with connect(proxy) as sock:
            sock.sendall(connect_head())
            return read_answer(sock)

    async with staged() as stage:
        answer = await asyncio.to_thread(plain, stage.proxy)
        assert (answer.status, answer.code) == (400, "bad_request")
        assert "use https:// in the proxy URL" in answer.problem["detail"]


@pytest.mark.attack("a TLS client of the proxy that says nothing", expect="cut", topic="resources", motive="slowloris")
async def test_a_client_that_says_nothing_is_let_go_in_time() -> None:
    """By an alert: it may be slow TLS."""

    def silence(proxy: RunningProxy) -> bytes:
        with connect(proxy) as sock:
            return read_to_end(sock)

    async with staged(limits=Limits(head_seconds=0.1)) as stage:
        assert (await asyncio.to_thread(silence, stage.proxy))[:1] == b"\x15"
        assert (await stage.proxy.connection())["code"] == "head_timeout"


@pytest.mark.attack(
    "one connection more than limits.connections", expect="overloaded", topic="resources", motive="smokescreen (464b111)"
)
async def test_one_client_too_many_is_turned_away_by_an_alert() -> None:
    """It takes no place, and the place of one that left is free again."""
    async with staged(limits=Limits(connections=1)) as stage:
        first = await asyncio.to_thread(connect_tls, stage.proxy.port)
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            await asyncio.to_thread(connect_tls, stage.proxy.port)
        first.close()
        await stage.proxy.connection(count=2)
        await stage.proxy.server._proxy.live.wait_empty()
        assert (await asyncio.to_thread(get, stage.proxy)).status == 200


async def test_an_idle_client_does_not_keep_a_drain_waiting() -> None:
    """It is told the end, as a client in clear is."""

    def idle(proxy: RunningProxy) -> ssl.SSLSocket:
        sock = connect_tls(proxy.port)
        sock.sendall(get_head(f"http://{HOST}/"))
        assert read_answer(sock).status == 200
        return sock

    async with staged() as stage:
        sock = await asyncio.to_thread(idle, stage.proxy)
        async with asyncio.timeout(5):
            await stage.proxy.server.drain()
        assert await asyncio.to_thread(sock.recv, 1) == b""
        sock.close()


async def test_a_stop_ends_what_is_in_flight() -> None:
    """No task, no socket and no place is left."""
    waiting = asyncio.Event()

    async def never(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        waiting.set()
        await asyncio.Event().wait()

    async with staged(handler=never) as stage:
        sock = await asyncio.to_thread(connect_tls, stage.proxy.port)
        sock.sendall(get_head(f"http://{HOST}/"))
        await waiting.wait()
        async with asyncio.timeout(5):
            await stage.proxy.server.stop()
        assert len(stage.proxy.server._proxy.live) == 0
        socket.socket.close(sock)


def configured(directory: Path, **further: str) -> str:
    """Write what a configuration says of the front."""
    front = front_certificates()[1]
    (directory / "front.pem").write_bytes(front.pem)
    (directory / "front.key").write_bytes(front.key_pem)
    (directory / "front.key").chmod(0o600)
    (directory / "clients.pem").write_bytes(clients().pem)
    keys = {"cert_file": "front.pem", "key_file": "front.key", **further}
    written = ", ".join(f"{key}: {value}" for key, value in keys.items())
    return f"listen_tls: {{{written}}}\nhosts: [{{host: {HOST}, mode: disabled}}]\n"


def code_of(port: int, client: Issued | None = None) -> str | None:
    """Ask a configured proxy for a host that is not listed."""
    with connect_tls(port, client) as sock:
        sock.sendall(get_head("http://unlisted.test/", "unlisted.test"))
        return read_answer(sock).code


async def test_the_configuration_says_who_is_asked_for_a_certificate_and_a_reload_changes_it(tmp_path: Path) -> None:
    """From the next connection on; so a renewed certificate needs no restart."""
    async with configured_proxy(tmp_path, configured(tmp_path)) as proxy:
        assert await asyncio.to_thread(code_of, proxy.port) == "host_not_listed"
        proxy.file.write_text(proxy.file.read_text().replace("{cert_file", "{client_ca_file: clients.pem, cert_file"))
        await proxy.app.reload()
        assert await asyncio.to_thread(code_of, proxy.port, make_client(clients())) == "host_not_listed"
        with pytest.raises(OSError, match=r"ALERT|alert|reset|EOF|Broken pipe"):
            await asyncio.to_thread(code_of, proxy.port)


@pytest.mark.parametrize(
    ("text", "is_allowed", "warning"),
    [
        ("", False, None),
        ("unsafe_listen: true\n", True, "can be reached from other machines (unsafe_listen)"),
        ("users", True, "passwords travel to it in clear (client_auth without listen_tls)"),
        ("tls", False, None),
        ("tls, users", True, None),
        ("tls, certificates", True, None),
    ],
)
def test_an_address_that_others_can_reach_asks_who_they_are(
    text: str, is_allowed: bool, warning: str | None, tmp_path: Path
) -> None:
    """Or says by name that it does not."""
    users = f"client_auth: {{basic: {{users: {{alice: '{hash_password(b'x', b'0123456789abcdef')}'}}}}}}\n"
    further = {"client_ca_file": "clients.pem"} if "certificates" in text else {}
    path = tmp_path / "pinproxy.yaml"
    path.write_text(
        "version: 1\nlisten: ['0.0.0.0:3128']\n"
        + (configured(tmp_path, **further) if "tls" in text else f"hosts: [{{host: {HOST}, mode: disabled}}]\n")
        + (users if "users" in text else "")
        + (text if text.endswith("\n") else "")
    )
    if is_allowed:
        expected = () if warning is None else (f"listen: 0.0.0.0:3128 {warning}",)
        assert startup_warnings(load_settings(path, {}, {})) == expected
    else:
        with pytest.raises(SettingsError, match=r"ask who they are by `client_auth` or `listen_tls\.client_ca_file`"):
            load_settings(path, {}, {})
