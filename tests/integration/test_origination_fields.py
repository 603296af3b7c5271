"""Which fields reach the other side, and which end here (RFC 9110 §7.6)."""

from __future__ import annotations

import re

import pytest

from pinproxy.limits import Limits
from tests.harness.origin import running_origin
from tests.harness.originating import URL, Stage, answering, certificates, ok, originating, request
from tests.harness.running import HOST, host_rule, running_proxy

HOP_BY_HOP = (
    "Connection: keep-alive, X-Private",
    "X-Private: 1",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic c2VjcmV0",
    "Proxy-Authenticate: Basic",
    "Upgrade: h2c",
    "TE: gzip",
)


@pytest.mark.attack(
    "Proxy-Authorization, Proxy-Connection, Keep-Alive, Upgrade and whatever Connection names, sent on",
    expect="neutralise",
    topic="requests",
    motive="CVE-2023-32681; RFC 9110 §7.6.1",
)
async def test_hop_by_hop_fields_of_a_request_end_here() -> None:
    """Also those that Connection names; Proxy-Authorization is for us and nobody else (RFC 9110 §7.6.1, §11.7.1)."""
    async with originating() as stage:
        client = await stage.client()
        client.get(f"{URL}/", *HOP_BY_HOP, "X-End-To-End: 1", "Authorization: Bearer t")
        assert (await client.response()).status == 200
        received = bytes(stage.origin.received)
    lines = received.split(b"\r\n")
    via = lines[4]
    assert re.fullmatch(rb"Via: 1\.1 pinproxy-[0-9a-f]{16}", via)
    assert lines == [
        b"GET / HTTP/1.1",
        b"Host: api.example.test",
        b"X-End-To-End: 1",
        b"Authorization: Bearer t",
        via,
        b"",
        b"",
    ]


@pytest.mark.attack("hop-by-hop fields of a response, sent on", expect="neutralise", topic="responses", motive="RFC 9110 §7.6.1")
async def test_hop_by_hop_fields_of_a_response_end_here() -> None:
    """The twin on the way back; what an origin says in our name ends here, too."""
    theirs = (*HOP_BY_HOP, "X-End-To-End: 1", "X-Pinproxy-Id: forged", "x-pinproxy-error: pin_mismatch")
    async with originating(answering(ok(b"", *theirs))) as stage:
        client = await stage.client()
        client.get()
        response = await client.response()
        (line,) = await stage.logged(1)
    assert response.fields == [
        ("x-end-to-end", "1"),
        ("content-length", "0"),
        ("via", "1.1 pinproxy"),
        ("x-pinproxy-id", line["id"]),
    ]


@pytest.mark.attack(
    "an origin that says in our name why it refuses: X-Pinproxy-Error, or a Proxy-Status of ours",
    expect="neutralise",
    topic="responses",
    motive="RFC 9209 §2",
)
async def test_an_origin_says_nothing_in_our_name_wherever_it_says_it() -> None:
    """Neither before its answer, nor in it, nor behind it; what other proxies say stays."""
    answer = (
        b"HTTP/1.1 103 Early Hints\r\nX-Pinproxy-Error: draining\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        b"Proxy-Status: PinProxy; error=dns_error\r\nProxy-Status: far; error=x\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Pinproxy-Error: draining\r\nProxy-Status: pinproxy\r\nSum: 2\r\n\r\n"
    )
    async with originating(answering(answer)) as stage:
        client = await stage.client()
        client.get()
        hints, response = await client.response(), await client.response()
        await stage.logged(1)
    assert (hints.status, hints.get("link"), hints.code) == (103, "</a>", None)
    assert (response.status, response.body, response.code, response.trailers) == (200, b"ok", None, (("sum", "2"),))
    assert [value for name, value in response.fields if name == "proxy-status"] == ["far; error=x"]


async def test_via_is_added_behind_those_of_others_with_the_version_received() -> None:
    """Each proxy adds its own (RFC 9110 §7.6.3)."""
    async with originating(answering(b"HTTP/1.0 200 OK\r\nVia: 1.1 far\r\nContent-Length: 0\r\n\r\n")) as stage:
        client = await stage.client()
        client.get(f"{URL}/", "Via: 1.1 near", minor=0)
        response = await client.response()
        received = bytes(stage.origin.received)
    assert [value for name, value in response.fields if name == "via"] == ["1.1 far", "1.0 pinproxy"]
    assert received.index(b"Via: 1.1 near\r\n") < received.index(b"Via: 1.0 pinproxy-")
    assert received.startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.attack(
    "a Host field that tells the origin another name than the one that was verified",
    expect="neutralise",
    topic="requests",
    motive="RFC 9112 §3.2.2",
)
@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        (HOST, HOST),
        (f"{HOST}:80", HOST),
        (f"{HOST}:443", HOST),
        (f"{HOST}:8080", f"{HOST}:8080"),
        (HOST.upper(), HOST),
        (f"{HOST}.", HOST),
    ],
)
async def test_host_names_the_origin_as_it_is_asked_over_tls(authority: str, expected: str) -> None:
    """Without a port or with 80 the request goes to 443, which Host leaves out; other ports stay (RFC 9112 §3.2.2)."""
    async with originating() as stage:
        client = await stage.client()
        client.get(f"http://{authority}/", host=authority)
        assert (await client.response()).status == 200
        assert stage.origin.received.startswith(f"GET / HTTP/1.1\r\nHost: {expected}\r\n".encode())
        (line,) = await stage.logged(1)
    assert line["authority"] == (expected if ":" in expected else f"{HOST}:443")


async def test_http_1_0_may_leave_host_out() -> None:
    """The target names the origin; we name it in Host."""
    async with originating() as stage:
        client = await stage.client()
        client.send(f"GET {URL}/ HTTP/1.0\r\n\r\n".encode())
        assert (await client.response()).status == 200
        assert b"\r\nHost: api.example.test\r\n" in stage.origin.received


@pytest.mark.attack(
    "http:// or https:// in absolute form to a pinned host: both go over pinned TLS, never in clear",
    expect="neutralise",
    topic="requests",
    motive="Android's cleartextTrafficPermitted",
)
async def test_https_in_absolute_form_means_the_same_upstream() -> None:
    """Some clients leave TLS to the proxy that way; only a listed host can be verified."""
    async with originating(unlisted="allow") as stage:
        client = await stage.client()
        client.send(request(f"https://{HOST}/x"))
        assert (await client.response()).body == b"GET /x 0\n"
        client.send(request("https://other.test/x", host="other.test"))
        refusal = await client.response()
        assert (refusal.status, refusal.code) == (400, "bad_request")
        await stage.logged(2)


async def test_an_unlisted_host_is_forwarded_in_clear_where_the_operator_allows_it() -> None:
    """As it came, Host with its port, and no TLS; the log calls it `plain`."""
    root, leaf = certificates()
    async with (
        running_origin(None) as plain,
        running_proxy(
            host_rule([leaf.pin], root.anchors),
            unlisted="allow",
            addresses={"plain.test": "127.0.0.1"},
            limits=Limits(allow_private=True),
        ) as proxy,
    ):
        stage = Stage(plain, proxy)
        client = await stage.client()
        authority = f"plain.test:{plain.port}"
        for _ in range(2):
            client.get(f"http://{authority}/x", host=authority)
            assert (await client.response()).body == b"GET /x 0\n"
        assert plain.received.startswith(f"GET /x HTTP/1.1\r\nHost: {authority}\r\n".encode())
        assert plain.connections == 1
        lines = await stage.logged(2)
    assert {(line["mode"], line["authority"], line["host_rule"], line["verdict"]) for line in lines} == {
        ("plain", authority, None, None)
    }
