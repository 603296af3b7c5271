"""What reading requests and reading responses share: the buffer, finding the end of a head, and bodies.

How the bytes were cut into `feed` calls changes nothing but the cutting of the body, and the first refusal is final: a
reader that raised raises the same again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Final, Generic, TypeVar

from pinproxy.errors import Refused
from pinproxy.http1.chunked import ChunkedDecoder
from pinproxy.http1.connection import connection_options
from pinproxy.http1.diagnosis import why_head
from pinproxy.http1.events import NEED_DATA, SWITCHED, End, Signal
from pinproxy.http1.framing import NO_BODY, BodyKind, Framing
from pinproxy.http1.grammar import Side
from pinproxy.http1.head import RequestHead, ResponseHead

_END: Final = End()

_MAX_REMEMBERED_BYTES: Final = 2048
"""Of a head that may come again: most are shorter, and what a connection holds for this should stay small."""

HeadT = TypeVar("HeadT", RequestHead, ResponseHead)


class _Step(Enum):
    HEAD = auto()
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()
    END = auto()
    SWITCHED = auto()


# Module constants, for reading a member of an Enum costs ten times as much on Python 3.11, and each event reads several.
AT_HEAD: Final = _Step.HEAD
_LENGTH: Final = _Step.LENGTH
_CHUNKED: Final = _Step.CHUNKED
_UNTIL_CLOSE: Final = _Step.UNTIL_CLOSE
_ENDING: Final = _Step.END
_SWITCHED: Final = _Step.SWITCHED

_STEP_OF_BODY: Final = {
    BodyKind.LENGTH: _LENGTH,
    BodyKind.CHUNKED: _CHUNKED,
    BodyKind.UNTIL_CLOSE: _UNTIL_CLOSE,
}


class MessageReader(ABC, Generic[HeadT]):
    """Read messages from bytes as they come; the subclass knows what a head means.

    Attributes:
        framing: How the body of the current message is delimited; set with its head.
    """

    _side: Side

    __slots__ = (
        "_at",
        "_buffer",
        "_decoder",
        "_ends_http",
        "_failure",
        "_head_bytes",
        "_is_eof",
        "_last",
        "_left",
        "_searched",
        "_step",
        "framing",
    )

    def __init__(self, head_bytes: int) -> None:
        """Start before the first message.

        Args:
            head_bytes: Bound of a head, and of a trailer section, in bytes.
        """
        self._head_bytes = head_bytes
        self._buffer = b""
        self._at = 0  # first byte of the buffer not consumed
        self._searched = 0  # no head ends before this
        self._step = AT_HEAD
        self._ends_http = False  # with the current message
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self._is_eof = False
        self._failure: Callable[[], Refused] | None = None
        self._last: tuple[bytes, bytes, HeadT, Framing, int, _Step] | None = None
        self.framing = NO_BODY

    @property
    def buffered(self) -> int:
        """Bytes fed but not yet consumed."""
        return len(self._buffer) - self._at

    @property
    def has_more(self) -> bool:
        """Whether there may be an event: bytes that are not consumed, or the end of the connection."""
        return self._is_eof or self._at < len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add bytes. Take all events before feeding again: then the buffer never holds more than one incomplete element."""
        if self._at == len(self._buffer):
            self._buffer = data
            self._searched = 0
        else:
            self._buffer = self._buffer[self._at :] + data
            self._searched = max(self._searched - self._at, 0)
        self._at = 0

    def feed_eof(self) -> None:
        """Note that the peer ended the connection: ends a body delimited by that, and cuts any other message."""
        self._is_eof = True

    def take_rest(self) -> bytes:
        """Hand over what is not consumed, and stop: it belongs to the protocol that follows."""
        rest = self._buffer[self._at :]
        self._buffer, self._at, self._step = b"", 0, _SWITCHED
        return rest

    def next_event(self) -> HeadT | bytes | End | Signal:
        """Return the next event in what has been fed.

        Returns:
            A head; a piece of its body (never empty); the end of the message; or a `Signal`.

        Raises:
            Refused: `BadRequest`, `HeadTooLarge` or `ClientClosed` for requests, `UpstreamClosed` for responses.
        """
        if self._failure is not None:
            raise self._failure()
        step = self._step
        try:
            if step is AT_HEAD:
                return self._next_head()
            if step is _ENDING:
                return self._finish()
            if step is _LENGTH:
                return self._next_counted()
            if step is _CHUNKED:
                return self._next_chunked()
            return self._next_until_close() if step is _UNTIL_CLOSE else SWITCHED
        except Refused as failure:
            # Not the exception itself: its traceback holds this frame, and the reader would hold itself.
            self._failure = partial(type(failure), failure.detail)
            self._drop_rest()
            raise

    def _drop_rest(self) -> None:
        """Let go of what nobody will read: a client that was refused may take its time to leave."""
        self._buffer, self._at = b"", 0

    # --- heads

    @abstractmethod
    def _next_head(self) -> HeadT | Signal:
        """Read the next head, and begin its body."""

    def _cut_head(self) -> bytes | None:
        """Cut the next head from the buffer, or return None while it is not whole; refuse early what cannot become one."""
        buffer, at = self._buffer, self._at
        end = buffer.find(b"\r\n\r\n", max(self._searched, at), at + self._head_bytes) + 4
        if end >= 4:
            self._at = end
            return buffer[at:end]
        searched, self._searched = self._searched, max(len(buffer) - 3, 0)
        # Garbage, another protocol's banner and HTTP/0.9 are answered without waiting for more. One look at a line is enough: a
        # peer that sends the rest of its head byte by byte must not have a long one read as often.
        line_end = buffer.find(b"\n", at, at + self._head_bytes) + 1
        if line_end > searched and not self._side.start_line.fullmatch(buffer, at, line_end):
            raise self._side.malformed(why_head(buffer[at:line_end], self._side))
        if self.buffered >= self._head_bytes:
            raise self._side.too_large(f"the head is over {self._head_bytes} bytes (limits.head_bytes)")
        return None

    def _begin(self, answered: bytes = b"") -> HeadT | None:
        """Read the next head and begin its body, or return None while it is not whole.

        The very head before is known where it stands, up to its empty line, and not read again: who polls says the same again
        and again.

        Args:
            answered: Method of the request that a response answers, which bears on its body.
        """
        last = self._last
        if last is not None and last[1] == answered and self._buffer.startswith(last[0], self._at):
            self._at += len(last[0])
        else:
            raw = self._cut_head()
            if raw is None:
                return None
            head, framing = self._read(raw, answered)
            connection_options(head)  # refused here if malformed, before anybody acts on the head
            step = _ENDING if framing.is_empty else _STEP_OF_BODY[framing.kind]
            last = (raw, answered, head, framing, framing.length, step)
            self._last = last if len(raw) <= _MAX_REMEMBERED_BYTES else None
        _, _, head, self.framing, self._left, self._step = last
        if self._step is _CHUNKED:
            self._decoder = ChunkedDecoder(self._side, self._head_bytes, connection_options(head))
        return head

    @abstractmethod
    def _read(self, raw: bytes, answered: bytes) -> tuple[HeadT, Framing]:
        """Parse a whole head, and decide how the body behind it is delimited."""

    # --- bodies

    def _next_counted(self) -> bytes | Signal:
        piece = self._take_up_to(self._left)
        if not piece:
            return self._wait()
        self._left -= len(piece)
        if not self._left:
            self._step = _ENDING
        return piece

    def _next_chunked(self) -> bytes | End | Signal:
        decoder = self._decoder
        assert decoder is not None  # noqa: S101 - `_begin` made it; for the type checker
        piece, self._at = decoder.feed(self._buffer, self._at)
        if decoder.is_done:
            self._step = _ENDING
        if piece:
            return piece
        return self._finish() if decoder.is_done else self._wait()

    def _next_until_close(self) -> bytes | End | Signal:
        piece = self._take_up_to(self.buffered)
        if piece:
            return piece
        return self._finish() if self._is_eof else NEED_DATA

    def _finish(self) -> End:
        self._step = _SWITCHED if self._ends_http else AT_HEAD
        if self._at == len(self._buffer):
            self._buffer, self._at, self._searched = b"", 0, 0  # an idle connection keeps no old bytes but the last head's
        if self._decoder is None:
            return _END
        decoder, self._decoder = self._decoder, None
        return End(decoder.trailers)

    def _take_up_to(self, size: int) -> bytes:
        buffer, at = self._buffer, self._at
        if at == 0 and len(buffer) <= size:  # the common case of a long body: hand the very object on, without a copy
            self._buffer = b""
            return buffer
        piece = buffer[at : at + size]
        self._at = at + len(piece)
        return piece

    def _wait(self) -> Signal:
        # > A message body that uses the chunked transfer coding is incomplete if the zero-sized chunk that terminates
        # > the encoding has not been received. A message that uses a valid Content-Length is incomplete if the size of
        # > the message body received (in octets) is less than the value given by Content-Length. (RFC 9112 §8)
        if self._is_eof:
            raise self._side.cut("the connection ended inside a message")
        return NEED_DATA
