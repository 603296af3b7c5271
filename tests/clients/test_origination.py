"""Clients that speak plain HTTP to the proxy of their environment, which adds the TLS that the origin insists on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.stage import BROKEN_PROMISES, INTERCEPT, kept_promise, staged
from tests.clients.table import Client, assert_answered, curl, each_client, errands, small_fetch
from tests.harness.origin import answer_bodies, running_origin
from tests.harness.pki import server_context

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


def sends_http(client: Client) -> bool:
    """Choose clients."""
    return client.has_http_proxy


@each_client(where=sends_http)
async def test_plain_http_reaches_an_origin_that_speaks_only_tls(client: Client, tmp_path: Path, programs: Path) -> None:
    """`http://` to the proxy becomes verified TLS to the origin, and bodies arrive whole both ways."""
    promise, fetches = kept_promise(), errands(tmp_path, "http")
    async with (
        running_origin(server_context(promise.leaf, alpn=("h2", "http/1.1")), answer_bodies) as origin,
        staged(tmp_path, INTERCEPT, promise, origin.port) as stage,
    ):
        outcome = await stage.run(client.command(fetches, stage.trust, programs))
        assert outcome.code == 0, outcome
        assert_answered(fetches)
        await stage.proxy.connection(count=len(fetches))
        lines = await stage.assert_allowed("origination")
        assert [(line["method"], line["status"]) for line in lines] == [("GET", 200), ("GET", 200), ("POST", 200)]
        assert lines[1]["bytes_down"] == len(fetches[1].answer)


@pytest.mark.parametrize("code", BROKEN_PROMISES)
@each_client(where=lambda client: client.name in {"curl", "wget", "requests"})
async def test_plain_http_is_refused_where_the_origin_breaks_its_promise(
    client: Client, code: str, tmp_path: Path, programs: Path
) -> None:
    """The twin, with one thing changed at the origin: the request, credentials and all, stays on this side."""
    promise, fetch = BROKEN_PROMISES[code](), small_fetch(tmp_path, "http")
    async with (
        running_origin(server_context(promise.leaf), answer_bodies) as origin,
        staged(tmp_path, INTERCEPT, promise, origin.port) as stage,
    ):
        outcome = await stage.run(client.command([fetch], stage.trust, programs))
        assert outcome.code != 0, outcome
        await stage.assert_denied("origination", code)
        assert origin.connections > 0
        assert bytes(origin.received) == b""


@pytest.mark.needs_tool("curl")
@pytest.mark.parametrize("socks", [False, True], ids=["CONNECT", "SOCKS5"])
async def test_plain_http_may_come_through_a_way_that_was_opened_for_it(socks: bool, tmp_path: Path) -> None:
    """`CONNECT host:80`, as `fetch` of Node asks for `http://`; curl does so with --proxytunnel, and with every SOCKS proxy."""
    promise, fetches = kept_promise(), errands(tmp_path, "http")
    async with (
        running_origin(server_context(promise.leaf, alpn=("h2", "http/1.1")), answer_bodies) as origin,
        staged(tmp_path, INTERCEPT, promise, origin.port) as stage,
    ):
        way = ("--proxy", f"socks5h://127.0.0.1:{stage.proxy.port}") if socks else ("--proxytunnel",)
        outcome = await stage.run(curl(fetches, *way))
        assert outcome.code == 0, outcome
        assert_answered(fetches)
        await stage.proxy.connection(count=len(fetches))
        assert [line["method"] for line in await stage.assert_allowed("origination")] == ["GET", "GET", "POST"]
