"""Request and response heads: one strict expression over the raw bytes, then llhttp, and both must accept.

Rules of this file:
- A head comes in whole, cut from the stream by `stream`; nothing here waits for bytes.
- Nothing is repaired. What two readers could read differently is refused: `BadRequest` from a client, `UpstreamClosed`
  from an origin.
- Field names keep their spelling for forwarding and are compared in lower case; values lose the whitespace around them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar, TypeVarTuple

import httptools

from pinproxy.http1.diagnosis import why_head
from pinproxy.http1.grammar import HOST, MAX_FIELDS, REQUEST_HEAD, REQUESTS, RESPONSE_HEAD, RESPONSES, Side
from pinproxy.http1.own_code import with_own_code

Fields = tuple[tuple[bytes, bytes], ...]
"""Field lines in order: name as sent, value without the whitespace around it."""

_LLHTTP_DISAGREES: Final = (
    "the head is refused by llhttp, the second of two readers that must agree; most often for an unknown "
    "transfer coding, or a Content-Length that stands twice or beside Transfer-Encoding"
)


_Index = dict[bytes, tuple[bytes, ...]]
_Done = dict[object, Any]
T = TypeVar("T")
GivenTs = TypeVarTuple("GivenTs")
_NOT_YET: Final = object()


class _FieldLookup:
    """Look fields up by name, and remember what was found out; shared by both kinds of head."""

    __slots__ = ()
    fields: Fields
    _values: _Index
    _done: _Done

    def __post_init__(self) -> None:
        """Index the fields once; every later step looks a handful of names up."""
        index: _Index = {name.lower(): (value,) for name, value in self.fields}
        if len(index) != len(self.fields):  # some name stands twice: rare enough to begin again, slowly
            index = {}
            for name, value in self.fields:
                index[name.lower()] = (*index.get(name.lower(), ()), value)
        object.__setattr__(self, "_values", index)
        object.__setattr__(self, "_done", {})

    def once(self, work: Callable[[Self, *GivenTs], T], *given: *GivenTs) -> T:
        """Do work on this head once, however often its result is asked for, and however often the head comes again.

        Args:
            work: A pure function. What it raises is not remembered.
            given: Its further arguments, hashable.
        """
        key = (work, given) if given else work
        result: T = self._done.get(key, _NOT_YET)  # no KeyError: most heads are new, and an exception costs more than the work
        if result is _NOT_YET:
            result = self._done[key] = work(self, *given)
        return result

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of the field called `name` (in lower case), or None."""
        values = self._values.get(name)
        return values[0] if values else None

    def get_all(self, name: bytes) -> tuple[bytes, ...]:
        """Return every value of the field called `name` (in lower case), in order."""
        return self._values.get(name, ())


@with_own_code
@dataclass(frozen=True, slots=True)
class RequestHead(_FieldLookup):
    """A request head that both readers accept.

    Attributes:
        method: As sent; methods are case-sensitive (RFC 9110 §9.1).
        target: As sent, in any of the four forms; `target.request_target` takes it apart.
        minor: 0 for HTTP/1.0, 1 for HTTP/1.1.
        fields: The field lines in order.
    """

    method: bytes
    target: bytes = field(repr=False)
    minor: int
    fields: Fields = field(repr=False)
    _values: _Index = field(init=False, repr=False, compare=False)
    _done: _Done = field(init=False, repr=False, compare=False)


@with_own_code
@dataclass(frozen=True, slots=True)
class ResponseHead(_FieldLookup):
    """A response head that both readers accept; 1xx heads included.

    Attributes:
        status: 100 to 999.
        reason: The reason phrase, possibly empty; it means nothing (RFC 9112 §4).
        minor: 0 for HTTP/1.0, 1 for HTTP/1.1.
        fields: The field lines in order.
    """

    status: int
    reason: bytes
    minor: int
    fields: Fields = field(repr=False)
    _values: _Index = field(init=False, repr=False, compare=False)
    _done: _Done = field(init=False, repr=False, compare=False)

    @property
    def is_interim(self) -> bool:
        """Whether a further head follows for the same request; 101 is final, for HTTP ends behind it."""
        return self.status < 200 and self.status != 101


Head = RequestHead | ResponseHead


class _Collector:
    """What llhttp calls back."""

    __slots__ = ("fields", "is_complete", "url")
    # Looked for in each collector; an attribute that is missing costs an exception.
    on_message_begin = on_status = on_body = on_chunk_header = on_chunk_complete = on_message_complete = None

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.url = b""
        self.is_complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def parse_request_head(raw: bytes) -> RequestHead:
    """Parse a request head (RFC 9112 §3 and §5).

    Args:
        raw: From the first byte of the request line to the empty line, its CRLF included.

    Returns:
        The head. Its target and its framing are still to be judged: `target.request_target`, `framing.request_framing`.

    Raises:
        BadRequest: Any byte is not as the grammar says, or Host is missing, double or malformed.
        HeadTooLarge: More than `MAX_FIELDS` field lines.
    """
    match = REQUEST_HEAD.fullmatch(raw)
    if match is None:
        raise REQUESTS.malformed(why_head(raw, REQUESTS))
    method, target, minor = match.groups()
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    fields = _read_with_llhttp(parser, collector, raw, REQUESTS)
    if parser.get_method() != method or collector.url != target:
        raise REQUESTS.malformed(_LLHTTP_DISAGREES)
    head = RequestHead(method, target, int(minor), fields)
    _check_host(head)
    return head


def parse_response_head(raw: bytes) -> ResponseHead:
    """Parse a response head (RFC 9112 §4 and §5).

    Args:
        raw: From the first byte of the status line to the empty line, its CRLF included.

    Returns:
        The head; its framing is still to be judged: `framing.response_framing`.

    Raises:
        UpstreamClosed: Any byte is not as the grammar says, or there are more than `MAX_FIELDS` field lines.
    """
    match = RESPONSE_HEAD.fullmatch(raw)
    if match is None:
        raise RESPONSES.malformed(why_head(raw, RESPONSES))
    minor, status, reason = match.groups()
    collector = _Collector()
    parser = httptools.HttpResponseParser(collector)
    fields = _read_with_llhttp(parser, collector, raw, RESPONSES)
    if parser.get_status_code() != int(status):
        raise RESPONSES.malformed(_LLHTTP_DISAGREES)
    return ResponseHead(int(status), reason or b"", int(minor), fields)


def _read_with_llhttp(
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser, collector: _Collector, raw: bytes, side: Side
) -> Fields:
    """Give llhttp the head and return its fields, or refuse; a fresh parser each time, for it would wait for a body."""
    lines = raw.count(b"\r\n") - 2
    if lines > MAX_FIELDS:
        raise side.too_large(f"the head has {lines} field lines; at most {MAX_FIELDS} are read")
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # CONNECT or Upgrade: the head itself was accepted
    except httptools.HttpParserInvalidMethodError as refusal:
        raise side.malformed("the method is not one that llhttp knows") from refusal
    except httptools.HttpParserError as refusal:
        raise side.malformed(_LLHTTP_DISAGREES) from refusal
    if not collector.is_complete or len(collector.fields) != lines:
        raise side.malformed(_LLHTTP_DISAGREES)
    return tuple(collector.fields)


def _check_host(head: RequestHead) -> None:
    # > A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host
    # > header field and to any request message that contains more than one Host header field line or a Host header
    # > field with an invalid field value. (RFC 9112 §3.2)
    hosts = head.get_all(b"host")
    if len(hosts) == 1 and HOST.fullmatch(hosts[0]):
        return
    if not hosts and head.minor == 0:
        return
    raise REQUESTS.malformed(
        "the Host field is not a host with an optional port"
        if len(hosts) == 1
        else f"the request has {len(hosts)} Host fields; HTTP/1.1 asks for exactly one"
    )
