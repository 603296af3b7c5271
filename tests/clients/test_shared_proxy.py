"""curl with a proxy that asks who its clients are: by password, by certificate, and over TLS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pinproxy.proxy.tls_front import front_context
from tests.clients.stage import ConnectMode, Stage, kept_promise, staged
from tests.clients.table import assert_answered, curl, errands, small_fetch
from tests.harness.origin import answer_bodies, running_origin
from tests.harness.pki import Issued, make_client, make_leaf, make_root, server_context
from tests.harness.users import quick_hash

pytestmark = pytest.mark.needs_tool("curl")

COULD_NOT_CONNECT = 56  # CURLE_RECV_ERROR: CONNECT was not answered with 200
each_scheme = pytest.mark.parametrize("scheme", ["http", "https"])


@contextlib.asynccontextmanager
async def shared(directory: Path, mode: ConnectMode) -> AsyncIterator[Stage]:
    """Run a proxy that knows alice, before an origin that answers curl's errands."""
    promise = kept_promise()
    async with (
        running_origin(server_context(promise.leaf), answer_bodies) as origin,
        staged(directory, mode, promise, origin.port) as stage,
    ):
        stage.proxy.server.ask_clients({"alice": quick_hash("open sesame")})
        yield stage


def write(directory: Path, name: str, pem: bytes) -> str:
    """Write a file for curl."""
    (directory / name).write_bytes(pem)
    return str(directory / name)


def speak_tls(stage: Stage, directory: Path, clients: Issued | None = None) -> tuple[str, ...]:
    """Have the proxy speak TLS with its clients; return what tells curl."""
    root = make_root("Front Root")
    leaf = make_leaf(root, "127.0.0.1")
    stage.proxy.server.speak_tls(front_context(leaf.pem + leaf.key_pem, (clients.der,) if clients is not None else None))
    return ("--proxy", f"https://127.0.0.1:{stage.proxy.port}", "--proxy-cacert", write(directory, "front.pem", root.pem))


@each_scheme
async def test_a_password_in_the_proxys_url_opens_the_way(scheme: str, connect_mode: ConnectMode, tmp_path: Path) -> None:
    """As every HTTP_PROXY variable can hold one."""
    fetches = errands(tmp_path, scheme)
    async with shared(tmp_path, connect_mode) as stage:
        proxy = f"http://alice:open%20sesame@127.0.0.1:{stage.proxy.port}"
        outcome = await stage.run(curl(fetches, "--proxy", proxy))
        assert outcome.code == 0, outcome
        assert_answered(fetches)
        assert (await stage.proxy.connection())["user"] == "alice"


async def test_without_a_password_curl_shows_the_challenge(connect_mode: ConnectMode, tmp_path: Path) -> None:
    """The twin."""
    async with shared(tmp_path, connect_mode) as stage:
        outcome = await stage.run(["curl", "--verbose", small_fetch(tmp_path).url])
        assert outcome.code == COULD_NOT_CONNECT, outcome
        assert "< HTTP/1.1 407 " in outcome.stderr
        assert "< X-Pinproxy-Error: auth_required" in outcome.stderr


@each_scheme
async def test_a_password_travels_inside_tls(scheme: str, connect_mode: ConnectMode, tmp_path: Path) -> None:
    """`listen_tls` and `client_auth` together; with https, TLS in TLS."""
    fetches = errands(tmp_path, scheme)
    async with shared(tmp_path, connect_mode) as stage:
        options = (*speak_tls(stage, tmp_path), "--proxy-user", "alice:open sesame")
        outcome = await stage.run(curl(fetches, *options))
        assert outcome.code == 0, outcome
        assert_answered(fetches)


@each_scheme
async def test_a_certificate_opens_the_way(scheme: str, connect_mode: ConnectMode, tmp_path: Path) -> None:
    """`listen_tls.client_ca_file`, and nobody asks for a password."""
    fetches, clients = errands(tmp_path, scheme), make_root("Clients")
    client = make_client(clients)
    async with shared(tmp_path, connect_mode) as stage:
        stage.proxy.server.ask_clients({})
        options = (
            *speak_tls(stage, tmp_path, clients),
            *("--proxy-cert", write(tmp_path, "client.pem", client.pem)),
            *("--proxy-key", write(tmp_path, "client.key", client.key_pem)),
        )
        outcome = await stage.run(curl(fetches, *options))
        assert outcome.code == 0, outcome
        assert_answered(fetches)


async def test_without_a_certificate_nobody_gets_as_far_as_a_request(connect_mode: ConnectMode, tmp_path: Path) -> None:
    """The twin."""
    async with shared(tmp_path, connect_mode) as stage:
        stage.proxy.server.ask_clients({})
        outcome = await stage.run(curl(errands(tmp_path), *speak_tls(stage, tmp_path, make_root("Clients"))))
        assert outcome.code != 0, outcome
        line = await stage.proxy.connection()
        assert (line["code"], line["method"]) == ("client_tls_failed", None)
