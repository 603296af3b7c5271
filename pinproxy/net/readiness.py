"""Waiting for a non-blocking socket."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from functools import partial
from typing import Protocol

from pinproxy.net.watch import watch_of_loop

_NEWS = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET


class HasDescriptor(Protocol):
    """A socket, or anything else that an event loop can wait for."""

    def fileno(self) -> int:
        """Return the descriptor."""


async def wait_readable(sock: HasDescriptor) -> None:
    """Wait until a read would not block. Nobody else may read this socket meanwhile."""
    watch, descriptor = watch_of_loop(), sock.fileno()
    ready = watch.loop.create_future()
    watch.add_reader(descriptor, partial(_wake, ready))
    try:
        await ready
    finally:
        watch.remove_reader(descriptor)


async def wait_writable(sock: socket.socket) -> None:
    """Wait until a write would not block. Nobody else may write this socket meanwhile."""
    watch, descriptor = watch_of_loop(), sock.fileno()
    ready = watch.loop.create_future()
    watch.add_writer(descriptor, partial(_wake, ready))
    try:
        await ready
    finally:
        watch.remove_writer(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def connect_socket(sock: socket.socket, address: tuple[str | int, ...]) -> None:
    """Connect a non-blocking socket to an address of its family, as `getaddrinfo` gives it; no name is looked up.

    Raises:
        OSError: Nobody there, by the kernel's own number.
    """
    error = sock.connect_ex(address)
    if error == errno.EINPROGRESS:
        # A neighbour has answered before the call returns; the event loop need not be asked.
        if not _is_ready(sock, select.POLLOUT):
            await wait_writable(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send every byte on a non-blocking socket."""
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            await wait_writable(sock)


class Arrivals:
    """Tells when something arrives behind bytes that stay unread; the socket itself only tells that there are some.

    Each arrival, and the peer's end, is an edge of epoll(7). SO_RCVLOWAT would say the same of TCP, but UNIX sockets know
    nothing of it, and of TCP it changes the window. What is there at the beginning counts as an arrival, too.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Begin to listen for news of a socket; `close` it afterwards."""
        self._epoll = select.epoll()
        self._epoll.register(sock, _NEWS)

    async def wait(self) -> None:
        """Wait for the next arrival, or for one that came since the last wait."""
        while not self._epoll.poll(0):
            await wait_readable(self._epoll)

    def close(self) -> None:
        """Listen no longer."""
        self._epoll.close()


def has_peer_ended(sock: socket.socket) -> bool:
    """Tell whether the peer has ended its direction, also while what it said before is still unread."""
    return _is_ready(sock, select.POLLRDHUP)


def _is_ready(sock: socket.socket, events: int) -> bool:
    poll = select.poll()
    poll.register(sock, events)
    return bool(poll.poll(0))
