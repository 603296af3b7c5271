"""Words to a client and from it, over the accepted socket itself: what fails here is the client's socket and nobody else's."""

from __future__ import annotations

import socket

from pinproxy.errors import ClientClosed
from pinproxy.net.readiness import send_all

_RESET = "the client reset the connection"


async def tell_client(client: socket.socket, words: bytes) -> None:
    """Send a client every byte.

    Raises:
        ClientClosed: It is gone.
    """
    try:
        await send_all(client, words)
    except OSError as error:
        raise ClientClosed(_RESET) from error


def take_from_client(client: socket.socket, count: int, flags: int = 0) -> bytes:
    """Take up to `count` bytes out of a client's socket; none: it has ended its direction.

    Raises:
        BlockingIOError: There are none now.
        ClientClosed: It is gone.
    """
    try:
        return client.recv(count, flags)
    except BlockingIOError:
        raise
    except OSError as error:
        raise ClientClosed(_RESET) from error
