"""Where the body of a message ends (RFC 9112 §6.3), decided once from the head and never guessed.

Anything that two implementations could read differently is refused: both Content-Length and Transfer-Encoding, either
of them twice or as a list, any transfer coding but `chunked`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from pinproxy.http1.grammar import DIGITS, MAX_LENGTH, REQUESTS, RESPONSES, Side
from pinproxy.http1.head import Head, RequestHead, ResponseHead


class BodyKind(StrEnum):
    """How a body is delimited."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until-close"


class Framing(NamedTuple):
    """How a body is delimited, and its length in bytes where that is known (`LENGTH` only; else 0).

    A tuple, for what is remembered with a head is found by it (`head.once`).
    """

    kind: BodyKind
    length: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is certainly no body."""
        return not self.length and self.kind in _MAY_BE_EMPTY


_MAY_BE_EMPTY: Final = (BodyKind.NONE, BodyKind.LENGTH)
NO_BODY: Final = Framing(BodyKind.NONE)
CHUNKED: Final = Framing(BodyKind.CHUNKED)
UNTIL_CLOSE: Final = Framing(BodyKind.UNTIL_CLOSE)


def request_framing(head: RequestHead) -> Framing:
    """Decide where the body of a request ends.

    Raises:
        BadRequest: The head leaves it in doubt, or a CONNECT announces a body.
    """
    framing = _declared(head, REQUESTS)
    if head.method == b"CONNECT":
        # > A CONNECT request message does not have content. (RFC 9110 §9.3.6)
        # WinINET sends `Content-Length: 0` with it, which says the same.
        if framing is not None and framing != Framing(BodyKind.LENGTH, 0):
            raise REQUESTS.malformed("CONNECT has no body, but this one announces one")
        return NO_BODY
    # > If this is a request message and none of the above are true, then the message body length is zero
    return framing or NO_BODY


def response_framing(head: ResponseHead, request_method: bytes) -> Framing:
    """Decide where the body of a response ends.

    Args:
        head: The response head, interim ones included.
        request_method: Method of the request it answers.

    Raises:
        UpstreamClosed: The head leaves it in doubt.
    """
    framing = _declared(head, RESPONSES)
    # > Any response to a HEAD request and any response with a 1xx (Informational), 204 (No Content), or 304 (Not
    # > Modified) status code is always terminated by the first empty line after the header fields, regardless of the
    # > header fields present in the message
    if request_method == b"HEAD" or head.status < 200 or head.status in {204, 304}:
        return NO_BODY
    # > Any 2xx (Successful) response to a CONNECT request implies that the connection will become a tunnel immediately
    # > after the empty line that concludes the header fields.
    if request_method == b"CONNECT" and head.status < 300:
        return NO_BODY
    # > Otherwise, this is a response message without a declared message body length, so the message body length is
    # > determined by the number of octets received prior to the server closing the connection.
    return framing or UNTIL_CLOSE


def _declared(head: Head, side: Side) -> Framing | None:
    """Return what Content-Length or Transfer-Encoding say, None if neither is there; refuse all that is ambiguous."""
    codings = head.get_all(b"transfer-encoding")
    lengths = head.get_all(b"content-length")
    if codings:
        # > A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat
        # > the message as if the framing is faulty
        if head.minor == 0:
            raise side.malformed("HTTP/1.0 has no Transfer-Encoding, but this message has one")
        # > If a message is received with both a Transfer-Encoding and a Content-Length header field, […] Such a
        # > message might indicate an attempt to perform request smuggling or response splitting and ought to be handled
        # > as an error
        if lengths:
            raise side.malformed("the message has both Content-Length and Transfer-Encoding")
        # > If any transfer coding other than chunked is applied to a request's content, the sender MUST apply chunked
        # > as the final transfer coding
        # Stricter: chunked alone. Nobody applies another one, and implementations disagree about lists.
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise side.malformed("the Transfer-Encoding is not exactly `chunked`")
        return CHUNKED
    if not lengths:
        return None
    # > If a message is received without Transfer-Encoding and with an invalid Content-Length header field, then the
    # > message framing is invalid and the recipient MUST treat it as an unrecoverable error, unless the field value can
    # > be successfully parsed as a comma-separated list […] and all values in the list are the same
    # Stricter: no lists, even of equal values.
    if len(lengths) != 1 or not DIGITS.fullmatch(lengths[0]):
        raise side.malformed("the Content-Length is not exactly one decimal number")
    # A number of 20 digits needs no arithmetic to be too large, and int() refuses very long ones on its own terms.
    if len(lengths[0]) > 19 or (length := int(lengths[0])) > MAX_LENGTH:
        raise side.malformed("the Content-Length is over 2^63-1")
    return Framing(BodyKind.LENGTH, length)
