"""A corporate proxy between us and the world: every mode goes through it, and verifies what is behind it all the same."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache

import pytest

from pinproxy.limits import Limits
from pinproxy.policy.no_proxy import parse_no_proxy
from tests.harness.clients import Answer, Way, ask, connect, connect_head, each_way, get_head, read_answer
from tests.harness.origin import Origin, running_origin
from tests.harness.pki import Issued, make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy
from tests.harness.upstream_proxies import CorporateProxy, corporate_proxy

AUTHORITY = f"{HOST}:443"
SECRET = b"Basic " + base64.b64encode(b"alice:open sesame")


@lru_cache
def certificates() -> tuple[Issued, Issued]:
    """Make a root and a leaf for HOST, once."""
    root = make_root()
    return root, make_leaf(root, HOST)


@dataclass
class Stage:
    """An origin that only the corporate proxy can reach by its name."""

    origin: Origin
    corporate: CorporateProxy


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Run both."""
    origins: dict[str, int] = {}
    async with running_origin(server_context(certificates()[1])) as origin, corporate_proxy(origins) as corporate:
        origins[AUTHORITY] = origin.port
        yield Stage(origin, corporate)


@each_way
async def test_every_way_leads_through_the_upstream_proxy(way: Way, stage: Stage) -> None:
    """It is asked for the host by name, which is not resolved here, and is told nothing else."""
    root, leaf = certificates()
    async with running_proxy(host_rule([leaf.pin], root.anchors), upstream_proxy=stage.corporate.way()) as proxy:
        assert (await ask(way, proxy)).status == 200
        assert proxy.resolved == []
        assert (await proxy.connection())["upstream_address"] == f"127.0.0.1:{stage.corporate.port}"
    (head,) = stage.corporate.heads
    assert re.fullmatch(
        rb"CONNECT %b HTTP/1.1\r\nHost: %b\r\nVia: 1.1 pinproxy-[0-9a-f]{16}\r\n\r\n" % ((AUTHORITY.encode(),) * 2), head
    )


@pytest.mark.attack(
    "a path up without the check: through an upstream proxy",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2025-13034",
)
@each_way
async def test_an_impostor_behind_the_upstream_proxy_is_denied(way: Way, stage: Stage) -> None:
    """The proxy on the way chooses who answers, and the pins decide."""
    root, _ = certificates()
    rule = host_rule([make_leaf(root, HOST).pin], root.anchors)
    async with running_proxy(rule, upstream_proxy=stage.corporate.way()) as proxy:
        answer = await ask(way, proxy)
        assert (answer.status, answer.code) == (403, "pin_mismatch")
    assert bytes(stage.origin.received) == b""


def fetch_through_tunnel(proxy: RunningProxy, root: Issued, target: str, version: ssl.TLSVersion) -> int:
    """Get `/` of HOST through CONNECT to `target`, with TLS of the client's own."""
    context = ssl.create_default_context(cadata=root.pem.decode("ascii"))
    context.maximum_version = version
    host, _, port = target.rpartition(":")
    with connect(proxy) as sock:
        sock.sendall(connect_head(host, int(port)))
        assert read_answer(sock).status == 200
        with context.wrap_socket(sock, server_hostname=HOST) as tls:
            tls.sendall(get_head("/"))
            return read_answer(tls).status


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_a_tunnel_and_its_preflight_both_lead_through_it(version: ssl.TLSVersion, stage: Stage) -> None:
    """The same address is then the same proxy, asked for the same name."""
    root, leaf = certificates()
    rule = host_rule([leaf.pin], root.anchors, connect="tunnel", tls13="preflight")
    async with running_proxy(rule, upstream_proxy=stage.corporate.way()) as proxy:
        assert await asyncio.to_thread(fetch_through_tunnel, proxy, root, AUTHORITY, version) == 200
    assert stage.corporate.targets == [AUTHORITY, AUTHORITY]


@pytest.mark.attack(
    "CONNECT by address or by another name, with the pinned name in the ClientHello",
    expect="pin_mismatch",
    topic="authority",
    motive="an application that resolves by itself",
)
async def test_another_name_for_a_listed_host_meets_its_pins_behind_the_proxy_too(stage: Stage) -> None:
    """A blind tunnel whose ClientHello names a listed host is begun anew, to where the client asked, under the host's rule."""
    root, leaf = certificates()
    async with corporate_proxy({"alias.example.test:443": stage.origin.port}) as corporate:
        for pin, outcome in ((leaf.pin, 200), (make_leaf(root, HOST).pin, None)):
            rule = host_rule([pin], root.anchors, connect="tunnel", tls13="refuse")
            async with running_proxy(rule, unlisted="allow", upstream_proxy=corporate.way()) as proxy:
                fetching = asyncio.to_thread(fetch_through_tunnel, proxy, root, "alias.example.test:443", ssl.TLSVersion.TLSv1_2)
                if outcome is None:
                    with pytest.raises(ssl.SSLError):
                        await fetching
                else:
                    assert await fetching == outcome
        assert set(corporate.targets) == {"alias.example.test:443"}


async def test_plain_http_to_an_unlisted_host_goes_by_connect() -> None:
    """One way for everything: the proxy sees where it goes and not what is asked."""
    async with running_origin(None) as origin, corporate_proxy({"plain.example.test:80": origin.port}) as corporate:
        async with running_proxy(unlisted="allow", upstream_proxy=corporate.way()) as proxy:
            assert (await ask("origination", proxy, "plain.example.test")).status == 200
        assert corporate.targets == ["plain.example.test:80"]


@each_way
async def test_credentials_are_told_to_the_upstream_proxy_alone(way: Way, stage: Stage) -> None:
    """Neither origin nor log sees them."""
    root, leaf = certificates()
    way_out = stage.corporate.way(authorization=SECRET)
    async with running_proxy(host_rule([leaf.pin], root.anchors), upstream_proxy=way_out) as proxy:
        assert (await ask(way, proxy)).status == 200
        await proxy.connection()
        assert base64.b64encode(b"alice:open sesame").decode() not in proxy.log_file.read_text("utf-8")
    assert b"\r\nProxy-Authorization: %b\r\n" % SECRET in stage.corporate.heads[0]
    assert b"authorization" not in bytes(stage.origin.received).lower()
    assert "Basic" not in repr(way_out)


async def answer_of(reply: bytes, limits: Limits | None = None) -> Answer:
    """Ask for HOST through a proxy that says this."""
    root, leaf = certificates()
    async with (
        corporate_proxy({AUTHORITY: 1}, reply) as corporate,
        running_proxy(host_rule([leaf.pin], root.anchors), upstream_proxy=corporate.way(), limits=limits) as proxy,
    ):
        return await ask("interception", proxy)


@pytest.mark.attack(
    "an upstream proxy that refuses, hangs up, or answers CONNECT with something else than HTTP or without an end",
    expect="upstream_proxy_refused",
    topic="faults",
)
@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (b"HTTP/1.1 403 Forbidden by <b>us</b>\r\n\r\n", f"refused CONNECT {AUTHORITY} with status 403"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", f"refused CONNECT {AUTHORITY} with status 502"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            f"refused CONNECT {AUTHORITY} with status 101",
        ),
        (
            b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n",
            "asks for credentials (407); correct user and password of `upstream_proxy`",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", f"answered CONNECT {AUTHORITY} with something that is no HTTP response"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, f"answered CONNECT {AUTHORITY} with something that is no HTTP response"),
        (b"HTTP/1.1 200 OK\r\n", f"hung up on CONNECT {AUTHORITY}"),
        (b"", f"hung up on CONNECT {AUTHORITY}"),
    ],
)
async def test_a_proxy_that_does_not_open_the_way_is_named_with_its_status(reply: bytes, text: str) -> None:
    """Its own words are not repeated."""
    answer = await answer_of(reply)
    assert (answer.status, answer.code) == (502, "upstream_proxy_refused")
    assert answer.problem["detail"].startswith("the upstream proxy 127.0.0.1:")
    assert answer.problem["detail"].endswith(text)


async def test_interim_answers_come_before_the_final_one(stage: Stage) -> None:
    """A 1xx is no refusal; the twin of the others."""
    root, leaf = certificates()
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 Fine\r\nContent-Length: 7\r\n\r\n"
    async with (
        corporate_proxy({AUTHORITY: stage.origin.port}, interim) as corporate,
        running_proxy(host_rule([leaf.pin], root.anchors), upstream_proxy=corporate.way()) as proxy,
    ):
        assert (await ask("interception", proxy)).status == 200


async def test_what_follows_the_answer_belongs_to_the_host() -> None:
    """Bytes behind the head are not read with it, also in one segment."""
    async with (
        corporate_proxy({"greeter.example.test:25": 1}, b"HTTP/1.1 200 OK\r\n\r\n220 hello\r\n") as corporate,
        running_proxy(unlisted="allow", upstream_proxy=corporate.way()) as proxy,
    ):

        def greeted() -> bytes:
            with connect(proxy) as sock:
                sock.sendall(connect_head("greeter.example.test", 25))
                assert read_answer(sock).status == 200
                return sock.recv(100)

        assert await asyncio.to_thread(greeted) == b"220 hello\r\n"


@pytest.mark.attack("an upstream proxy that takes a CONNECT and says nothing", expect="dial_timeout", topic="faults")
async def test_a_silent_upstream_proxy_is_given_up_in_time() -> None:
    """As a server that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        root, leaf = certificates()
        way_out = CorporateProxy(silent.getsockname()[1]).way()
        limits = Limits(connect_seconds=0.2)
        async with running_proxy(host_rule([leaf.pin], root.anchors), upstream_proxy=way_out, limits=limits) as proxy:
            answer = await ask("interception", proxy)
    assert (answer.status, answer.code) == (504, "dial_timeout")
    assert "did not open a way to" in answer.problem["detail"]


async def test_hosts_of_no_proxy_are_dialled_directly(stage: Stage) -> None:
    """By name or by the address that stands in the rule."""
    root, leaf = certificates()
    way_out = stage.corporate.way(no_proxy=parse_no_proxy(("127.0.0.0/8",)))
    async with running_proxy(host_rule([leaf.pin], root.anchors, port=stage.origin.port), upstream_proxy=way_out) as proxy:
        assert (await ask("origination", proxy)).status == 200
    assert stage.corporate.heads == []


@pytest.mark.attack("a private address behind an upstream proxy", expect="address_denied", topic="authority", motive="SSRF")
@pytest.mark.parametrize("target", ["169.254.169.254", "10.0.0.1", "[::1]"])
async def test_private_addresses_are_denied_to_unlisted_hosts_behind_the_proxy_too(target: str, stage: Stage) -> None:
    """An address that is asked for as such is known here."""
    async with running_proxy(unlisted="allow", upstream_proxy=stage.corporate.way()) as proxy:
        answer = await ask("interception", proxy, target)
        assert (answer.status, answer.code) == (403, "address_denied")
    assert stage.corporate.heads == []


@pytest.mark.attack("an upstream proxy that is this proxy", expect="loop_detected", topic="authority", motive="RFC 9110 §7.6.3")
async def test_an_upstream_proxy_that_is_this_one_is_a_loop() -> None:
    """It would ask itself for ever."""
    root, leaf = certificates()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    way_out = CorporateProxy(port).way()
    async with running_proxy(host_rule([leaf.pin], root.anchors), upstream_proxy=way_out) as proxy:
        proxy.server.never_dial(way_out.authority)
        answer = await ask("interception", proxy)
        assert (answer.status, answer.code) == (403, "loop_detected")
