"""Something goes wrong at each await of a client's story in turn: it fails closed, is told once, and leaves nothing behind.

::

    client --- await 1 --- await 2 --- … --- await n --- origin
                  ✗            ✗                 ✗            one of them in each run, until there are no more
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from pinproxy.limits import Limits
from tests.harness.clients import Answer, connect, connect_head, get_head, read_answer, start_tls
from tests.harness.faults import Awaits, Fault, our_tasks, watched_awaits
from tests.harness.origin import Origin, running_origin
from tests.harness.pki import Issued
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy
from tests.harness.socks5 import GREETING, NO_AUTHENTICATION, OPEN, read_exactly, socks_request
from tests.harness.tunnelling import BOTH, IMPOSTOR, LEAF, TLS12, client_context, open_descriptors, origin_context, tunnel_rule

SECRET = "what went wrong"


@dataclass(frozen=True)
class Run:
    """What became of one client.

    Attributes:
        at: The await at which something went wrong, from 1.
        answer: What it got; None: it was cut off.
        lines: Its connection lines.
        defects: Texts of the exceptions that were logged.
    """

    at: int
    answer: Answer | None
    lines: list[dict[str, Any]]
    defects: list[str]


@dataclass
class Stage:
    """A proxy in front of an origin, and a client that is about to ask.

    Attributes:
        way: How it asks.
        client: Its socket, once more: to leave by.
        defects: What the log got.
    """

    way: str
    origin: Origin
    proxy: RunningProxy
    awaits: Awaits
    client: socket.socket | None = None
    defects: list[dict[str, Any]] = field(default_factory=list)

    async def ask(self) -> Answer | None:
        """Ask for `/`; None where the connection was cut."""
        sock = await asyncio.to_thread(connect, self.proxy)
        with sock.dup() as self.client:
            try:
                return await asyncio.to_thread(self._talk, sock)
            except (OSError, EOFError):
                return None
            finally:
                sock.close()

    async def rest(self) -> None:
        """Wait until everything that was begun has ended."""
        async with asyncio.timeout(10):
            await self.proxy.server._proxy.live.wait_empty()
            await self.origin.quiet()
            while our_tasks():  # noqa: ASYNC110 - the end of a task of somebody else has no event to wait for
                await asyncio.sleep(0.001)
        for _ in range(3):  # both event loops close in the next round what was closed in the last
            await asyncio.sleep(0)

    def _talk(self, sock: socket.socket) -> Answer:
        with sock:
            if self.way == "origination":
                sock.sendall(get_head(f"http://{HOST}/", further="Connection: close\r\n"))
                return read_answer(sock)
            host, port = (HOST, 443) if self.way != "blind" else ("127.0.0.1", self.origin.port)
            if self.way == "socks5":
                sock.sendall(GREETING)
                assert_read(sock, NO_AUTHENTICATION)
                sock.sendall(socks_request(host))
                assert_read(sock, OPEN)
            else:
                sock.sendall(connect_head(host, port))
                answer = read_answer(sock)
                if answer.status != 200:
                    return answer
            if self.way in {"tunnel", "blind"}:
                context = client_context(TLS12)
                tls = context.wrap_socket(sock, server_hostname=HOST)
            else:
                tls = start_tls(sock, self.proxy)
            with tls:
                tls.sendall(get_head("/"))
                return read_answer(tls)


def assert_read(sock: socket.socket, expected: bytes) -> None:
    """Read an answer of SOCKS5.

    Raises:
        EOFError: It is another.
    """
    if read_exactly(sock, len(expected)) != expected:
        raise EOFError


@contextlib.asynccontextmanager
async def staged(way: str, leaf: Issued) -> AsyncIterator[Stage]:
    """Run both; nothing is kept from one client for the next, so that each has the same way to go."""
    limits = Limits(pool_idle_connections=0, session_seconds=0, allow_private=True)
    async with running_origin(origin_context(leaf, newest=TLS12)) as origin:
        rule = tunnel_rule(origin.port) if way == "tunnel" else host_rule([LEAF.pin], BOTH, port=origin.port)
        async with running_proxy(
            *([] if way == "blind" else [rule]), unlisted="allow", limits=limits, preflight_ttl_seconds=0.0
        ) as proxy:
            with watched_awaits() as awaits:
                stage = Stage(way, origin, proxy, awaits)
                asyncio.get_running_loop().set_exception_handler(lambda _loop, context: stage.defects.append(context))
                yield stage


async def runs(stage: Stage, fault: Fault) -> AsyncIterator[Run]:
    """Ask once for each await there is, and go wrong at it; the last run is the one in which nothing went wrong any more."""
    await stage.ask()
    await stage.rest()
    open_at_rest = open_descriptors("socket:")  # empty pipes are kept, some of them
    for at in itertools.count(1):
        stage.defects.clear()
        told = len(stage.proxy.connections)
        stage.awaits.fail(at, fault)
        answer = await stage.ask()
        await stage.rest()
        assert (our_tasks(), open_descriptors("socket:"), stage.proxy.metrics.active) == ([], open_at_rest, 0), (
            f"after await {at}"
        )
        yield Run(at, answer, stage.proxy.connections[told:], [str(defect["exception"]) for defect in stage.defects])
        if not stage.awaits.has_failed:
            assert at > 1
            return


def raised(kind: type[BaseException]) -> Callable[[Stage], Fault]:
    """Raise an error at the await."""
    return lambda _stage: lambda: kind(SECRET)


def client_leaves(stage: Stage) -> Fault:
    """Take the client away during the await."""
    return lambda: stage.client.shutdown(socket.SHUT_RDWR) if stage.client is not None else None


def origin_leaves(stage: Stage) -> Fault:
    """Take the origin away during the await."""
    return stage.origin.hang_up


FAULTS: dict[str, Callable[[Stage], Fault]] = {
    "a defect": raised(RuntimeError),
    "an error of the system": raised(ConnectionResetError),
    "a cancellation": raised(asyncio.CancelledError),
    "the client leaves": client_leaves,
    "the origin leaves": origin_leaves,
}
every_fault = pytest.mark.parametrize("fault", FAULTS)


@pytest.mark.attack(
    "an error, a cancellation, or a peer that leaves, at each await of a connection in turn",
    expect="cut",
    topic="faults",
    motive="CVE-2024-2379",
)
@every_fault
@pytest.mark.parametrize("way", ["origination", "interception", "tunnel", "socks5", "blind"])
async def test_whatever_goes_wrong_at_any_await_is_told_once_and_leaves_nothing_open(way: str, fault: str) -> None:
    """The client is served whole, refused with a code, or cut; there is one line, and a traceback for our own defects alone."""
    async with staged(way, LEAF) as stage:
        codes: list[str | None] = []
        async for run in runs(stage, FAULTS[fault](stage)):
            codes = [line["code"] for line in run.lines]
            if run.answer is not None and run.answer.status == 200:
                assert (run.answer.body, codes) == (b"GET / 0\n", [None])
                continue
            # A client that was cut off before a byte of it was read has asked for nothing that could be told.
            assert len(codes) == 1 or (fault, run.at, codes) == ("a cancellation", 1, [])
            assert run.answer is None or run.answer.code == codes[0]
            assert run.defects == [SECRET] * codes.count("internal_error")
            assert SECRET not in f"{run.answer} {run.lines}"
        assert codes == [None]
        gc.collect()
        assert stage.defects == []


@pytest.mark.attack(
    "an error, a cancellation, or a peer that leaves, at each await of a connection whose server is an impostor",
    expect=("pin_mismatch", "cut"),
    topic="faults",
    motive="CVE-2024-2379",
)
@every_fault
@pytest.mark.parametrize("way", ["origination", "interception", "tunnel", "socks5"])
async def test_nothing_that_goes_wrong_lets_a_byte_through_to_an_impostor(way: str, fault: str) -> None:
    """The error path is a path too: there is none on which the pins are not asked."""
    async with staged(way, IMPOSTOR) as stage:
        codes: list[str | None] = []
        async for run in runs(stage, FAULTS[fault](stage)):
            assert run.answer is None or run.answer.status != 200
            assert stage.origin.received == b""
            codes = [line["code"] for line in run.lines]
        assert codes == ["pin_mismatch"]
