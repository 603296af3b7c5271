"""A reload while a tunnel is open, or about to be: what it rests on is held against the new rules."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pinproxy.limits import Limits
from pinproxy.policy.table import PolicyTable, Unlisted
from tests.harness.clients import open_tunnel
from tests.harness.origin import running_origin
from tests.harness.running import HOST, running_proxy
from tests.harness.tunnelling import (
    LEAF,
    SECOND,
    TLS12,
    HandClient,
    client_context,
    on_tunnel,
    opened,
    origin_context,
    tunnel_rule,
    tunnelling,
)

ADDRESS = "127.0.0.1"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"pins": [SECOND.pin]}, "pin_mismatch"),
        ({"connect": "intercept", "tls13": None}, "host_not_listed"),
        ({"min_tls": "1.3"}, "host_not_listed"),
        ({"pins": [SECOND.pin, LEAF.pin]}, None),
        ({}, None),
    ],
    ids=["other pins", "other way", "other version", "more pins", "nothing"],
)
async def test_an_open_tunnel_lives_on_only_if_the_new_table_would_let_it_begin(change: dict[str, Any], code: str | None) -> None:
    """What it rests on is held against the new rule: the chain of its own wire."""
    async with tunnelling() as stage, opened(stage) as (sock, client):
        stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port, **change),)))
        if code is None:
            assert await asyncio.to_thread(client.finish, sock, "/again") == b"GET /again 0\n"
            return
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(sock.recv, 1)
        assert (await stage.proxy.connection())["code"] == code


async def test_the_chain_of_the_wire_and_not_that_of_the_preflight_is_held_against_new_pins() -> None:
    """Two servers behind one address: the tunnel leads to the second, the preflight found the first."""
    contexts = [origin_context(leaf, newest=TLS12) for leaf in (LEAF, SECOND, SECOND)]
    for kept, goes_on in ((SECOND, True), (LEAF, False)):
        client = HandClient(client_context(TLS12))
        async with (
            running_origin(lambda number: contexts[min(number, 2)]) as origin,
            running_proxy(tunnel_rule(origin.port, pins=[LEAF.pin, SECOND.pin])) as proxy,
        ):
            with await asyncio.to_thread(open_tunnel, proxy) as sock:
                sock.sendall(client.hello)
                assert await asyncio.to_thread(client.finish, sock) == b"GET / 0\n"
                proxy.server.swap(PolicyTable((tunnel_rule(origin.port, pins=[kept.pin]),)))
                if goes_on:
                    assert await asyncio.to_thread(client.finish, sock) == b"GET / 0\n"
                else:
                    with pytest.raises(ConnectionResetError):
                        await asyncio.to_thread(sock.recv, 1)


@pytest.mark.attack(
    "pins are changed between a preflight and the verdict on the wire",
    expect="pin_mismatch",
    topic="faults",
    motive="CVE-2022-21654",
)
async def test_a_reload_between_the_preflight_and_the_verdict_counts() -> None:
    """The rule that let the tunnel begin is gone by the time it is verified: not one byte of data passes."""
    holds = asyncio.Event()

    def hold(flight: bytes) -> bytes:
        holds.set()
        return flight

    async with tunnelling(edit=on_tunnel(hold)) as stage:
        with await asyncio.to_thread(open_tunnel, stage.proxy) as sock:
            stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port, pins=[SECOND.pin]),)))
            client = HandClient(client_context(TLS12))
            sock.sendall(client.hello)
            with pytest.raises((ConnectionResetError, EOFError, BrokenPipeError)):
                await asyncio.to_thread(client.finish, sock)
        assert holds.is_set()
        assert (await stage.proxy.connection())["code"] == "pin_mismatch"
        await stage.origin.quiet()
        assert stage.origin.received == b""


async def test_an_evicted_tunnel_has_its_grace() -> None:
    """`eviction_grace`: time to finish what is in flight."""
    async with tunnelling(eviction_grace_seconds=0.3) as stage, opened(stage) as (sock, client):
        stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port, pins=[SECOND.pin]),)))
        assert await asyncio.to_thread(client.finish, sock, "/last") == b"GET /last 0\n"
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(sock.recv, 1)


@pytest.mark.parametrize(
    ("listed", "unlisted", "stays"),
    [("other.example.test", "allow", True), (HOST, "allow", False), ("other.example.test", "deny", False)],
    ids=["another is listed", "its name is listed", "nobody is allowed"],
)
async def test_a_blind_tunnel_ends_when_a_table_knows_better(listed: str, unlisted: Unlisted, *, stays: bool) -> None:
    """It was let in as nobody's; what its ClientHello named may be somebody's by now."""
    async with (
        running_origin(origin_context()) as origin,
        running_proxy(unlisted="allow", limits=Limits(allow_private=True)) as proxy,
    ):
        client = HandClient(client_context())
        with await asyncio.to_thread(open_tunnel, proxy, ADDRESS, origin.port) as sock:
            sock.sendall(client.hello)
            assert await asyncio.to_thread(client.finish, sock) == b"GET / 0\n"
            proxy.server.swap(PolicyTable((tunnel_rule(None, host=listed),), unlisted))
            if stays:
                assert await asyncio.to_thread(client.finish, sock) == b"GET / 0\n"
            else:
                with pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(sock.recv, 1)
                assert (await proxy.connection())["code"] == "host_not_listed"
