"""Waiting for a non-blocking socket, as the event loop's own readers and writers do it."""

from __future__ import annotations

import asyncio
import socket


async def wait_readable(sock: socket.socket) -> None:
    """Wait until a read would not block. Nobody else may read this socket meanwhile."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock.fileno(), _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())


async def wait_writable(sock: socket.socket) -> None:
    """Wait until a write would not block. Nobody else may write this socket meanwhile."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(sock.fileno(), _wake, ready)
    try:
        await ready
    finally:
        loop.remove_writer(sock.fileno())


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send every byte on a non-blocking socket."""
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            await wait_writable(sock)
