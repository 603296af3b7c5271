"""A new table and the tunnels that are open: closed if it denies them, kept if it does not."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable
from tests.harness.clients import connect, finish_handshake, get_head, hello_and_rest, open_intercepted, open_tunnel, read_head
from tests.harness.origin import Origin
from tests.harness.pki import Issued, make_intermediate, make_leaf, make_root, server_context
from tests.harness.running import HOST, host_rule
from tests.harness.scene import origin_and_proxy
from tests.harness.tunnelling import refused_code

#     ROOT
#      └─ INTERMEDIATE
#          └─ LEAF
ROOT = make_root()
INTERMEDIATE = make_intermediate(ROOT)
LEAF, OTHER = make_leaf(INTERMEDIATE, HOST), make_leaf(INTERMEDIATE, HOST)
CONTEXT = server_context(LEAF)
in_thread = asyncio.to_thread


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say everything back."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def pinning(origin: Origin, *pinned: Issued, **further: Any) -> HostRule:
    """Make a rule of its own identity."""
    return host_rule([item.pin for item in pinned], ROOT.anchors, port=origin.port, **further)


def speak(tls: ssl.SSLSocket, word: bytes) -> bytes:
    """Say a word and hear its echo."""
    tls.sendall(word)
    return tls.recv(len(word))


def is_cut(tls: ssl.SSLSocket) -> bool:
    """Wait for the end of a tunnel, and tell whether it was a cut."""
    try:
        tls.recv(1)
    except (ssl.SSLEOFError, ConnectionResetError):
        return True
    return False


DENYING: dict[str, tuple[tuple[Issued, ...], dict[str, Any]]] = {
    "other pins": ((OTHER,), {}),
    "other pins for this port": ((OTHER,), {"ports": frozenset({443})}),
    "higher min_tls": ((LEAF,), {"min_tls": "1.3"}),
    "another port": ((LEAF,), {"ports": frozenset({8443})}),
}
ALLOWING: dict[str, tuple[tuple[Issued, ...], dict[str, Any]]] = {
    "the same": ((LEAF,), {}),
    "a pin more": ((LEAF, OTHER), {}),
    "another pin of the same chain": ((INTERMEDIATE,), {}),
    "report-only, other pins": ((OTHER,), {"mode": "report-only"}),
    "a pattern around it": ((LEAF,), {"host": "**.example.test"}),
}


@pytest.mark.attack(
    "pins are changed while tunnels and requests under the old ones are open",
    expect="cut",
    topic="faults",
    motive="CVE-2022-21654; OkHttp rebuilds its client",
)
@pytest.mark.parametrize(("pinned", "further"), DENYING.values(), ids=DENYING.keys())
async def test_a_tunnel_that_the_new_table_denies_is_cut_at_once(pinned: tuple[Issued, ...], further: dict[str, Any]) -> None:
    """Both ends see a cut; the log has the reason."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, echo) as (origin, proxy):
        with await in_thread(open_intercepted, proxy) as tls:
            assert await in_thread(speak, tls, b"before") == b"before"
            proxy.server.swap(PolicyTable((pinning(origin, *pinned, **further),)))
            assert await in_thread(is_cut, tls)
        await origin.quiet()
        line = await proxy.connection()
        assert line["code"] == ("pin_mismatch" if pinned == (OTHER,) else "host_not_listed")
        assert (line["decision"], bytes(origin.received)) == ("deny", b"before")


async def test_a_tunnel_to_a_host_that_was_taken_away_is_cut_at_once() -> None:
    """No rule, no tunnel."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, echo) as (origin, proxy):
        with await in_thread(open_intercepted, proxy) as tls:
            assert await in_thread(speak, tls, b"before") == b"before"
            proxy.server.swap(PolicyTable(()))
            assert await in_thread(is_cut, tls)
        await origin.quiet()
        assert (await proxy.connection())["code"] == "host_not_listed"


@pytest.mark.parametrize(("pinned", "further"), ALLOWING.values(), ids=ALLOWING.keys())
async def test_a_tunnel_that_the_new_table_allows_is_kept(pinned: tuple[Issued, ...], further: dict[str, Any]) -> None:
    """The twins: what would be allowed if it were opened now goes on, and its end is an orderly one."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, echo) as (origin, proxy):
        with await in_thread(open_intercepted, proxy) as tls:
            assert await in_thread(speak, tls, b"before") == b"before"
            proxy.server.swap(PolicyTable((pinning(origin, *pinned, **further),)))
            assert await in_thread(speak, tls, b"after") == b"after"
            await in_thread(tls.unwrap)
        line = await proxy.connection()
        assert (line["code"], line["decision"]) == (None, "allow")


# --- the grace ---------------------------------------------------------------------------------------------------------


async def test_a_denied_tunnel_lives_for_the_grace_and_no_longer() -> None:
    """`eviction_grace`: time to finish, and then the cut."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, echo, eviction_grace_seconds=0.3) as (origin, proxy):
        with await in_thread(open_intercepted, proxy) as tls:
            loop = asyncio.get_running_loop()
            swapped = loop.time()
            proxy.server.swap(PolicyTable((pinning(origin, OTHER),)))
            assert await in_thread(speak, tls, b"still here") == b"still here"
            assert await in_thread(is_cut, tls)
            assert loop.time() - swapped >= 0.29
        assert (await proxy.connection())["code"] == "pin_mismatch"


async def test_a_tunnel_that_is_allowed_again_within_the_grace_is_kept() -> None:
    """The twin: the mistake in the configuration was undone in time."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, echo, eviction_grace_seconds=0.2) as (origin, proxy):
        with await in_thread(open_intercepted, proxy) as tls:
            loop = asyncio.get_running_loop()
            past_the_grace = loop.create_future()
            proxy.server.swap(PolicyTable((pinning(origin, OTHER),)))
            proxy.server.swap(PolicyTable((pinning(origin, LEAF),)))
            loop.call_later(0.3, past_the_grace.set_result, None)
            await past_the_grace
            assert await in_thread(speak, tls, b"still here") == b"still here"
            await in_thread(tls.unwrap)
        assert (await proxy.connection())["code"] is None


# --- a tunnel that is only half there ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pinned", [OTHER, LEAF], ids=["denied", "allowed"])
async def test_a_tunnel_whose_client_is_still_shaking_hands_meets_the_new_table_too(pinned: Issued) -> None:
    """The 200 was said under the old table; the first byte would go up under the new one."""
    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, echo) as (origin, proxy):
        with await in_thread(open_tunnel, proxy) as client:
            proxy.server.swap(PolicyTable((pinning(origin, pinned),)))

            def talk() -> bytes:
                hello, tls, incoming, outgoing = hello_and_rest(proxy.client_context(("h2", "http/1.1")), HOST)
                client.sendall(hello)
                finish_handshake(client, tls, incoming, outgoing)
                tls.write(b"word")
                client.sendall(outgoing.read())
                while data := client.recv(65536):
                    incoming.write(data)
                    try:
                        return tls.read(4)
                    except ssl.SSLWantReadError:
                        continue
                return b""

            try:
                heard = await in_thread(talk)
            except ConnectionError:
                heard = b""
        line = await proxy.connection()
        await origin.quiet()
        if pinned is LEAF:
            assert (heard, bytes(origin.received)) == (b"word", b"word")
        else:
            assert (heard, bytes(origin.received), line["code"]) == (b"", b"", "pin_mismatch")


UPGRADE = get_head(f"http://{HOST}/chat", further="Connection: Upgrade\r\nUpgrade: websocket\r\n")


@pytest.mark.parametrize("pinned", [OTHER, LEAF], ids=["denied", "allowed"])
async def test_an_upgrade_that_is_still_being_answered_meets_the_new_table_too(pinned: Issued) -> None:
    """The request went up under the old table; what follows its 101 is a tunnel, and begins under the new one."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def switches(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await go_on.wait()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await echo(reader, writer)

    async with origin_and_proxy(CONTEXT, [LEAF.pin], ROOT.anchors, switches) as (origin, proxy):

        def talk() -> bytes:
            with connect(proxy) as client:
                client.sendall(UPGRADE + b"frame")
                try:
                    assert read_head(client).startswith(b"HTTP/1.1 101 ")
                    return client.recv(5)
                except (EOFError, ConnectionError):
                    return b""

        talking = asyncio.create_task(in_thread(talk))
        await asked.wait()
        proxy.server.swap(PolicyTable((pinning(origin, pinned),)))
        go_on.set()
        heard = await talking
        await origin.quiet()
        code = (await proxy.connection())["code"]
        if pinned is LEAF:
            assert (heard, bytes(origin.received).endswith(b"\r\n\r\nframe")) == (b"frame", True)
        else:
            assert (heard, bytes(origin.received).endswith(b"\r\n\r\n"), code) == (b"", True, "pin_mismatch")


@pytest.mark.parametrize(
    ("after", "further", "code"),
    [
        (LEAF, {"connect": "tunnel", "tls13": "preflight"}, None),
        (OTHER, {"connect": "tunnel", "tls13": "preflight"}, "pin_mismatch"),
        (LEAF, {}, "host_not_listed"),
    ],
    ids=["good", "bad again", "no tunnel any more"],
)
async def test_a_preflight_that_a_reload_overtakes_is_made_again(
    after: Issued, further: dict[str, Any], code: str | None
) -> None:
    """The table is swapped while the origin's handshake hangs: that the old pins were not met counts for nothing."""
    gate = asyncio.Event()
    async with origin_and_proxy(CONTEXT, [OTHER.pin], ROOT.anchors, gate=gate, connect="tunnel", tls13="refuse") as (
        origin,
        proxy,
    ):
        asking = asyncio.create_task(refused_code(proxy))
        await origin.accepted()
        proxy.server.swap(PolicyTable((pinning(origin, after, **further),)))
        gate.set()
        assert await asking == (200 if code is None else 403, code)
