"""How a client's visit ends where its story does not: whose fault the log calls it, and what a stop does to a last word."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pinproxy.errors import HostNotListed
from pinproxy.limits import Limits
from pinproxy.net.client_words import tell_client
from pinproxy.proxy import visit
from pinproxy.proxy.http_reply import HTTP
from pinproxy.proxy.record import Record
from pinproxy.proxy.visit import Story, Visit, accept
from tests.harness.clients import connect, connect_head, read_answer
from tests.harness.running import RunningProxy, running_proxy
from tests.harness.socket_pairs import reset, socket_pair

in_thread = asyncio.to_thread


@contextlib.asynccontextmanager
async def visiting(story: Story) -> AsyncIterator[tuple[RunningProxy, socket.socket]]:
    """Let a story of the test's own serve a client; give its end of the connection."""
    with socket_pair(is_tls=False) as (ours, client):
        async with running_proxy() as proxy:
            accept(ours, "client", proxy.server._proxy, HTTP, story)
            yield proxy, client


async def test_an_operating_system_error_of_ours_is_not_called_the_clients() -> None:
    """Whatever nobody translated is a defect: internal_error, and a traceback in the log under the id that the client is told."""
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))

    async def story(visit: Visit) -> None:
        visit.record = Record(visit.proxy, visit.name, "none")
        raise OSError(28, "No space left on device")

    async with visiting(story) as (proxy, client):
        line = await proxy.connection()
        assert (line["code"], line["decision"], bool(line["detail"])) == ("internal_error", "deny", True)
        answer = await in_thread(read_answer, client)
        assert (answer.status, answer.code, answer.fields["x-pinproxy-id"]) == (500, "internal_error", line["id"])
    assert [problem["message"] for problem in problems] == [f"serving a client failed (id {line['id']})"]


async def test_an_error_of_the_clients_socket_is() -> None:
    """The twin: the client reset its connection, and we had something to tell it."""
    is_reset = asyncio.Event()

    async def story(visit: Visit) -> None:
        visit.record = Record(visit.proxy, visit.name, "none")
        await is_reset.wait()
        while True:
            await tell_client(visit.client, b"are you there?")
            await asyncio.sleep(0)

    async with visiting(story) as (proxy, client):
        reset(client)
        is_reset.set()
        assert (await proxy.connection())["code"] == "client_closed"


async def test_a_stop_ends_a_refusal_that_the_client_has_not_closed_yet() -> None:
    """It would linger for five seconds, and a stop waits for nobody."""

    async def story(visit: Visit) -> None:
        visit.record = Record(visit.proxy, visit.name, "none")
        raise HostNotListed("not today")

    async with visiting(story) as (proxy, client):
        assert (await in_thread(read_answer, client)).code == "host_not_listed"
        assert proxy.metrics.active == 1
        async with asyncio.timeout(2):
            await proxy.server.stop()
        assert proxy.metrics.active == 0


async def test_the_deadline_of_a_drain_ends_a_lingering_refusal() -> None:
    """The client reads its refusal, holds on to the connection, and is let go with the drain."""
    async with running_proxy(limits=Limits(drain_seconds=0.1)) as proxy:
        with await in_thread(connect, proxy) as client:
            client.sendall(connect_head())
            assert (await in_thread(read_answer, client)).code == "host_not_listed"
            async with asyncio.timeout(2):
                await proxy.server.drain()
            assert proxy.metrics.active == 0


async def test_a_drain_ends_with_the_last_client_that_reads_its_refusal() -> None:
    """The twin: whoever closes in time is waited for, and no longer."""
    async with running_proxy() as proxy:
        with await in_thread(connect, proxy) as client:
            client.sendall(connect_head())
            assert (await in_thread(read_answer, client)).code == "host_not_listed"
            draining = asyncio.create_task(proxy.server.drain())
            await asyncio.sleep(0)
            assert not draining.done()
            client.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(2):
                await draining


@pytest.mark.attack(
    "one connection more than limits.connections", expect="overloaded", topic="resources", motive="smokescreen (464b111)"
)
async def test_so_many_are_told_that_there_is_no_room_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lingers over a 503 holds a descriptor, too: beyond a burst of them the rest hear nothing. Then there is room again."""
    monkeypatch.setattr(visit, "_OVERLOAD_ANSWERS", 2)
    async with running_proxy(limits=Limits(connections=1)) as proxy, asyncio.timeout(5):
        with contextlib.ExitStack() as at_the_end:
            clients = [at_the_end.enter_context(await in_thread(connect, proxy)) for _ in range(4)]
            for told in clients[1:3]:
                assert (await in_thread(read_answer, told)).code == "overloaded"
            assert await in_thread(clients[3].recv, 1) == b""
        await proxy.server._proxy.live.wait_empty()
        with await in_thread(connect, proxy) as client:
            client.sendall(connect_head())
            assert (await in_thread(read_answer, client)).code == "host_not_listed"
