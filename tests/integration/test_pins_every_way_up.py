"""Every path on which a connection to a server can come about, tried with an impostor: a valid certificate and another key.

`test_pins_one_way_up.py` says from the source that there is one way up; here its branches are walked. More of them are tried
where they live: the retry (test_origination_retry.py), the redial for ALPN (test_interception_mirrors_alpn.py), the upstream
proxy, routes, and SOCKS5 (in the files of these names).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import pytest

from pinproxy.tls.alert import AlertDescription, alert
from tests.harness.clients import Answer, connect, get_head, read_answer
from tests.harness.origin import running_origin
from tests.harness.pki import Issued
from tests.harness.running import HOST, host_rule, running_proxy
from tests.harness.tunnelling import (
    BOTH,
    IMPOSTOR,
    LEAF,
    TLS12,
    client_context,
    client_hello,
    fetch,
    hear,
    origin_context,
    running_go_between,
    tunnel_rule,
    two_faced,
)

UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
WAYS_UP: dict[str, tuple[Sequence[str], str]] = {
    "by name": (["127.0.0.1"], ""),
    "the second address": (["127.0.0.3", "127.0.0.1"], ""),  # nobody listens on the first
    "IPv6": (["::1"], ""),
    "IPv4 where IPv6 refuses": (["::1", "127.0.0.1"], ""),
    "Upgrade": (["127.0.0.1"], UPGRADE),
    "a connection of its own": (["127.0.0.1"], "Connection: close\r\n"),
}


@contextlib.asynccontextmanager
async def reachable_at(addresses: Sequence[str], port: int) -> AsyncIterator[int]:
    """Lead to a port of 127.0.0.1 from IPv6 where that is the only family; yields the port to ask for."""
    if list(addresses) != ["::1"]:
        yield port
        return
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with running_go_between(lambda _first: port, listen="::1") as leading:
        yield leading


@pytest.mark.attack(
    "a path up without the check: the second address of a name, the other family, a WebSocket, a connection of its own",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2024-2379, CVE-2025-5025",
)
@pytest.mark.parametrize(
    ("leaf", "status", "code"), [(IMPOSTOR, 403, "pin_mismatch"), (LEAF, 200, None)], ids=["impostor", "true"]
)
@pytest.mark.parametrize(("addresses", "further"), WAYS_UP.values(), ids=WAYS_UP.keys())
async def test_an_impostor_is_denied_however_it_was_reached(
    addresses: Sequence[str], further: str, leaf: Issued, status: int, code: str | None
) -> None:
    """Not one byte of the request; the twin shows the pinned key, and is served on the same way."""
    async with (
        running_origin(origin_context(leaf)) as origin,
        reachable_at(addresses, origin.port) as port,
        running_proxy(host_rule([LEAF.pin], BOTH), addresses={HOST: addresses}) as proxy,
    ):

        def ask() -> Answer:
            with connect(proxy) as sock:
                sock.sendall(get_head(f"http://{HOST}:{port}/", f"{HOST}:{port}", further=further))
                return read_answer(sock)

        answer = await asyncio.to_thread(ask)
        assert (answer.status, answer.code) == (status, code)
        assert (await proxy.connection())["code"] == code
        if code is not None:
            await origin.quiet()
        assert bool(origin.received) is (code is None)


@pytest.mark.attack(
    "a path up without the check: the next connection of a client whose first one was verified",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2025-13034",
)
async def test_the_next_connection_is_verified_like_the_one_before() -> None:
    """The client's connection stays, the origin's does not; whoever answers then was never looked at."""
    contexts = two_faced(origin_context(LEAF), origin_context(IMPOSTOR))

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with (
        running_origin(contexts, once) as origin,
        running_proxy(host_rule([LEAF.pin], BOTH, port=origin.port)) as proxy,
    ):

        def ask_twice() -> list[tuple[int, str | None]]:
            answers = []
            with connect(proxy) as sock:
                for path in ("first", "second"):
                    sock.sendall(get_head(f"http://{HOST}/{path}"))
                    answer = read_answer(sock)
                    answers.append((answer.status, answer.code))
            return answers

        assert await asyncio.to_thread(ask_twice) == [(200, None), (403, "pin_mismatch")]
        await origin.quiet()
        assert (b"GET /first" in origin.received, b"second" in origin.received) == (True, False)


@pytest.mark.attack(
    "a path up without the check: a tunnel whose preflight was answered from the cache",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2025-13034",
)
async def test_a_preflight_that_was_remembered_vouches_for_no_other_certificate() -> None:
    """The first tunnel is honest; within `preflight_ttl` the server is another one, and no preflight is made."""
    contexts = [origin_context(LEAF, newest=TLS12), origin_context(IMPOSTOR, newest=TLS12)]
    async with (
        running_origin(lambda number: contexts[number > 1]) as origin,
        running_proxy(tunnel_rule(origin.port)) as proxy,
    ):
        assert (await fetch(proxy, client_context(TLS12))).body == b"GET / 0\n"
        received = bytes(origin.received)
        heard = await hear(proxy, client_hello(client_context(TLS12)))
        assert heard == alert(AlertDescription.BAD_CERTIFICATE)
        assert (await proxy.connection(count=2))["code"] == "pin_mismatch"
        await origin.quiet()
        assert bytes(origin.received) == received
