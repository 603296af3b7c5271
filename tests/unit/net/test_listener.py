"""A bound port, and the sockets that come in by it."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from typing import Any

import pytest

from pinproxy.authority import Authority
from pinproxy.errors import SettingsError
from pinproxy.net.listener import Listener

ANY_PORT = Authority("127.0.0.1", 0)


class Door:
    """Keeps what comes in."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.names: list[str] = []

    def __call__(self, client: socket.socket, name: str) -> None:
        """Let in."""
        self.names.append(name)
        self.came.put_nowait(client)

    async def next(self) -> socket.socket:
        """Wait for the next client."""
        async with asyncio.timeout(10):
            return await self.came.get()


def bound(listener: Listener) -> Authority:
    """Bind to a port."""
    address = listener.bind()
    assert isinstance(address, Authority)
    return address


async def test_clients_come_in_ready_for_use() -> None:
    """Non-blocking, without Nagle's delay, watched by keep-alive; and unread."""
    door = Door()
    listener = Listener(ANY_PORT, door)
    address = bound(listener)
    assert address.port > 0
    listener.start()
    with socket.create_connection((address.host, address.port)) as client:
        client.sendall(b"first")
        with await door.next() as came:
            assert came.gettimeout() == 0.0
            assert came.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert came.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert came.getpeername() == client.getsockname()
            assert door.names == [f"127.0.0.1:{client.getsockname()[1]}"]
            assert not os.get_inheritable(came.fileno())
    listener.close()


async def test_nobody_comes_in_before_the_start_and_after_the_close() -> None:
    """Bound is not yet open: every address is bound before any is served."""
    door = Door()
    listener = Listener(ANY_PORT, door)
    address = bound(listener)
    with socket.create_connection((address.host, address.port)):
        await asyncio.sleep(0)
        assert door.came.empty()
        listener.start()
        (await door.next()).close()
    listener.close()
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.host, address.port)).close()


async def test_a_burst_of_clients_comes_in_whole() -> None:
    """More than are taken at one wake-up."""
    door = Door()
    listener = Listener(ANY_PORT, door)
    address = bound(listener)
    clients = [socket.create_connection((address.host, address.port)) for _ in range(100)]
    listener.start()
    for _ in clients:
        (await door.next()).close()
    for client in clients:
        client.close()
    listener.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"], ids=["taken", "not ours"])
async def test_an_address_that_cannot_be_bound_is_an_error_of_the_configuration(host: str) -> None:
    """It names the address; 192.0.2.1 is for documentation, and no machine has it."""
    first = Listener(ANY_PORT, Door())
    port = bound(first).port
    second = Listener(Authority(host, port), Door())
    with pytest.raises(SettingsError, match=f"cannot listen on {host}:{port}"):
        second.bind()
    first.close()
    second.close()


async def test_a_port_can_be_bound_again_at_once() -> None:
    """A restart does not wait for the connections of the process before."""
    door = Door()
    listener = Listener(ANY_PORT, door)
    address = bound(listener)
    listener.start()
    with socket.create_connection((address.host, address.port)):
        (await door.next()).close()
    listener.close()
    again = Listener(address, door)
    assert bound(again) == address
    again.close()


@pytest.mark.attack(
    "no descriptor is left to accept with", expect="bound", topic="resources", motive="EMFILE; asyncio waits a second"
)
async def test_without_descriptors_accepting_pauses_and_goes_on_afterwards() -> None:
    """EMFILE leaves the client in the backlog, where a listener that is always readable would spin; it says so once."""
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.put_nowait(context))
    door = Door()
    listener = Listener(ANY_PORT, door)
    address = bound(listener)
    with socket.socket() as client:
        client.connect((address.host, address.port))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        probe = os.open(os.devnull, os.O_RDONLY)
        os.close(probe)  # the lowest free number: with it as the limit, no descriptor can be had
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
        try:
            listener.start()
            async with asyncio.timeout(5):
                first = await told.get()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert door.came.empty()
        (await door.next()).close()
    assert (first["message"], told.qsize()) == ("accepting is paused: no descriptors left", 0)
    listener.close()
