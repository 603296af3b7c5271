"""What is said before a SOCKS5 client is carried: methods, credentials, the request, and one byte that says why not."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

import pytest

from pinproxy.limits import Limits
from pinproxy.proxy.http_reply import HTTP
from pinproxy.proxy.socks5 import serve_socks5
from pinproxy.proxy.visit import accept
from tests.harness.clients import connect
from tests.harness.origin import running_origin
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy
from tests.harness.socks5 import GREETING, NO_AUTHENTICATION, OPEN, ask_socks, greet, read_exactly, socks_request

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
OTHER = make_leaf(ROOT, HOST)
RULE = host_rule([LEAF.pin], ROOT.anchors)


def refused(code: int) -> bytes:
    """The whole reply."""
    return bytes([5, code]) + OPEN[2:]


def say(proxy: RunningProxy, *messages: bytes) -> bytes:
    """Send messages without waiting for answers; return all that comes back."""
    with connect(proxy) as sock:
        sock.sendall(b"".join(messages))
        data = b""
        while piece := sock.recv(4096):
            data += piece
        return data


# --- why the way is not open -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "reply", "code"),
    [
        (socks_request("other.test"), 0x02, "host_not_listed"),
        (socks_request("127.0.0.1"), 0x02, "host_not_listed"),
        (socks_request("::1"), 0x02, "host_not_listed"),
        (socks_request(command=2), 0x07, "bad_request"),
        (socks_request(command=3), 0x07, "bad_request"),
        (b"\x05\x01\x00\x02\x00", 0x08, "bad_request"),
        (socks_request("127.1.invalid.1"), 0x01, "bad_request"),
        (socks_request(port=0), 0x01, "bad_request"),
        (socks_request(), 0x04, "dns_failed"),
    ],
)
async def test_a_request_that_cannot_be_served_is_told_why_in_one_byte(request_: bytes, reply: int, code: str) -> None:
    """RFC 1928 §6; the log has the reason code."""
    async with running_proxy(RULE) as proxy:
        assert await asyncio.to_thread(ask_socks, proxy, request_) == refused(reply)
        line = await proxy.connection()
        assert (line["code"], line["method"], line["decision"]) == (code, "SOCKS5", "deny")


async def test_a_server_that_is_not_there_is_connection_refused() -> None:
    """RFC 1928 §6: 5. The port was somebody's a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=port)) as proxy:
        assert await asyncio.to_thread(ask_socks, proxy, socks_request()) == refused(0x05)
        assert (await proxy.connection())["code"] == "dial_refused"


@pytest.mark.attack("a path up without the check: SOCKS5", expect="pin_mismatch", topic="pins", motive="CVE-2025-5025")
async def test_a_server_with_another_key_is_not_allowed_and_gets_no_byte() -> None:
    """The pins are judged before the reply; the twin is every test in test_socks5_carrying.py."""
    async with (
        running_origin(server_context(OTHER)) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port)) as proxy,
    ):
        assert await asyncio.to_thread(ask_socks, proxy, socks_request()) == refused(0x02)
        assert (await proxy.connection())["code"] == "pin_mismatch"
        await origin.quiet()
        assert (origin.handshakes, bytes(origin.received)) == (1, b"")


async def test_a_server_with_a_chain_of_another_root_is_a_general_failure() -> None:
    """The server's fault, and not the policy's."""
    async with (
        running_origin(server_context(LEAF)) as origin,
        running_proxy(host_rule([LEAF.pin], make_root("Other").anchors, port=origin.port)) as proxy,
    ):
        assert await asyncio.to_thread(ask_socks, proxy, socks_request()) == refused(0x01)
        assert (await proxy.connection())["code"] == "chain_invalid"


@pytest.mark.attack(
    "SOCKS5: an unlisted host, to have its name looked up",
    expect="host_not_listed",
    topic="authority",
    motive="a name can carry data out",
)
async def test_a_host_that_may_not_be_reached_is_not_even_looked_up() -> None:
    """A name that somebody asks for in vain stays in the machine."""
    async with running_proxy(RULE) as proxy:
        await asyncio.to_thread(ask_socks, proxy, socks_request("secret.internal.test"))
        assert ((await proxy.connection())["code"], proxy.resolved) == ("host_not_listed", [])


@pytest.mark.attack("SOCKS5: an address in the place of a name", expect="address_denied", topic="authority", motive="SSRF")
@pytest.mark.parametrize("written", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "[::1]"])
async def test_a_name_that_is_an_address_meets_the_rules_of_an_address(written: str) -> None:
    """As ATYP 3 it must lead nowhere that ATYP 1 does not."""
    name = b"\x05\x01\x00\x03" + bytes([len(written)]) + written.encode() + b"\x01\xbb"
    async with running_proxy(unlisted="allow") as proxy:
        assert await asyncio.to_thread(ask_socks, proxy, name) == refused(0x02)
        assert (await proxy.connection())["code"] == "address_denied"
        assert proxy.resolved == []


# --- methods -----------------------------------------------------------------------------------------------------------


async def test_a_client_that_offers_no_acceptable_method_is_told_so() -> None:
    """RFC 1928 §3: X'FF', and no further word is read."""
    async with running_proxy(RULE) as proxy:
        assert await asyncio.to_thread(say, proxy, b"\x05\x02\x01\x02", socks_request()) == b"\x05\xff"
        assert (await proxy.connection())["code"] == "bad_request"


async def test_a_client_that_offers_more_than_needed_goes_without() -> None:
    """The twin: one of its methods is acceptable. curl offers three."""
    async with running_proxy(RULE) as proxy:
        answer = await asyncio.to_thread(say, proxy, b"\x05\x03\x00\x01\x02", socks_request("other.test"))
        assert answer == NO_AUTHENTICATION + refused(0x02)


async def speak(proxy: RunningProxy, *messages: bytes) -> bytes:
    """Be a client of a listener that asks for ann's password; return all that comes back."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only

    async def is_ann(user: bytes, password: bytes) -> bool:
        return (user, password) == (b"ann", b"s3cret")

    story = partial(serve_socks5, seconds_left=10.0, authenticate=is_ann)
    accept(ours, "unix", proxy.server._proxy, HTTP, story)
    theirs.setblocking(False)  # noqa: FBT003 - the same
    reader, writer = await asyncio.open_connection(sock=theirs)
    writer.write(b"".join(messages))
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_the_right_password_opens_the_way() -> None:
    """RFC 1929 §2; what is asked for then is judged like anybody's."""
    async with running_proxy(RULE) as proxy:
        answer = await speak(proxy, b"\x05\x02\x00\x02", b"\x01\x03ann\x06s3cret", socks_request("other.test"))
        assert answer == b"\x05\x02" + b"\x01\x00" + refused(0x02)
        assert (await proxy.connection())["code"] == "host_not_listed"


@pytest.mark.parametrize(
    ("messages", "answer"),
    [
        ((b"\x05\x01\x02", b"\x01\x03ann\x06s3creT"), b"\x05\x02\x01\x01"),
        ((b"\x05\x01\x02", b"\x01\x03bob\x06s3cret"), b"\x05\x02\x01\x01"),
        ((b"\x05\x01\x02", b"\x01\x00\x00"), b"\x05\x02\x01\x01"),
        ((b"\x05\x01\x00",), b"\x05\xff"),
    ],
    ids=["password", "name", "nothing", "not-offered"],
)
async def test_without_the_password_no_request_is_heard(messages: tuple[bytes, ...], answer: bytes) -> None:
    """RFC 1929 §2: the server closes the connection; neither log nor answer holds what was said."""
    async with running_proxy(RULE) as proxy:
        assert await speak(proxy, *messages, socks_request()) == answer
        line = await proxy.connection()
        assert (line["code"], line["authority"]) == ("auth_required", None)
        assert "s3cre" not in proxy.log_file.read_text("utf-8")


# --- time, and ends ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begun", "answer"),
    [
        (b"\x05", b"\x05\xff"),
        (GREETING, NO_AUTHENTICATION + refused(0x01)),
        (GREETING + socks_request()[:-1], NO_AUTHENTICATION + refused(0x01)),
    ],
    ids=["greeting", "nothing-asked", "request"],
)
async def test_a_client_that_does_not_finish_is_given_up(begun: bytes, answer: bytes) -> None:
    """`limits.head_seconds` is a total over the whole dialogue."""
    async with running_proxy(RULE, limits=Limits(head_seconds=0.2)) as proxy:
        assert await asyncio.to_thread(say, proxy, begun) == answer
        assert (await proxy.connection())["code"] == "head_timeout"


@pytest.mark.parametrize("begun", [b"\x05\x02\x00", GREETING, GREETING + socks_request()[:7]])
async def test_a_client_that_leaves_within_a_message_is_logged_as_gone(begun: bytes) -> None:
    """Nobody is left to answer."""

    def leave(proxy: RunningProxy) -> None:
        with connect(proxy) as sock:
            sock.sendall(begun)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass

    async with running_proxy(RULE) as proxy:
        await asyncio.to_thread(leave, proxy)
        assert (await proxy.connection())["code"] == "client_closed"


async def test_a_request_that_comes_after_sigterm_is_refused() -> None:
    """New work is not begun in a drain, also on a connection that was there before."""
    async with running_proxy(RULE) as proxy:
        sock = await asyncio.to_thread(greet, proxy)
        with sock:
            draining = asyncio.create_task(proxy.server.drain())
            await asyncio.sleep(0)
            assert proxy.server.is_draining
            sock.sendall(socks_request())
            assert await asyncio.to_thread(read_exactly, sock, 10) == refused(0x01)
        await draining
        assert (await proxy.connection())["code"] == "draining"
