"""Read HTTP/1.1 messages from bytes as they come: heads, pieces of body, ends. No socket, no clock, no waiting.

A reader never consumes a byte behind the message it read; after CONNECT, 101 and the like the rest is handed over.

    reader = RequestReader(limits.head_bytes)
    reader.feed(data)
    while (event := reader.next_event()) is not NEED_DATA:
        match event:
            case RequestHead(): ...
            case bytes(): ...
            case End(): ...
            case Signal(): ...      # CLOSED or SWITCHED: leave the loop
"""

from __future__ import annotations

from typing import Final

from pinproxy.http1.connection import asks_upgrade
from pinproxy.http1.events import CLOSED, NEED_DATA, SWITCHED, End, Signal
from pinproxy.http1.framing import Framing, request_framing, response_framing
from pinproxy.http1.grammar import REQUESTS, RESPONSES
from pinproxy.http1.head import RequestHead, ResponseHead, parse_request_head, parse_response_head
from pinproxy.http1.own_code import with_own_code
from pinproxy.http1.reader import AT_HEAD, MessageReader

__all__ = ["CLOSED", "NEED_DATA", "SWITCHED", "End", "RequestReader", "ResponseReader", "Signal"]

MAX_INTERIM_HEADS: Final = 100
"""1xx heads before a final one. 102 every few seconds is legitimate; an endless row of them is not an answer."""


@with_own_code
class RequestReader(MessageReader[RequestHead]):
    """Read the requests of one client connection, pipelined ones one after the other.

    After a CONNECT it stops (`SWITCHED`), whatever the answer: what follows is payload. After an Upgrade request the
    caller asks for no further event until it knows the answer, and on 101 calls `take_rest`.
    """

    __slots__ = ("_has_skipped_line",)
    _side = REQUESTS

    def __init__(self, head_bytes: int) -> None:
        super().__init__(head_bytes)
        self._has_skipped_line = False

    def _next_head(self) -> RequestHead | Signal:
        # > a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line (CRLF)
        # > received prior to the request-line. (RFC 9112 §2.2)
        if not self._has_skipped_line and self._buffer.startswith(b"\r\n", self._at):
            self._at += 2
            self._has_skipped_line = True
        if self._at == len(self._buffer):
            return CLOSED if self._is_eof else NEED_DATA
        head = self._begin()
        if head is None:
            return self._wait()
        self._ends_http = head.method == b"CONNECT"
        self._has_skipped_line = False
        return head

    def _read(self, raw: bytes, answered: bytes) -> tuple[RequestHead, Framing]:  # noqa: ARG002 - a request answers nothing
        head = parse_request_head(raw)
        return head, request_framing(head)


@with_own_code
class ResponseReader(MessageReader[ResponseHead]):
    """Read the responses of one origin connection, each announced by `expect`.

    1xx heads are events of their own, without an `End`. After 101, and after 2xx to CONNECT, it stops (`SWITCHED`).
    """

    __slots__ = ("_awaited_method", "_has_answered", "_interim_heads", "_may_upgrade")
    _side = RESPONSES

    def __init__(self, head_bytes: int) -> None:
        super().__init__(head_bytes)
        self._awaited_method: bytes | None = None
        self._has_answered = False
        self._may_upgrade = False
        self._interim_heads = 0

    @property
    def is_idle(self) -> bool:
        """Whether no response is awaited and nothing is left over: only then may the connection serve another request.

        Whether the origin wants it to live on is for `connection.keeps_alive` to say.
        """
        return (
            self._awaited_method is None
            and self._step is AT_HEAD
            and self._at == len(self._buffer)
            and not self._is_eof
            and self._failure is None
        )

    @property
    def has_answered(self) -> bool:
        """Whether any byte of the awaited response has come: from then on the request is not tried again."""
        return self._has_answered or self.buffered > 0

    def expect(self, method: bytes, *, may_upgrade: bool = False) -> None:
        """Announce the next response.

        Args:
            method: Method of the request it answers; HEAD and CONNECT decide its framing.
            may_upgrade: Whether the request was sent on with Upgrade, so that 101 is an answer.

        Raises:
            UpstreamClosed: Bytes arrived that no request asked for: the next response may be somebody else's.
            RuntimeError: The last response has not ended yet.
        """
        if not self.is_idle:
            if self._awaited_method is not None or self._step is not AT_HEAD:
                raise RuntimeError("a response is still awaited on this connection")
            self._refuse_unasked()
        self._awaited_method = method
        self._has_answered = False
        self._may_upgrade = may_upgrade
        self._interim_heads = 0

    def _next_head(self) -> ResponseHead | Signal:
        method = self._awaited_method
        if method is None:
            self._refuse_unasked()
            return CLOSED if self._is_eof else NEED_DATA
        head = self._begin(method)
        if head is None:
            return self._wait()
        self._has_answered = True
        status = head.status
        if status < 200 and status != 101:
            self._count_interim()
            self._step = AT_HEAD  # another one follows, behind neither a body nor an end
            return head
        if status == 101:
            # > A server MUST NOT switch to a protocol that was not indicated by the client in the corresponding
            # > request's Upgrade header field. (RFC 9110 §7.8)
            if not self._may_upgrade or not asks_upgrade(head):
                raise RESPONSES.malformed("the server switched protocols unasked, or without saying to which")
            self._ends_http = True
        elif method == b"CONNECT" and status < 300:
            self._ends_http = True
        self._awaited_method = None
        return head

    def _read(self, raw: bytes, answered: bytes) -> tuple[ResponseHead, Framing]:
        self._has_answered = True  # even where it cannot be read
        head = parse_response_head(raw)
        return head, response_framing(head, answered)

    def _drop_rest(self) -> None:
        self._has_answered = self.has_answered  # what could not be read was an answer all the same
        super()._drop_rest()

    def _count_interim(self) -> None:
        self._interim_heads += 1
        if self._interim_heads > MAX_INTERIM_HEADS:
            raise RESPONSES.malformed(f"the server sent more than {MAX_INTERIM_HEADS} interim responses to one request")

    def _refuse_unasked(self) -> None:
        if self.buffered:
            raise RESPONSES.malformed("the server sent bytes that no request asked for")
