"""Unmodified clients, HTTPS_PROXY and the published roots: all goes through, or nothing does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.stage import BROKEN_PROMISES, ConnectMode, kept_promise, staged
from tests.clients.table import Client, assert_answered, each_client, errands, small_fetch
from tests.harness.origin import answer_bodies, running_origin
from tests.harness.pki import server_context

# The clients are the point here; test_curl.py sees to the other loop.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


@each_client()
async def test_a_pinned_origin_is_reached_and_bodies_arrive_whole(
    client: Client, connect_mode: ConnectMode, tmp_path: Path, programs: Path
) -> None:
    """A client that knows nothing of pins works as if it were alone with an origin that keeps its promise."""
    promise, fetches = kept_promise(), errands(tmp_path)
    async with (
        running_origin(server_context(promise.leaf, alpn=("http/1.1",)), answer_bodies) as origin,
        staged(tmp_path, connect_mode, promise, origin.port) as stage,
    ):
        outcome = await stage.run(client.command(fetches, stage.trust, programs))
        assert outcome.code == 0, outcome
        assert_answered(fetches)
        await stage.assert_allowed(connect_mode.name)
        assert origin.received.startswith(b"GET /")


@pytest.mark.parametrize("code", BROKEN_PROMISES)
@each_client()
async def test_an_origin_that_breaks_its_promise_gets_no_byte_and_the_client_fails(
    client: Client, code: str, connect_mode: ConnectMode, tmp_path: Path, programs: Path
) -> None:
    """The twin, with one thing changed at the origin: the client fails, the log says why, the origin got no application byte."""
    promise, fetch = BROKEN_PROMISES[code](), small_fetch(tmp_path)
    async with (
        running_origin(server_context(promise.leaf, alpn=("http/1.1",)), answer_bodies) as origin,
        staged(tmp_path, connect_mode, promise, origin.port) as stage,
    ):
        outcome = await stage.run(client.command([fetch], stage.trust, programs))
        assert outcome.code != 0, outcome
        await stage.assert_denied(connect_mode.name, code)
        assert origin.connections > 0
        assert bytes(origin.received) == b""
