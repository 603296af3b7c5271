"""One host has one spelling: for the rule, for DNS, for SNI, for the certificate, for the origin and for the log.

Whatever a client writes becomes that one form or is refused before anybody is asked for an address.
"""

from __future__ import annotations

import asyncio
import socket
from collections import UserDict
from collections.abc import Sequence
from typing import Literal

import pytest

from pinproxy.limits import Limits
from tests.harness.clients import Answer, connect, get_head, on_one_loop, open_tunnel, read_answer, read_to_end, start_tls
from tests.harness.origin import running_origin
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy
from tests.harness.socks5 import ask_socks, open_socks, socks_request

Door = Literal["absolute-form", "CONNECT", "SOCKS5"]
ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
RULE = host_rule([LEAF.pin], ROOT.anchors)

each_door = pytest.mark.parametrize("door", ["absolute-form", "CONNECT", "SOCKS5"])


def go_through(door: Door, proxy: RunningProxy, host: str, port: int) -> Answer:
    """Ask for `/` of a host, spelled like this wherever its name is said in clear; TLS of the client's names `HOST`."""
    if door == "absolute-form":
        with connect(proxy) as sock:
            sock.sendall(get_head(f"http://{host}:{port}/", f"{host}:{port}"))
            return read_answer(sock)
    opened = open_tunnel(proxy, host, port) if door == "CONNECT" else open_socks(proxy, host, port)
    with opened, start_tls(opened, proxy) as tls:
        tls.sendall(get_head("/"))
        return read_answer(tls)


@pytest.mark.attack(
    "a host in capitals, with a trailing dot, as an IDNA U-label, in full-width letters or digits: one form for every use",
    expect="neutralise",
    topic="authority",
    motive="CVE-2022-24825, CVE-2022-29188; WHATWG URL §3.5",
)
@on_one_loop
@each_door
@pytest.mark.parametrize("written", [HOST, HOST.upper(), "aPi.eXample.Test", f"{HOST}.", f"{HOST.title()}."])
async def test_every_spelling_is_one_host_to_everybody_who_is_asked(door: Door, written: str) -> None:
    """Rule, resolver, SNI, verification, Host field and log get the same word."""
    named: list[str | None] = []
    context = server_context(LEAF)
    context.sni_callback = lambda _tls, name, _context: named.append(name)
    async with running_origin(context) as origin, running_proxy(RULE, addresses={HOST: "127.0.0.1"}) as proxy:
        answer = await asyncio.to_thread(go_through, door, proxy, written, origin.port)
        assert (answer.status, answer.body) == (200, b"GET / 0\n")
        line = await proxy.connection()
        if door == "absolute-form":
            assert f"\r\nHost: {HOST}:{origin.port}\r\n".encode() in origin.received
    assert (proxy.resolved, set(named)) == ([HOST], {HOST})
    assert (line["authority"], line["host_rule"], line["verdict"]) == (f"{HOST}:{origin.port}", HOST, "matched")


REFUSED = {
    "percent-encoded letter": "%61pi.example.test",
    "percent-encoded digit": "%3127.0.0.1",
    "percent-encoded dot": "api%2eexample.test",
    "percent-encoded NUL": "api.example.test%00.evil.test",
    "NUL": "api.example.test\0.evil.test",
    "userinfo": "api.example.test@evil.test",
    "userinfo with a password": "user:secret@api.example.test",
    "name in brackets": "[api.example.test]",
    "address in brackets": "[127.0.0.1]",
    "empty label": "api..example.test",
    "two trailing dots": "api.example.test..",
    "star": "*.example.test",
    "U-label": "b\u00fccher.example",
    "homograph": "\u0430pi.example.test",
    "full-width digits": "\uff11\uff12\uff17.0.0.1",
    "circled digit": "\u246027.0.0.1",
    "backslash": "api.example.test\\evil.test",
    "slash": "api.example.test/evil.test",
    "hash": "api.example.test#evil.test",
    "line end": "api.example.test\r\nX: 1",
    "blank": "api.example.test ",
    "tab": "\tapi.example.test",
    "short IPv4": "127.1",
    "IPv4 as one number": "2130706433",
    "hexadecimal IPv4": "0x7f.0.0.1",
    "octal IPv4": "0177.0.0.1",
    "IPv4 with a zero in front": "127.0.0.01",
    "IPv4 with five parts": "127.0.0.0.1",
    "IPv6 with a zone": "[fe80::1%25eth0]",
    "IPv6 with a bare zone": "[fe80::1%eth0]",
    "IPv6 with two gaps": "[1::2::3]",
    "IPv6 with a short IPv4 at its end": "[::ffff:127.1]",
}


@pytest.mark.attack(
    "a host with percent-encoding, userinfo, NUL, CRLF, blanks, brackets, homographs, or an address in a loose form",
    expect="bad_request",
    topic="authority",
    motive="CVE-2022-24825; CWE-93; smokescreen's TestClassifyAddr",
)
@on_one_loop
@each_door
@pytest.mark.parametrize("written", REFUSED.values(), ids=REFUSED.keys())
async def test_a_host_that_readers_could_take_for_another_is_refused_unasked(door: Door, written: str) -> None:
    """Every host may be reached here, and every address: nothing but the spelling is against it."""
    name = written.encode()

    def talk() -> None:
        if door == "SOCKS5":
            ask_socks(proxy, b"\x05\x01\x00\x03" + bytes([len(name)]) + name + b"\x01\xbb")
            return
        line = b"CONNECT %b:443" % name if door == "CONNECT" else b"GET http://%b:443/" % name
        with connect(proxy) as sock:
            sock.sendall(line + b" HTTP/1.1\r\nHost: %b:443\r\n\r\n" % name)
            assert b" 400 " in read_to_end(sock).partition(b"\r\n")[0]

    async with running_proxy(RULE, unlisted="allow", limits=Limits(allow_private=True)) as proxy:
        await asyncio.to_thread(talk)
        line = await proxy.connection()
        assert (line["code"], line["decision"], proxy.resolved) == ("bad_request", "deny", [])
        assert "secret" not in proxy.log_file.read_text("utf-8")


# --- what a name resolves to ---------------------------------------------------------------------------------------------


class Rebinding(UserDict[str, str | Sequence[str]]):
    """Answers of a name server that gives the next one each time it is asked; the last one for ever."""

    def __init__(self, *answers: str) -> None:
        super().__init__()
        self._answers = list(answers)

    def get(self, _name: str, default: object = None) -> str:
        """Answer."""
        del default
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.mark.attack(
    "DNS rebinding: the name is harmless when checked and private when dialled",
    expect="neutralise",
    topic="authority",
    motive="CVE-2018-14505",
)
@pytest.mark.parametrize("door", ["absolute-form", "CONNECT"])
async def test_a_name_server_that_changes_its_mind_is_not_asked_twice(door: Door) -> None:
    """The address that was checked is the one that is dialled; the second answer is somebody else's machine."""
    with socket.create_server(("127.0.0.2", 0)) as elsewhere:
        elsewhere.settimeout(0)
        async with (
            running_origin(server_context(LEAF)) as origin,
            running_proxy(RULE, addresses=Rebinding("127.0.0.1", "127.0.0.2")) as proxy,
        ):
            answer = await asyncio.to_thread(go_through, door, proxy, HOST, origin.port)
            assert (answer.status, proxy.resolved) == (200, [HOST])
            assert (await proxy.connection())["upstream_address"] == f"127.0.0.1:{origin.port}"
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.attack(
    "the metadata services of clouds (169.254.169.254, fd00:ec2::254) and every other address that is not public",
    expect="address_denied",
    topic="authority",
    motive="SSRF; RFC 6890",
)
@on_one_loop
@each_door
@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "::ffff:169.254.169.254"])
async def test_a_name_of_a_metadata_service_is_denied_by_where_it_leads(door: Door, address: str) -> None:
    """`metadata.google.internal` is a name like any other; what it resolves to is not."""
    name = "metadata.google.internal"

    def talk() -> None:
        if door == "SOCKS5":
            ask_socks(proxy, socks_request(name, 80))
        else:
            head = f"CONNECT {name}:80" if door == "CONNECT" else f"GET http://{name}/"
            with connect(proxy) as sock:
                sock.sendall(f"{head} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode("ascii"))
                assert read_answer(sock).code == "address_denied"

    async with running_proxy(unlisted="allow", addresses={name: address}) as proxy:
        await asyncio.to_thread(talk)
        assert ((await proxy.connection())["code"], proxy.resolved) == ("address_denied", [name])
