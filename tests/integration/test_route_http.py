"""Routes of `http`: an application talks to a local port as to an origin, and gets the origin behind its pins."""

from __future__ import annotations

import asyncio
import http.client
import http.cookiejar
import urllib.request

import pytest

from pinproxy.policy.table import PolicyTable
from tests.harness.clients import Answer, get_head, read_answer
from tests.harness.origin import answer_bodies, body_of, read_request, receipt_for
from tests.harness.originating import answering, certificates, ok
from tests.harness.pki import make_leaf, server_context
from tests.harness.routes import RouteStage, running_route
from tests.harness.running import HOST, host_rule

ROOT, LEAF = certificates()
OTHER = make_leaf(ROOT, HOST)
APP = "127.0.0.1:9001"
"""What the application believes it talks to; the port of a test is another each time."""


def ask(stage: RouteStage, target: str = "/", host: str = APP, further: str = "") -> Answer:
    """Send one GET over a connection of its own."""
    with stage.connect() as sock:
        sock.sendall(get_head(target, host, further=f"Connection: close\r\n{further}"))
        return read_answer(sock)


async def asked(stage: RouteStage, *arguments: str, **further: str) -> Answer:
    """The same, in a thread."""
    return await asyncio.to_thread(ask, stage, *arguments, **further)


# --- there ----------------------------------------------------------------------------------------------------------------


async def test_the_origin_sees_its_own_name_and_the_path_as_it_was_sent() -> None:
    """Host becomes the authority; the target stays in origin form."""
    heads = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            heads.append(request[0])
            writer.write(ok(b"yes"))

    async with running_route("http", keep) as stage:
        assert (await asked(stage, "/v1/a%2Fb?q=1")).body == b"yes"
        line = await stage.proxy.connection()
        assert heads[0].startswith(b"GET /v1/a%2Fb?q=1 HTTP/1.1\r\nHost: api.example.test\r\n")
        assert APP.encode() not in heads[0]
        assert (line["mode"], line["method"], line["verdict"]) == ("origination", "GET", "matched")
        assert (line["authority"], line["host_rule"], line["alpn"]) == (f"{HOST}:443", HOST, None)


async def test_requests_share_a_connection_on_both_sides() -> None:
    """Keep-alive and pool are those of origination: several requests, one handshake; bodies of any kind."""

    def work(stage: RouteStage) -> list[bytes]:
        client = http.client.HTTPConnection(stage.local, timeout=10)
        answers = []
        for method, path, body in (("GET", "/70000", None), ("POST", "/", b"x" * 100_000), ("POST", "/", iter([b"a", b"b"]))):
            client.request(method, path, body)  # an iterator is sent in chunks
            answers.append(client.getresponse().read())
        client.close()
        return answers

    async with running_route("http", answer_bodies) as stage:
        answers = await asyncio.to_thread(work, stage)
        assert answers == [body_of(70_000), receipt_for(b"x" * 100_000), receipt_for(b"ab")]
        await stage.proxy.connection(count=3)
        assert stage.origin.handshakes == 1


@pytest.mark.parametrize("target", [f"http://{HOST}/", f"http://{HOST}:80/", f"https://{HOST}/", f"https://{HOST}:443/"])
async def test_an_absolute_target_that_names_the_authority_is_served(target: str) -> None:
    """RFC 9112 §3.2.2: a server must accept the form; where `HTTP_PROXY` names the route it is the only one."""
    async with running_route("http") as stage:
        host = target.split("/")[2]
        assert (await asked(stage, target, host=host)).status == 200


@pytest.mark.parametrize(
    ("target", "host"),
    [("http://other.test/", "other.test"), (f"http://{HOST}:8080/", f"{HOST}:8080"), (f"https://{HOST}:80/", f"{HOST}:80")],
)
async def test_an_absolute_target_that_names_another_is_refused(target: str, host: str) -> None:
    """The port leads to one place; a client that means another is told so, and the origin hears nothing."""
    async with running_route("http") as stage:
        answer = await asked(stage, target, host=host)
        assert (answer.status, answer.code) == (400, "bad_request")
        assert f"leads to {HOST}:443 alone" in answer.problem["detail"]
        assert stage.origin.connections == 0


async def test_connect_is_refused() -> None:
    """A route is no proxy."""

    def connect(stage: RouteStage) -> Answer:
        with stage.connect() as sock:
            sock.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n".encode())
            return read_answer(sock)

    async with running_route("http") as stage:
        answer = await asyncio.to_thread(connect, stage)
        assert (answer.status, answer.code, stage.origin.connections) == (400, "bad_request", 0)


@pytest.mark.attack("a path up without the check: routes", expect="pin_mismatch", topic="pins", motive="CVE-2025-5025")
async def test_a_server_with_another_key_is_refused_in_words_and_gets_no_byte() -> None:
    """A problem document as in origination; the twins are above."""
    async with running_route("http", context=server_context(OTHER)) as stage:
        answer = await asked(stage)
        assert (answer.status, answer.code) == (403, "pin_mismatch")
        assert answer.problem["seen"]
        await stage.origin.quiet()
        assert (stage.origin.handshakes, bytes(stage.origin.received)) == (1, b"")


async def test_a_reload_that_unlists_the_host_closes_the_route() -> None:
    """Also where unlisted hosts are allowed: a route never becomes a plain forwarder."""
    async with running_route("http") as stage:
        assert (await asked(stage)).status == 200
        stage.proxy.server.swap(PolicyTable((), "allow"))
        answer = await asked(stage)
        assert (answer.status, answer.code, stage.origin.connections) == (403, "host_not_listed", 1)


async def test_a_reload_that_changes_the_pins_holds_for_the_next_request() -> None:
    """Pooled connections were verified under the old ones."""
    async with running_route("http") as stage:
        assert (await asked(stage)).status == 200
        stage.proxy.server.swap(PolicyTable((host_rule([OTHER.pin], ROOT.anchors, port=stage.origin.port),)))
        assert (await asked(stage)).code == "pin_mismatch"


# --- and back -------------------------------------------------------------------------------------------------------------


async def test_what_the_origin_says_of_itself_is_told_as_the_client_knows_it() -> None:
    """A redirect leads back to the local port, and nothing tells the client to leave it."""
    answer = ok(
        b"",
        f"Location: https://{HOST}/next",
        "Content-Location: /here",
        f"Refresh: 1; url=http://{HOST}/",
        "Strict-Transport-Security: max-age=31536000",
        'Alt-Svc: h3=":443"',
        f"Set-Cookie: id=1; Domain={HOST}; Path=/; Secure; HttpOnly",
    )
    async with running_route("http", answering(answer)) as stage:
        fields = (await asked(stage)).fields
        assert fields["location"] == f"http://{APP}/next"
        assert fields["content-location"] == "/here"
        assert fields["refresh"] == f"1; url=http://{APP}/"
        assert fields["set-cookie"] == "id=1; Path=/; HttpOnly"
        assert not {"strict-transport-security", "alt-svc"} & fields.keys()


async def test_a_client_that_follows_redirects_and_keeps_cookies_stays_on_the_route() -> None:
    """Python's own, which honours `Secure` and `Domain` and would follow a Location anywhere."""

    async def log_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            head = request[0]
            if head.startswith(b"GET /login "):
                cookie = f"Set-Cookie: id=1; Domain=.{HOST}; Path=/; Secure"
                moved = ok(b"", f"Location: https://{HOST}/home", cookie).replace(b"200 OK", b"302 Found")
                writer.write(moved)
            else:
                writer.write(ok(b"welcome" if b"\r\nCookie: id=1\r\n" in head else b"who are you?"))

    def fetch(url: str) -> tuple[str, bytes]:
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)
        with opener.open(url, timeout=10) as response:
            return response.url, response.read()

    async with running_route("http", log_in) as stage:
        url, body = await asyncio.to_thread(fetch, f"http://{stage.local}/login")
        assert (url, body) == (f"http://{stage.local}/home", b"welcome")
        assert {line["code"] for line in stage.proxy.connections} == {None}


async def test_websocket_and_other_upgrades_pass() -> None:
    """After 101 it is bytes, as in origination."""

    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        writer.write(await reader.readexactly(5))
        await writer.drain()
        await reader.read()

    def upgrade(stage: RouteStage) -> tuple[int, bytes]:
        with stage.connect() as sock:
            sock.sendall(get_head("/", APP, further="Connection: Upgrade\r\nUpgrade: echo\r\n"))
            answer = read_answer(sock)
            sock.sendall(b"hello")
            return answer.status, sock.recv(5)

    async with running_route("http", switch) as stage:
        assert await asyncio.to_thread(upgrade, stage) == (101, b"hello")
