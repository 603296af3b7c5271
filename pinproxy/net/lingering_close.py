"""Closing after a last word: the peer gets to read it before the connection goes.

> RFC 9112 §9.6: If a server performs an immediate close of a TCP connection, there is a significant risk that the client will not
> be able to read the last HTTP response. … the server … closes … in stages: first, the write side …, then reads until it
> receives a corresponding close by the client, or until the server is reasonably certain that its own TCP stack has received the
> client's acknowledgement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from pinproxy.net.transport import SocketTransport

_LINGER_SECONDS = 2.0  # nginx' lingering_timeout is 5 s; a client beside us needs less
_LINGER_BYTES = 1024 * 1024  # of an unread request body; more is cut off


class LingeringClose(asyncio.Protocol):
    """Takes over a transport after its last write: ends our direction, discards what still comes, closes."""

    def __init__(self, closed: Callable[[], None]) -> None:
        """Call `closed` when the connection is gone."""
        self._closed = closed
        self._discarded_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: SocketTransport

    def take_over(self, transport: SocketTransport) -> None:
        """Begin."""
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(_LINGER_SECONDS, transport.abort)
        transport.set_protocol(self)
        transport.write_eof()
        transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin on a transport that was made for this."""
        self._transport = cast("SocketTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Discard."""
        self._discarded_bytes += len(data)
        if self._discarded_bytes > _LINGER_BYTES:
            self._transport.abort()

    def eof_received(self) -> None:
        """Close: the client has read it, or will not."""

    def pause_writing(self) -> None:
        """Nothing is written any more."""

    def resume_writing(self) -> None:
        """Nothing is written any more."""

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - how it ended no longer matters
        """Tell the owner."""
        if self._timer is not None:
            self._timer.cancel()
        self._closed()
