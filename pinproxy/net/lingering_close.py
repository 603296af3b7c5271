"""Closing after a last word: the peer gets to read it before the connection goes.

> RFC 9112 §9.6: If a server performs an immediate close of a TCP connection, there is a significant risk that the client will not
> be able to read the last HTTP response. … To avoid the TCP reset problem, servers typically close a connection in stages. First,
> the server performs a half-close by closing only the write side of the read/write connection. The server then continues to read
> from the connection until it receives a corresponding close by the client, or until the server is reasonably certain that its
> own TCP stack has received the client's acknowledgement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from pinproxy.net.transport import SocketTransport

# nginx' lingering_timeout. How many bytes of an unread upload come in that time does not matter: they are only discarded.
_LINGER_SECONDS = 5.0
# nginx' send_timeout: how long a reader may take nothing of what is still held for it.
_STALLED_TICKS = 12


class LingeringClose(asyncio.Protocol):
    """Takes over a transport after its last write: ends our direction, discards what still comes, closes."""

    def __init__(self, closed: Callable[[], None], linger_seconds: float = _LINGER_SECONDS) -> None:
        """Prepare to close.

        Args:
            closed: Called when the connection is gone.
            linger_seconds: How long to wait for the peer's close once everything is sent; a peer that takes nothing of what is
                held is given up after twelve times as much.
        """
        self._closed = closed
        self._linger_seconds = linger_seconds
        self._held_bytes = 0
        self._stalled_ticks = 0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: SocketTransport

    def take_over(self, transport: SocketTransport) -> None:
        """Begin."""
        self._transport = transport
        transport.set_protocol(self)
        if transport.has_read_eof:
            transport.close()
        else:
            transport.write_eof()
            transport.resume_reading()
        self._wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin on a transport that was made for this."""
        self._transport = cast("SocketTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Discard."""

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

    def _wait(self) -> None:
        self._held_bytes = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(self._linger_seconds, self._tick)

    def _tick(self) -> None:
        held = self._transport.get_write_buffer_size()
        self._stalled_ticks = self._stalled_ticks + 1 if held == self._held_bytes else 0
        if not held:
            # Not cut: what the kernel holds for a slow reader still goes out.
            self._transport.close()
        elif self._stalled_ticks >= _STALLED_TICKS:
            self._transport.abort()
        else:
            self._wait()
