"""A small HTTP/1.1 server for answers that are made from memory, on the strict parser of the data path.

Not aiohttp: it would cost each sidecar eleven megabytes and a fifth of a second, for seven pages that are only read.

Rules of this file:
- One request of a connection at a time; while its answer is made, or not taken yet, nothing more is read.
- What a client may cost is bounded: its head, its patience, and how many there are.
- Content of a request is not read: it is answered, and the connection ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import cast

from pinproxy.authority import Authority
from pinproxy.errors import Refused
from pinproxy.http1.connection import keeps_alive
from pinproxy.http1.events import End
from pinproxy.http1.framing import NO_BODY
from pinproxy.http1.head import RequestHead
from pinproxy.http1.stream import RequestReader

_HEAD_BYTES = 16 * 1024  # browsers send cookies of other services of this machine along
_PATIENCE_SECONDS = 75.0  # for the next request, and for a reader to take an answer; nginx' keepalive_timeout
_LINGER_SECONDS = 1.0
_MOST_CLIENTS = 256
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with.

    Attributes:
        body: The content; a HEAD gets its length alone.
        content_type: Its media type.
        status: The status code.
        allow: Methods for the Allow field; empty: none is sent.
    """

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    allow: str = ""


Answering = Callable[[RequestHead], Awaitable[Answer]]


class HttpServer:
    """Listens, and answers every request by one function."""

    def __init__(self, answering: Answering, fields: Mapping[str, str]) -> None:
        """Prepare; nothing listens yet.

        Args:
            answering: Makes the answers; what it raises is a defect, told to the event loop and answered with 500.
            fields: What stands in every answer.
        """
        self.answering = answering
        self.fields = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.clients: set[_Client] = set()
        self._server: asyncio.Server | None = None

    async def start(self, address: Authority) -> Authority:
        """Listen.

        Returns:
            The address bound, with the port the system chose for 0.

        Raises:
            OSError: The address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), address.host, address.port)
        host, port = self._server.sockets[0].getsockname()[:2]
        return Authority(host, port)

    async def stop(self) -> None:
        """Stop listening and close what is open; does nothing where it is not running."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for client in list(self.clients):
            client.abort()
        await server.wait_closed()


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(_HEAD_BYTES)
        self._transport: asyncio.Transport
        self._answering: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_full = False
        self._is_ending = False

    def abort(self) -> None:
        """End now."""
        if self._answering is not None:
            self._answering.cancel()
        self._transport.abort()

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if len(self._server.clients) >= _MOST_CLIENTS:
            self._transport.abort()
            return
        self._server.clients.add(self)
        self._expect_within(_PATIENCE_SECONDS)

    def data_received(self, data: bytes) -> None:
        if not self._is_ending:
            self._reader.feed(data)
            self._advance()

    def eof_received(self) -> bool:
        self._reader.feed_eof()
        self._is_ending = True
        return self._answering is not None

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it went, nobody is left to answer
        if self._timer is not None:
            self._timer.cancel()
        if self._answering is not None:
            self._answering.cancel()
        self._server.clients.discard(self)

    # --- one request after the other --------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Begin to answer the next request, if it is whole and the one before has been."""
        if self._answering is not None or self._is_full or self._is_ending:
            return
        try:
            event = self._reader.next_event()
            while isinstance(event, End):
                event = self._reader.next_event()
        except Refused as refusal:
            self._send(Answer(f"{refusal.detail}\n".encode(), status=refusal.status), None)
            return
        if isinstance(event, RequestHead):
            self._transport.pause_reading()
            self._answering = self._loop.create_task(self._answer(event))
        else:
            self._transport.resume_reading()

    async def _answer(self, head: RequestHead) -> None:
        try:
            answer = await self._server.answering(head)
        except Exception as error:  # noqa: BLE001 - the boundary of each request: a defect of one page must not end the others
            self._loop.call_exception_handler({"message": "answering a request failed", "exception": error})
            answer = Answer(b"a defect of ours; the log has the details\n", status=500)
        self._answering = None
        self._send(answer, head)

    def _send(self, answer: Answer, head: RequestHead | None) -> None:
        is_whole = self._reader.framing == NO_BODY and not self._is_ending
        goes_on = head is not None and is_whole and head.method != b"CONNECT" and keeps_alive(head)
        phrase = HTTPStatus(answer.status).phrase
        allow = f"Allow: {answer.allow}\r\n" if answer.allow else ""
        connection = "" if goes_on else "Connection: close\r\n"
        text = (
            f"HTTP/1.1 {answer.status} {phrase}\r\nDate: {_http_date(datetime.now(UTC))}\r\n"
            f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
            f"{allow}{connection}{self._server.fields}\r\n"
        )
        is_head = head is not None and head.method == b"HEAD"
        self._transport.write(text.encode("ascii") + (b"" if is_head else answer.body))
        if goes_on:
            self._expect_within(_PATIENCE_SECONDS)
            self._advance()
        else:
            self._close_in_stages()

    def _close_in_stages(self) -> None:
        # > RFC 9112 §9.6: servers typically close a connection in stages. First, the server performs a half-close by closing only
        # > the write side … The server then continues to read from the connection until it receives a corresponding close by the
        # > client
        if self._is_ending:
            self._transport.close()
            return
        self._is_ending = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._expect_within(_LINGER_SECONDS)

    def _expect_within(self, seconds: float) -> None:
        """Give the client so long for whatever is next; one that still takes an answer then is cut off as well."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._transport.abort)


def _http_date(at: datetime) -> str:
    """Write an instant as RFC 9110 §5.6.7 has it: `Sun, 06 Nov 1994 08:49:37 GMT`, whatever the locale."""
    return f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year} {at:%H:%M:%S} GMT"
