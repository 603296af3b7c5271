"""What a transport holds while nothing moves: nothing that only a busy one needs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
from typing import ClassVar

import pytest

from pinproxy.net.transport import SocketTransport
from tests.harness.origin import body_of
from tests.harness.socket_pairs import Recorder, read_exactly, socket_pair

BUFFER_BYTES = 64 * 1024
LARGE = 8 * 2**20  # more than two sockets hold
CONNECTIONS = 8


class MallInfo(ctypes.Structure):
    """What glibc's allocator tells of itself (mallinfo2(3))."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def allocated_bytes() -> int:
    """Count the bytes that OpenSSL and others have allocated and not freed."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        pytest.skip("only glibc 2.33 and newer tells")
    library.mallinfo2.restype = MallInfo
    found = library.mallinfo2()
    return int(found.uordblks + found.hblkhd)


def carry_upstream(ours: socket.socket) -> tuple[SocketTransport, Recorder]:
    """Put a transport over the client's end of a TLS connection, as an upstream has it."""
    ours.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
    recorder = Recorder()
    transport = SocketTransport(ours, recorder, BUFFER_BYTES)
    transport.first_read = lambda: None
    return transport, recorder


async def test_an_upstream_that_has_sent_its_tickets_holds_no_buffer_for_them() -> None:
    """OpenSSL would keep 16 KiB for each connection that has answered once; nothing goes over the wire to free them."""
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(socket_pair(is_tls=True)) for _ in range(CONNECTIONS)]
        carried = [carry_upstream(client) for _, client in pairs]
        before = allocated_bytes()
        for server, _ in pairs:
            server.setblocking(True)  # noqa: FBT003 - the stdlib takes it by position only
            server.sendall(b"x")
        for _, recorder in carried:
            assert await recorder.until(size=1) == b"x"
        held = allocated_bytes() - before
        for server, _ in pairs:
            server.setblocking(False)  # noqa: FBT003 - the same
            with pytest.raises(BlockingIOError):
                socket.socket.recv(server, 1)
        for transport, _ in carried:
            transport.abort()
    assert held < CONNECTIONS * 4096


async def test_a_server_that_answers_early_does_not_disturb_what_is_being_sent() -> None:
    """Half a record is out, and OpenSSL takes nothing but its other half."""
    with socket_pair(is_tls=True) as (server, client):
        transport, recorder = carry_upstream(client)
        transport.write(body_of(LARGE))
        assert transport.get_write_buffer_size()
        server.setblocking(True)  # noqa: FBT003 - the stdlib takes it by position only
        server.sendall(b"x")
        assert await recorder.until(size=1) == b"x"
        assert await asyncio.to_thread(read_exactly, server, LARGE) == body_of(LARGE)
        transport.abort()


async def test_a_transport_has_a_backlog_of_its_own_only_while_it_holds_something() -> None:
    """An empty one takes 760 bytes, a fifth of an idle connection."""
    with socket_pair(is_tls=False) as (ours, peer):
        transport = SocketTransport(ours, Recorder(), BUFFER_BYTES)
        shared = transport._backlog
        transport.write(body_of(LARGE))
        assert transport._backlog is not shared
        assert await asyncio.to_thread(read_exactly, peer, LARGE) == body_of(LARGE)
        assert transport._backlog is shared
        transport.abort()
