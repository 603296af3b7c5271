"""News of a socket whose bytes stay unread."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from pinproxy.net.peek import peek_at_least
from pinproxy.net.readiness import Arrivals, has_peer_ended


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets; the first is ours, non-blocking."""
    if request.param == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            theirs = socket.create_connection(listener.getsockname())
            ours, _ = listener.accept()
    ours.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
    with ours, theirs:
        yield ours, theirs


async def test_each_arrival_is_told_once(pair: tuple[socket.socket, socket.socket]) -> None:
    """What is there and was told is no news any more; what comes behind it is."""
    ours, theirs = pair
    arrivals = Arrivals(ours)
    try:
        for _ in range(3):
            theirs.sendall(b"x")
            async with asyncio.timeout(5):
                await arrivals.wait()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await arrivals.wait()
        theirs.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(5):
            await arrivals.wait()
    finally:
        arrivals.close()


async def test_the_end_of_a_peer_is_seen_behind_what_it_said(pair: tuple[socket.socket, socket.socket]) -> None:
    """A read would only see the bytes before it."""
    ours, theirs = pair
    theirs.sendall(b"x")
    assert not has_peer_ended(ours)
    theirs.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(5):
        while not has_peer_ended(ours):  # loopback takes a moment  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.001)
    assert ours.recv(10) == b"x"


async def test_waiting_for_more_costs_nothing(pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow client must not keep the loop busy: one look for what is there, one for the news, and one for the rest."""
    ours, theirs = pair
    looks = 0
    poll = Arrivals.wait

    async def counted(arrivals: Arrivals) -> None:
        nonlocal looks
        looks += 1
        await poll(arrivals)

    monkeypatch.setattr(Arrivals, "wait", counted)
    theirs.sendall(b"CON")
    peeking = asyncio.create_task(peek_at_least(ours, 7))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.shield(peeking)
    assert looks == 2
    theirs.sendall(b"NECT ")
    assert await peeking == b"CONNECT "
    assert looks == 2
