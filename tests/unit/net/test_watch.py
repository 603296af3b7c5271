"""One epoll for all sockets: who is woken, and who no more."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from pinproxy.net.watch import Watch, watch_of_loop


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected TCP sockets; the first is ours, non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
    with ours, theirs:
        yield ours, theirs


async def turns(count: int = 5) -> None:
    """Let the loop run a few times."""
    for _ in range(count):
        await asyncio.sleep(0.001)


async def woken(event: asyncio.Event) -> None:
    """Wait for a wake-up."""
    async with asyncio.timeout(5):
        await event.wait()
    event.clear()


async def test_a_reader_is_told_until_nothing_is_left(pair: tuple[socket.socket, socket.socket]) -> None:
    """Level-triggered, as the event loop's own; who was removed is told nothing."""
    ours, theirs = pair
    watch, told = watch_of_loop(), asyncio.Event()
    watch.add_reader(ours.fileno(), told.set)
    await turns()
    assert not told.is_set()
    theirs.sendall(b"x")
    await woken(told)
    await woken(told)
    watch.remove_reader(ours.fileno())
    await turns()
    told.clear()
    await turns()
    assert not told.is_set()


async def test_reader_and_writer_of_one_socket_come_and_go_apart(pair: tuple[socket.socket, socket.socket]) -> None:
    """Removing one leaves the other; removing both, or one twice, is fine."""
    ours, theirs = pair
    watch, readable, writable = watch_of_loop(), asyncio.Event(), asyncio.Event()
    watch.add_reader(ours.fileno(), readable.set)
    watch.add_writer(ours.fileno(), writable.set)
    await woken(writable)
    assert not readable.is_set()
    watch.remove_writer(ours.fileno())
    theirs.sendall(b"x")
    await woken(readable)
    watch.add_writer(ours.fileno(), writable.set)
    watch.remove_reader(ours.fileno())
    writable.clear()
    await woken(writable)
    for _ in range(2):
        watch.remove_writer(ours.fileno())
        watch.remove_reader(ours.fileno())


@pytest.mark.parametrize("side", ["reader", "writer"])
async def test_a_reset_is_told_to_whoever_waits(pair: tuple[socket.socket, socket.socket], side: str) -> None:
    """Again and again, until it was read: nobody can miss it."""
    ours, theirs = pair
    watch, told = watch_of_loop(), asyncio.Event()
    add = watch.add_reader if side == "reader" else watch.add_writer
    add(ours.fileno(), told.set)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    await woken(told)
    await woken(told)
    watch.remove_reader(ours.fileno())
    watch.remove_writer(ours.fileno())


async def test_one_that_was_removed_by_another_in_the_same_wake_is_not_told(pair: tuple[socket.socket, socket.socket]) -> None:
    """Its socket may be closed by then, and its number somebody else's."""
    ours, theirs = pair
    watch, told = watch_of_loop(), list[str]()
    done = asyncio.Event()

    def first_of(name: str, other: socket.socket, own: socket.socket) -> None:
        told.append(name)
        watch.remove_reader(other.fileno())
        watch.remove_reader(own.fileno())
        done.set()

    ours.send(b"x")
    theirs.sendall(b"x")
    watch.add_reader(ours.fileno(), lambda: first_of("ours", theirs, ours))
    watch.add_reader(theirs.fileno(), lambda: first_of("theirs", ours, theirs))
    await woken(done)
    await turns()
    assert len(told) == 1


async def test_a_callback_that_fails_keeps_nobody_waiting(pair: tuple[socket.socket, socket.socket]) -> None:
    """It is told to the loop; the others of the same wake are called."""
    ours, theirs = pair
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context["message"]))
    watch, called = watch_of_loop(), set[str]()
    done = asyncio.Event()

    def fail(name: str, sock: socket.socket) -> None:
        called.add(name)
        watch.remove_reader(sock.fileno())
        if len(called) == 2:
            done.set()
        raise RuntimeError("a defect")

    ours.send(b"x")
    theirs.sendall(b"x")
    watch.add_reader(ours.fileno(), lambda: fail("ours", ours))
    watch.add_reader(theirs.fileno(), lambda: fail("theirs", theirs))
    await woken(done)
    assert problems == ["a callback of a socket failed"] * 2


async def test_a_loop_has_one_watch_and_each_loop_its_own() -> None:
    """What waits in one loop is no business of another."""

    async def watch() -> Watch:
        return watch_of_loop()

    assert await watch() is watch_of_loop()
    assert await asyncio.to_thread(asyncio.run, watch()) is not watch_of_loop()


async def test_rounds_are_framed(pair: tuple[socket.socket, socket.socket]) -> None:
    """Before the first and behind the last who is called back; also where one of them fails."""
    ours, theirs = pair
    watch, heard, failed = watch_of_loop(), list[str](), asyncio.Event()
    watch.frame_rounds(lambda: heard.append("before"), lambda: heard.append("behind"))

    def read() -> None:
        watch.remove_reader(ours.fileno())
        heard.append("read")
        raise RuntimeError("a defect")

    asyncio.get_running_loop().set_exception_handler(lambda *_: failed.set())
    watch.add_reader(ours.fileno(), read)
    theirs.sendall(b"x")
    await woken(failed)
    await turns()
    assert heard == ["before", "read", "behind"]
