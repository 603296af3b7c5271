"""Users and passwords: nobody is served before they were told, and nobody else gets to know them."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

from pinproxy.errors import Overloaded
from pinproxy.policy.password_hash import PasswordHash, hash_password
from pinproxy.policy.table import PolicyTable
from pinproxy.proxy.client_auth import ClientAuth
from tests.harness.clients import Answer, connect, get_head, read_answer, read_to_end, start_tls
from tests.harness.configured import configured_proxy
from tests.harness.origin import Origin, running_origin
from tests.harness.pki import Issued, make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy
from tests.harness.users import basic, quick_hash

USERS = {"alice": quick_hash("open sesame"), "böb": quick_hash("püss:word")}
ALICE = basic("alice", "open sesame")
NOBODY = [basic("alice", "wrong"), basic("mallory", "open sesame"), basic("", "")]
WRONG = ["", *NOBODY, ALICE + ALICE, ALICE.replace("Basic", "Bearer")]


@lru_cache
def certificates() -> tuple[Issued, Issued]:
    """Make a root and a leaf for HOST, once."""
    root = make_root()
    return root, make_leaf(root, HOST)


Send = Callable[[RunningProxy, str], Answer]


@dataclass
class Stage:
    """A proxy that asks, and an origin behind it."""

    proxy: RunningProxy
    origin: Origin


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Run both."""
    root, leaf = certificates()
    async with (
        running_origin(server_context(leaf)) as origin,
        running_proxy(host_rule([leaf.pin], root.anchors, port=origin.port)) as proxy,
    ):
        proxy.server.ask_clients(USERS)
        yield Stage(proxy, origin)


def send_connect(proxy: RunningProxy, further: str) -> Answer:
    """Ask for `/` through CONNECT; return the answer to whichever request got one first that is no 200."""
    with connect(proxy) as sock:
        sock.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n{further}\r\n".encode())
        answer = read_answer(sock)
        if answer.status != 200:
            return answer
        with start_tls(sock, proxy) as tls:
            tls.sendall(get_head("/"))
            return read_answer(tls)


def send_get(proxy: RunningProxy, further: str) -> Answer:
    """Ask for `/` in absolute form."""
    with connect(proxy) as sock:
        sock.sendall(get_head(f"http://{HOST}/", further=further))
        return read_answer(sock)


each_form = pytest.mark.parametrize("send", [send_connect, send_get], ids=["connect", "absolute"])


@each_form
@pytest.mark.parametrize("credentials", [ALICE, basic("böb", "püss:word")], ids=["ascii", "utf-8"])
async def test_a_user_with_the_right_password_is_served(send: Send, credentials: str, stage: Stage) -> None:
    """And the log says who it was."""
    assert (await asyncio.to_thread(send, stage.proxy, credentials)).status == 200
    line = await stage.proxy.connection()
    assert line["user"] == ("alice" if credentials is ALICE else "böb")


@pytest.mark.attack(
    "a client without credentials, or with wrong ones", expect="auth_required", topic="control", motive="RFC 9110 §11.7.1"
)
@each_form
@pytest.mark.parametrize("credentials", WRONG)
async def test_nobody_else_is(send: Send, credentials: str, stage: Stage) -> None:
    """The twin: one challenge for every way to be nobody, and nothing of what was said."""
    answer = await asyncio.to_thread(send, stage.proxy, credentials)
    assert (answer.status, answer.code) == (407, "auth_required")
    assert answer.fields["proxy-authenticate"] == 'Basic realm="pinproxy"'
    line = await stage.proxy.connection()
    assert (line["code"], "user" in line) == ("auth_required", False)
    assert stage.origin.connections == 0


@pytest.mark.attack("a client without credentials asks which hosts are listed", expect="auth_required", topic="control")
@each_form
async def test_nobody_learns_from_a_refusal_which_hosts_are_listed(send: Send, stage: Stage) -> None:
    """Who is asked first is asked before anything else is decided."""
    stage.proxy.server.swap(PolicyTable((), "deny"))
    assert (await asyncio.to_thread(send, stage.proxy, "")).code == "auth_required"
    assert (await asyncio.to_thread(send, stage.proxy, ALICE)).code == "host_not_listed"


@pytest.mark.attack(
    "a client's credentials for the proxy, sent on to the origin",
    expect="neutralise",
    topic="secrets",
    motive="CVE-2023-32681",
)
@each_form
async def test_credentials_go_no_further(send: Send, stage: Stage) -> None:
    """Neither to the origin nor into the log (attack: a proxy's password leaked by redirects and logs)."""
    token = base64.b64encode(b"alice:open sesame")
    assert (await asyncio.to_thread(send, stage.proxy, ALICE)).status == 200
    await stage.proxy.connection()
    assert b"proxy-authorization" not in bytes(stage.origin.received).lower()
    assert token not in bytes(stage.origin.received)
    log = stage.proxy.log_file.read_bytes()
    assert token not in log
    assert b"sesame" not in log


async def test_a_request_with_a_body_waits_for_the_check_and_is_sent_whole(stage: Stage) -> None:
    """Its body may have come in the same segment; and so may the next request."""

    def post_and_get() -> bytes:
        head = f"POST http://{HOST}/one HTTP/1.1\r\nHost: {HOST}\r\n{ALICE}Content-Length: 5\r\n\r\nhello"
        with connect(stage.proxy) as sock:
            sock.sendall(head.encode() + get_head(f"http://{HOST}/two", further=f"{ALICE}Connection: close\r\n"))
            return read_to_end(sock)

    answers = await asyncio.to_thread(post_and_get)
    assert re.findall(rb"^(?:POST|GET) /.*$", answers, flags=re.MULTILINE) == [b"POST /one 5", b"GET /two 0"]


async def test_each_request_of_a_connection_is_asked(stage: Stage) -> None:
    """What a connection was once allowed says nothing about the request behind it: a proxy in front may share it."""

    def twice() -> bytes:
        with connect(stage.proxy) as sock:
            sock.sendall(get_head(f"http://{HOST}/", further=ALICE) + get_head(f"http://{HOST}/"))
            return read_to_end(sock)

    answers = await asyncio.to_thread(twice)
    assert re.findall(rb"^HTTP/1.1 ([0-9]+)", answers, flags=re.MULTILINE) == [b"200", b"407"]


async def test_what_was_right_once_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check costs 100 ms on purpose; a request must not. Ten at once are one check."""
    auth = ClientAuth({"alice": hash_password(b"x", b"0123456789abcdef")})
    checks = []
    is_of = PasswordHash.is_of

    def counted(self: PasswordHash, password: bytes) -> bool:
        checks.append(password)
        return is_of(self, password)

    monkeypatch.setattr(PasswordHash, "is_of", counted)
    assert all(await asyncio.gather(*(auth.verify(b"alice", b"x") for _ in range(10))))
    assert len(checks) <= 2
    assert await auth.verify(b"alice", b"x")
    assert len(checks) <= 2


@pytest.mark.attack("wrong passwords without end, to fill the memory of right ones", expect="bound", topic="resources")
async def test_what_was_wrong_is_computed_each_time_and_never_remembered() -> None:
    """Nor is a right password of one user good for another, however the two are cut."""
    auth = ClientAuth({"a": quick_hash("bc"), "ab": quick_hash("zz")})
    assert await auth.verify(b"a", b"bc")
    assert not await auth.verify(b"ab", b"c")
    assert not await auth.verify(b"a", b"bd")
    assert not await auth.verify(b"nobody", b"bc")


@pytest.mark.attack(
    "passwords guessed by the hundred at once, so that those who know one wait", expect="overloaded", topic="resources"
)
async def test_so_many_passwords_are_checked_at_once_and_no_more() -> None:
    """32 wait for a core; the next is told so at once, and one that was right before need not wait at all."""
    auth = ClientAuth({"a": quick_hash("right")})
    assert await auth.verify(b"a", b"right")
    guesses = [asyncio.create_task(auth.verify(b"a", b"%d" % number)) for number in range(33)]
    await asyncio.sleep(0)
    assert await auth.verify(b"a", b"right")
    *waited, refused = await asyncio.gather(*guesses, return_exceptions=True)
    assert waited == [False] * 32
    assert isinstance(refused, Overloaded)
    assert not await auth.verify(b"a", b"wrong")


def socks(proxy: RunningProxy, method: bytes, credentials: bytes) -> bytes:
    """Greet, say who one is, and return all answers."""
    with connect(proxy) as sock:
        sock.sendall(b"\x05\x01" + method + credentials)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := sock.recv(100):
            answer += piece
        return answer


@pytest.mark.parametrize(
    ("method", "password", "answer"),
    [
        (b"\x02", b"open sesame", b"\x05\x02\x01\x00"),
        (b"\x02", b"wrong", b"\x05\x02\x01\x01"),
        (b"\x00", b"", b"\x05\xff"),
    ],
)
async def test_socks5_clients_are_asked_too(method: bytes, password: bytes, answer: bytes, stage: Stage) -> None:
    """By username and password (RFC 1929); one that cannot is told so."""
    credentials = b"\x01\x05alice" + bytes([len(password)]) + password if method == b"\x02" else b""
    assert await asyncio.to_thread(socks, stage.proxy, method, credentials) == answer


async def test_users_of_the_configuration_are_asked_and_a_reload_changes_them(tmp_path: Path) -> None:
    """A user who is removed is served no longer."""
    hashed = {name: hash_password(name.encode(), b"0123456789abcdef") for name in ("alice", "bob")}

    def text(name: str) -> str:
        return f"client_auth: {{basic: {{users: {{{name}: '{hashed[name]}'}}}}}}\nhosts: [{{host: {HOST}, mode: disabled}}]\n"

    def ask(port: int) -> str | None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(get_head("http://unlisted.test/", "unlisted.test", further=basic("alice", "alice")))
            return read_answer(sock).code

    async with configured_proxy(tmp_path, text("alice")) as proxy:
        assert await asyncio.to_thread(ask, proxy.port) == "host_not_listed"
        proxy.file.write_text(proxy.file.read_text().replace(text("alice"), text("bob")))
        await proxy.app.reload()
        assert await asyncio.to_thread(ask, proxy.port) == "auth_required"


@pytest.mark.attack("a reload that would stop asking clients who they are", expect="keep", topic="control")
async def test_addresses_that_stay_bound_ask_on_after_a_reload_that_moves_elsewhere(tmp_path: Path) -> None:
    """Settings without users are right for the new address, and not for the one that is bound until the next start."""
    open_to_all = (
        "listen: ['0.0.0.0:0']\n" + f"client_auth: {{basic: {{users: {{alice: '{hash_password(b'x', bytes(16))}'}}}}}}\n"
    )
    rest = f"hosts: [{{host: {HOST}, mode: disabled}}]\n"

    def ask(port: int) -> str | None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(get_head("http://unlisted.test/", "unlisted.test"))
            return read_answer(sock).code

    preamble = "version: 1\nadmin: null\nlocal_ca: {publish: null}\n"
    async with configured_proxy(tmp_path, open_to_all + rest, preamble=preamble) as proxy:
        assert await asyncio.to_thread(ask, proxy.port) == "auth_required"
        proxy.file.write_text(f"{preamble}listen: ['127.0.0.1:0']\n{rest}")
        await proxy.app.reload()
        assert await asyncio.to_thread(ask, proxy.port) == "auth_required"


async def test_a_user_is_removed_also_by_a_reload_that_moves_elsewhere(tmp_path: Path) -> None:
    """A change that waits for a restart holds up none that does not."""

    def text(name: str, listen: str) -> str:
        hashed = hash_password(name.encode(), b"0123456789abcdef")
        users = f"client_auth: {{basic: {{users: {{{name}: '{hashed}'}}}}}}\n"
        return f"version: 1\nadmin: null\nlocal_ca: {{publish: null}}\nlisten: [{listen}]\n{users}"

    def ask(port: int) -> str | None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(get_head("http://unlisted.test/", "unlisted.test", further=basic("alice", "alice")))
            return read_answer(sock).code

    async with configured_proxy(tmp_path, "", preamble=text("alice", "'127.0.0.1:0'")) as proxy:
        assert await asyncio.to_thread(ask, proxy.port) == "host_not_listed"
        proxy.file.write_text(text("bob", "'127.0.0.1:0', '127.0.0.2:0'"))
        await proxy.app.reload()
        assert await asyncio.to_thread(ask, proxy.port) == "auth_required"


# --- a reload takes a user away ------------------------------------------------------------------------------------------------


def held_open(proxy: RunningProxy) -> ssl.SSLSocket:
    """Open a tunnel as Alice, and use it once."""
    with connect(proxy) as sock:
        sock.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n{ALICE}\r\n".encode())
        assert read_answer(sock).status == 200
        tls = start_tls(sock, proxy)
    tls.sendall(get_head("/"))
    assert read_answer(tls).status == 200
    return tls


@pytest.mark.attack("an open tunnel of a user who was removed", expect="auth_required", topic="faults")
async def test_an_open_tunnel_of_a_removed_user_is_cut(stage: Stage) -> None:
    """Who may no longer come in may not stay; the log says why."""
    with await asyncio.to_thread(held_open, stage.proxy) as tls:
        stage.proxy.server.ask_clients({name: kept for name, kept in USERS.items() if name != "alice"})
        with pytest.raises(ssl.SSLEOFError):
            await asyncio.to_thread(tls.recv, 1)
    line = await stage.proxy.connection()
    assert (line["code"], line["decision"], line["user"]) == ("auth_required", "deny", "alice")


@pytest.mark.parametrize("users", [{"alice": USERS["alice"]}, {}], ids=["still a user", "nobody is asked"])
async def test_an_open_tunnel_of_a_user_who_may_still_come_in_goes_on(users: dict[str, PasswordHash], stage: Stage) -> None:
    """The twins."""
    with await asyncio.to_thread(held_open, stage.proxy) as tls:
        stage.proxy.server.ask_clients(users)
        tls.sendall(get_head("/", further="Connection: close\r\n"))
        assert (await asyncio.to_thread(read_answer, tls)).status == 200
    assert (await stage.proxy.connection())["code"] is None


def plain_way(proxy: RunningProxy) -> socket.socket:
    """Open a way to port 80 as Alice, for plain HTTP that asks nobody who they are, and use it once."""
    sock = connect(proxy)
    sock.sendall(f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n{ALICE}\r\n".encode())
    assert read_answer(sock).status == 200
    sock.sendall(get_head("/"))
    assert read_answer(sock).status == 200
    return sock


@pytest.mark.attack("a further request of a removed user, behind his CONNECT to port 80", expect="auth_required", topic="faults")
@pytest.mark.parametrize(
    ("left", "status", "code"), [("böb", 407, "auth_required"), ("alice", 200, None)], ids=["removed", "still a user"]
)
async def test_a_way_for_plain_http_is_of_no_more_use_to_a_removed_user(
    left: str, status: int, code: str | None, stage: Stage
) -> None:
    """His requests show no password, so each is held against the users in force; the twin is one of them."""
    with await asyncio.to_thread(plain_way, stage.proxy) as sock:
        stage.proxy.server.ask_clients({left: USERS[left]})
        sock.sendall(get_head("/"))
        answer = await asyncio.to_thread(read_answer, sock)
    assert (answer.status, answer.code) == (status, code)
