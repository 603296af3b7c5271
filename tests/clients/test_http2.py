"""Clients that speak HTTP/2 with the origin, nginx here, through a proxy that mirrors ALPN and reads none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.nginx import running_nginx
from tests.clients.stage import ConnectMode, another_key, kept_promise, staged
from tests.clients.table import Client, assert_answered, each_client, errands, small_fetch
from tests.harness.origin import answer_bodies, running_origin

pytestmark = [pytest.mark.asyncio(loop_factories=["uvloop"]), pytest.mark.needs_tool("nginx")]


def speaks_http2(client: Client) -> bool:
    """Choose clients."""
    return client.has_http2


def speaks_http1(client: Client) -> bool:
    """Choose the others."""
    return not client.has_http2


@each_client(where=speaks_http2)
async def test_http2_is_spoken_where_both_ends_speak_it(
    client: Client, connect_mode: ConnectMode, tmp_path: Path, programs: Path
) -> None:
    """Client and origin agree on HTTP/2 as if the proxy were not there, for every request."""
    promise, fetches = kept_promise(), errands(tmp_path)
    async with (
        running_origin(None, answer_bodies) as origin,
        running_nginx(tmp_path, promise.leaf, origin.port) as port,
        staged(tmp_path, connect_mode, promise, port) as stage,
    ):
        outcome = await stage.run(client.command(fetches, stage.trust, programs))
        assert outcome.code == 0, outcome
        assert_answered(fetches)
        assert outcome.stdout.split() == ["2"] * len(fetches)
        lines = await stage.assert_allowed(connect_mode.name)
        assert {line["alpn"] for line in lines} <= connect_mode.shown("h2")


@each_client(where=speaks_http2)
async def test_a_broken_pin_denies_http2_too(client: Client, connect_mode: ConnectMode, tmp_path: Path, programs: Path) -> None:
    """The twin, with another key pinned: nginx has nothing to pass on."""
    promise, fetch = another_key(), small_fetch(tmp_path)
    async with (
        running_origin(None, answer_bodies) as origin,
        running_nginx(tmp_path, promise.leaf, origin.port) as port,
        staged(tmp_path, connect_mode, promise, port) as stage,
    ):
        outcome = await stage.run(client.command([fetch], stage.trust, programs))
        assert outcome.code != 0, outcome
        await stage.assert_denied(connect_mode.name, "pin_mismatch")
        assert bytes(origin.received) == b""


@each_client(where=speaks_http1)
async def test_a_client_without_http2_is_not_given_it(
    client: Client, connect_mode: ConnectMode, tmp_path: Path, programs: Path
) -> None:
    """An origin that prefers HTTP/2 answers as to the client's own offer: bytes are mirrored, never translated."""
    promise, fetches = kept_promise(), errands(tmp_path)
    async with (
        running_origin(None, answer_bodies) as origin,
        running_nginx(tmp_path, promise.leaf, origin.port) as port,
        staged(tmp_path, connect_mode, promise, port) as stage,
    ):
        outcome = await stage.run(client.command(fetches, stage.trust, programs))
        assert outcome.code == 0, outcome
        assert_answered(fetches)
        assert set(outcome.stdout.split()) <= {"1.1"}  # wget prints nothing
        lines = await stage.assert_allowed(connect_mode.name)
        assert {line["alpn"] for line in lines} <= {"http/1.1", None}
