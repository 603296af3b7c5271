"""One HTTP/1.1 connection to an origin: carries one exchange at a time, waits in the pool between two."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Protocol, cast

from pinproxy.authority import Authority
from pinproxy.errors import Refused
from pinproxy.http1.framing import Framing
from pinproxy.http1.head import Fields, ResponseHead
from pinproxy.http1.stream import End, ResponseReader
from pinproxy.net.transport import SocketTransport
from pinproxy.net.upstream import Upstream
from pinproxy.policy.rule import HostRule


class ResponseTaker(Protocol):
    """Who gets the response: the exchange in flight. It flushes by itself at the end of a response."""

    def take_response_head(self, head: ResponseHead, framing: Framing) -> None:
        """Take an interim or final head."""

    def take_response_body(self, data: bytes) -> None:
        """Take a piece of the body."""

    def take_response_end(self, trailers: Fields) -> None:
        """Take the end of the response."""

    def flush_response(self) -> None:
        """Hear that what was read is used up for now."""

    def upstream_failed(self, refusal: Refused) -> None:
        """Hear that what came is no response."""

    def upstream_lost(self, upstream: HttpUpstream, *, is_cut: bool) -> None:
        """Hear that the connection is gone before the response was whole."""

    def pause_request(self) -> None:
        """Send no more of the request for now."""

    def resume_request(self) -> None:
        """Send on."""


class HttpUpstream(asyncio.Protocol):
    """The origin's side of an exchange.

    Attributes:
        upstream: The verified TLS connection under it; None: plain TCP to an unlisted host.
        authority, rule, deadline: As the pool wants them.
        address: Where it leads, `host:port`.
        exchanges: How many exchanges it has begun.
        reader: Reads the responses.
    """

    def __init__(
        self,
        authority: Authority,
        address: str,
        upstream: Upstream | None,
        head_bytes: int,
        lost: Callable[[HttpUpstream], None],
    ) -> None:
        """Stand behind a transport that is about to be made.

        Args:
            authority: Where it leads.
            address: The address dialled.
            upstream: The verified connection, or None for plain TCP.
            head_bytes: Bound of a response head.
            lost: Called when the connection is gone.
        """
        self.authority = authority
        self.address = address
        self.upstream = upstream
        self.rule: HostRule | None = upstream.rule if upstream is not None else None
        self.deadline = float("inf")
        self.exchanges = 0
        self.reader = ResponseReader(head_bytes)
        self.transport: SocketTransport
        self._lost = lost
        self._taker: ResponseTaker | None = None
        self._poll = select.poll()

    @property
    def is_reused(self) -> bool:
        """Whether the exchange in flight is not the connection's first."""
        return self.exchanges > 1

    @property
    def has_answered(self) -> bool:
        """Whether any byte of a response has come for the exchange in flight."""
        return self.reader.has_answered

    @property
    def is_free(self) -> bool:
        """Whether another exchange may begin: nothing is awaited, left over or still unsent, and the origin is there."""
        return self.reader.is_idle and not self.transport.get_write_buffer_size() and not self.transport.is_closing()

    def is_quiet(self) -> bool:
        """Ask the kernel whether the origin has said or ended anything that the event loop has not seen yet.

        Worth a system call: what is there already cannot be the answer to a request that is yet to be sent, and a connection
        that has ended already would cost a request that cannot be sent a second time.
        """
        return not self.transport.is_closing() and not self._poll.poll(0)

    def begin(self, taker: ResponseTaker, method: bytes, *, may_upgrade: bool) -> None:
        """Begin an exchange: its response goes to the taker.

        Raises:
            UpstreamClosed: Bytes have come that no request asked for.
        """
        self.reader.expect(method, may_upgrade=may_upgrade)
        self.exchanges += 1
        self._taker = taker

    def end(self) -> None:
        """End the exchange: nothing goes to its taker any more."""
        self._taker = None

    def close(self) -> None:
        """Close in good order; what an origin that has answered did not take of its request by now, it will never take."""
        self._taker = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def abort(self) -> None:
        """Cut the connection, so that the origin does not take half a request for a whole one."""
        self._taker = None
        self.transport.abort()

    def expire(self) -> None:
        """Close: it waited in the pool for too long."""
        self._lost(self)
        self.close()

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("SocketTransport", transport)
        self._poll.register(self.transport.get_extra_info("socket"), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Read responses; bytes that nobody asked for end the connection."""
        self.reader.feed(data)
        self._advance()

    def eof_received(self) -> None:
        """Read to the end: it may be what delimits the body."""
        self.reader.feed_eof()
        if self._taker is None or self.has_answered:
            self._advance()
        self._lose(is_cut=False)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell pool and taker."""
        self._lose(is_cut=exc is not None)

    def pause_writing(self) -> None:
        """Pass on that the origin reads slowly."""
        if self._taker is not None:
            self._taker.pause_request()

    def resume_writing(self) -> None:
        """Pass on that the origin reads again."""
        if self._taker is not None:
            self._taker.resume_request()

    def _lose(self, *, is_cut: bool) -> None:
        self._lost(self)
        taker, self._taker = self._taker, None
        if taker is not None:
            taker.upstream_lost(self, is_cut=is_cut)

    def _advance(self) -> None:
        """Give the taker what was read; with the end of its response another may already be in its place."""
        reader = self.reader
        try:
            while True:
                event, taker = reader.next_event(), self._taker
                if taker is None:
                    return
                if isinstance(event, bytes):
                    taker.take_response_body(event)
                elif isinstance(event, ResponseHead):
                    taker.take_response_head(event, reader.framing)
                elif isinstance(event, End):
                    taker.take_response_end(event.trailers)
                    if not reader.has_more:
                        return
                else:
                    taker.flush_response()
                    return
        except Refused as refusal:
            if self._taker is not None:
                self._taker.upstream_failed(refusal)
            else:
                self.abort()
