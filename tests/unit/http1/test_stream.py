from __future__ import annotations

import dataclasses
import re
import sys
from typing import cast

import pytest

from pinproxy.errors import BadRequest, ClientClosed, HeadTooLarge, Refused, UpstreamClosed
from pinproxy.http1.framing import BodyKind
from pinproxy.http1.grammar import REQUESTS
from pinproxy.http1.head import RequestHead, ResponseHead
from pinproxy.http1.stream import CLOSED, MAX_INTERIM_HEADS, NEED_DATA, SWITCHED, End, RequestReader, ResponseReader, Signal

HEAD_BYTES = 256
GET = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"PUT /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n"
CONNECT = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Story = list[object]


def tell(reader: RequestReader | ResponseReader, pieces: list[bytes], *, eof: bool = False) -> Story:
    """Feed the pieces and list what happens: targets or statuses, joined bodies, trailers, the last signal or refusal."""
    story: Story = []
    for index, piece in enumerate(pieces):
        reader.feed(piece)
        if eof and index == len(pieces) - 1:
            reader.feed_eof()
        event = take(reader, story)
        if not isinstance(event, Signal) or event is not NEED_DATA:
            return [*story, event]
    return [*story, NEED_DATA]


def take(reader: RequestReader | ResponseReader, story: Story) -> Signal | type[Refused]:
    """Take all events there are."""
    while True:
        try:
            event = reader.next_event()
        except Refused as refusal:
            return type(refusal)
        match event:
            case Signal():
                return event
            case bytes() if story and isinstance(story[-1], bytes):
                story[-1] += event
            case bytes():
                story.append(event)
            case RequestHead():
                story.append(event.target.decode())
            case ResponseHead():
                story.append(event.status)
            case End(trailers):
                story.append(trailers)


def requests(*pieces: bytes, eof: bool = False) -> Story:
    """Tell the story of a client's bytes."""
    return tell(RequestReader(HEAD_BYTES), list(pieces), eof=eof)


def responses(*pieces: bytes, method: bytes = b"GET", may_upgrade: bool = False, eof: bool = False) -> Story:
    """Tell the story of an origin's bytes after one request."""
    reader = ResponseReader(HEAD_BYTES)
    reader.expect(method, may_upgrade=may_upgrade)
    return tell(reader, list(pieces), eof=eof)


REQUEST_STORIES: dict[str, tuple[bytes, Story]] = {
    "no body": (GET, ["/1", (), NEED_DATA]),
    "length": (POST, ["/2", b"hello", (), NEED_DATA]),
    "length of 0": (POST.replace(b"5", b"0")[:-5], ["/2", (), NEED_DATA]),
    "chunks": (CHUNKED, ["/3", b"hello", ((b"X", b"1"),), NEED_DATA]),
    "pipelined": (
        GET + POST + CHUNKED + GET,
        ["/1", (), "/2", b"hello", (), "/3", b"hello", ((b"X", b"1"),), "/1", (), NEED_DATA],
    ),
    "one empty line before": (b"\r\n" + GET + b"\r\n" + GET, ["/1", (), "/1", (), NEED_DATA]),
    "two empty lines before": (b"\r\n\r\n" + GET, [BadRequest]),
    "payload behind CONNECT": (CONNECT + b"\x16\x03\x01GET / HTTP/1.1\r\n\r\n", ["a:443", (), SWITCHED]),
    "garbage behind a request": (GET + b"garbage\r\n", ["/1", (), BadRequest]),
    "garbage without an end": (b"garbage\r\n", [BadRequest]),
    "HTTP/0.9": (b"GET /\r\n", [BadRequest]),
    "bare LFs": (b"GET / HTTP/1.1\n", [BadRequest]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [BadRequest]),
    "length and chunks": (POST.replace(b"Content", b"Transfer-Encoding: chunked\r\nContent"), [BadRequest]),
    "body, then a bad chunk": (CHUNKED.replace(b"0\r\nX", b"Z\r\nX"), ["/3", b"hello", BadRequest]),
    "Connection names Host": (GET.replace(b"Host", b"Connection: host\r\nHost"), [BadRequest]),
    "head over the bound": (GET[:-2] + b"X: " + b"a" * HEAD_BYTES + b"\r\n\r\n", [HeadTooLarge]),
    "head without an end": (GET[:-2] + b"X: " + b"a" * HEAD_BYTES, [HeadTooLarge]),
    "head of just the bound": (GET[:-2] + b"X: " + b"a" * (HEAD_BYTES - 33) + b"\r\n\r\n", ["/1", (), NEED_DATA]),
    "head of a byte more": (GET[:-2] + b"X: " + b"a" * (HEAD_BYTES - 32) + b"\r\n\r\n", [HeadTooLarge]),
    "head of just the bound without an end": (GET[:-2] + b"X: " + b"a" * (HEAD_BYTES - 29), [HeadTooLarge]),
    "head a byte below the bound without an end": (GET[:-2] + b"X: " + b"a" * (HEAD_BYTES - 30), [NEED_DATA]),
    "garbage over the bound": (b"a" * HEAD_BYTES + b"\r\n", [HeadTooLarge]),
    "first line without an end": (b"GET /" + b"a" * HEAD_BYTES, [HeadTooLarge]),
    "trailers over the bound": (CHUNKED[:-2] + b"X: " + b"a" * HEAD_BYTES, ["/3", b"hello", HeadTooLarge]),
    "incomplete": (POST[:-1], ["/2", b"hell", NEED_DATA]),
}


@pytest.mark.parametrize("name", REQUEST_STORIES)
def test_requests_tell_the_same_story_however_they_are_cut(name: str) -> None:
    """Whole, byte by byte, and at every single cut: the same events, or the same refusal."""
    data, story = REQUEST_STORIES[name]
    assert requests(data) == story
    assert requests(*(data[at : at + 1] for at in range(len(data)))) == story
    assert all(requests(data[:cut], data[cut:]) == story for cut in range(1, len(data)))


RESPONSE_STORIES: dict[str, tuple[bytes, dict[str, object], Story]] = {
    "length": (OK, {}, [200, b"hello", (), NEED_DATA]),
    "HEAD": (OK[:-5], {"method": b"HEAD"}, [200, (), NEED_DATA]),
    "body in answer to HEAD": (OK, {"method": b"HEAD"}, [200, (), UpstreamClosed]),
    "204 with a body": (OK.replace(b"200", b"204"), {}, [204, (), UpstreamClosed]),
    "304": (OK[:-5].replace(b"200", b"304"), {}, [304, (), NEED_DATA]),
    "two responses": (OK + OK, {}, [200, b"hello", (), UpstreamClosed]),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK,
        {},
        [100, 103, 200, b"hello", (), NEED_DATA],
    ),
    "interim without end": (b"HTTP/1.1 102 \r\n\r\n" * (MAX_INTERIM_HEADS + 1), {}, [*[102] * 100, UpstreamClosed]),
    "switched": (
        b"HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        {"method": b"GET", "may_upgrade": True},
        [101, (), SWITCHED],
    ),
    "switched unasked": (b"HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", {}, [UpstreamClosed]),
    "switched to nothing": (b"HTTP/1.1 101 \r\n\r\n", {"may_upgrade": True}, [UpstreamClosed]),
    "tunnel": (b"HTTP/1.1 200 OK\r\n\r\npayload", {"method": b"CONNECT"}, [200, (), SWITCHED]),
    "no tunnel": (OK.replace(b"200", b"407"), {"method": b"CONNECT"}, [407, b"hello", (), NEED_DATA]),
    "until close, still open": (b"HTTP/1.0 200 OK\r\n\r\nhello", {}, [200, b"hello", NEED_DATA]),
    "banner": (b"SSH-2.0-OpenSSH_9\r\n", {}, [UpstreamClosed]),
    "two lengths": (OK.replace(b"Content", b"Content-Length: 5\r\nContent"), {}, [UpstreamClosed]),
    "head over the bound": (b"HTTP/1.1 200 " + b"a" * HEAD_BYTES, {}, [UpstreamClosed]),
}


@pytest.mark.attack(
    "response splitting: a second answer behind the first, or a body where there is none (HEAD, 204, 304)",
    expect="cut",
    topic="responses",
    motive="CVE-2026-111750",
)
@pytest.mark.parametrize("name", RESPONSE_STORIES)
def test_responses_tell_the_same_story_however_they_are_cut(name: str) -> None:
    """Whole, byte by byte, and at every single cut: the same events, or the same refusal."""
    data, options, story = RESPONSE_STORIES[name]
    cuts = range(1, len(data), 1 if len(data) < 1000 else 97)
    assert responses(data, **options) == story  # type: ignore[arg-type] # the table's options are those of `responses`
    assert responses(*(data[at : at + 1] for at in range(len(data))), **options) == story  # type: ignore[arg-type] # same
    assert all(responses(data[:cut], data[cut:], **options) == story for cut in cuts)  # type: ignore[arg-type] # same


@pytest.mark.parametrize("data", [GET[:-1], POST[:-1], CHUNKED[:-1], b"\r"])
def test_a_request_that_the_end_cuts_is_refused(data: bytes) -> None:
    """RFC 9112 §8: an incomplete message is no message; an end between two is none of that."""
    assert requests(data, eof=True)[-1] is ClientClosed
    assert requests(POST, eof=True) == ["/2", b"hello", (), CLOSED]


def test_a_response_that_the_end_cuts_is_refused_unless_the_end_delimits_it() -> None:
    """RFC 9112 §8: truncation is seen as truncation."""
    assert responses(b"", eof=True) == [UpstreamClosed]
    assert responses(OK[:-1], eof=True) == [200, b"hell", UpstreamClosed]
    assert responses(OK, eof=True) == [200, b"hello", (), CLOSED]
    assert responses(b"HTTP/1.0 200 OK\r\n\r\nhello", eof=True) == [200, b"hello", (), CLOSED]
    assert responses(b"HTTP/1.1 100 \r\n\r\n", eof=True) == [100, UpstreamClosed]


@pytest.mark.attack(
    "response splitting: a second answer behind the first, or a body where there is none (HEAD, 204, 304)",
    expect="cut",
    topic="responses",
    motive="CVE-2026-111750",
)
def test_bytes_that_no_request_asked_for_end_the_connection() -> None:
    """A response in advance would be taken for the answer to the next request, which may be another client's."""
    reader = ResponseReader(HEAD_BYTES)
    reader.feed(OK)
    with pytest.raises(UpstreamClosed, match="no request asked"):
        reader.expect(b"GET")
    with pytest.raises(UpstreamClosed, match="no request asked"):
        reader.next_event()
    assert not reader.is_idle


def test_a_reader_is_idle_between_two_responses_only() -> None:
    """What the pool asks before it lends a connection again."""
    reader = ResponseReader(HEAD_BYTES)
    assert reader.is_idle
    reader.expect(b"GET")
    assert (reader.is_idle, reader.has_answered) == (False, False)
    reader.feed(b"H")
    assert (reader.is_idle, reader.has_answered) == (False, True)
    reader.feed(OK[1:])
    assert take(reader, []) is NEED_DATA
    assert (reader.is_idle, reader.has_answered) == (True, True)
    reader.expect(b"GET")
    assert not reader.has_answered
    with pytest.raises(RuntimeError, match="still awaited"):
        reader.expect(b"GET")


def test_an_answer_that_is_none_is_an_answer_all_the_same() -> None:
    """Bytes came, so the origin has the request, and it is not tried again; without any it may be."""
    garbled, silent = ResponseReader(HEAD_BYTES), ResponseReader(HEAD_BYTES)
    for reader in (garbled, silent):
        reader.expect(b"GET")
    garbled.feed(b"\x00nonsense\r\n\r\n")
    silent.feed_eof()
    for reader in (garbled, silent):
        with pytest.raises(UpstreamClosed):
            reader.next_event()
    assert (garbled.has_answered, silent.has_answered) == (True, False)
    assert garbled.buffered == 0


def test_a_switched_connection_is_never_idle() -> None:
    """After 101 there is no HTTP left to ask."""
    reader = ResponseReader(HEAD_BYTES)
    reader.expect(b"GET", may_upgrade=True)
    reader.feed(b"HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    assert take(reader, []) is SWITCHED
    assert not reader.is_idle


@pytest.mark.attack(
    "bytes behind the head of a CONNECT, before its 200, read as a request or forwarded before the verdict",
    expect="neutralise",
    topic="requests",
    motive="CVE-2025-64763",
)
def test_what_follows_a_switch_is_handed_over_once() -> None:
    """Payload right behind the CONNECT head is kept, never parsed, and given away once."""
    reader = RequestReader(HEAD_BYTES)
    reader.feed(CONNECT + GET)
    assert take(reader, []) is SWITCHED
    reader.feed(b"more")
    assert reader.buffered == len(GET) + 4
    assert reader.take_rest() == GET + b"more"
    assert (reader.take_rest(), reader.buffered, reader.next_event()) == (b"", 0, SWITCHED)


def test_an_upgraded_request_leaves_the_rest_to_the_other_protocol() -> None:
    """The caller stops asking at the end of an Upgrade request, and takes the rest when 101 comes."""
    reader = RequestReader(HEAD_BYTES)
    reader.feed(POST + b"\x81\x05frame")
    assert [type(reader.next_event()) for _ in range(3)] == [RequestHead, bytes, End]
    assert reader.take_rest() == b"\x81\x05frame"
    assert reader.next_event() is SWITCHED


class _Counted:
    """An expression that counts how often it is asked."""

    def __init__(self, expression: re.Pattern[bytes]) -> None:
        self._expression = expression
        self.asked = 0

    def fullmatch(self, data: bytes, at: int = 0, end: int = sys.maxsize) -> re.Match[bytes] | None:
        self.asked += 1
        return self._expression.fullmatch(data, at, end)


@pytest.mark.attack("a long request line, and then the rest of the head byte by byte", expect="bound", topic="resources")
def test_a_start_line_is_read_once_however_slowly_the_rest_comes() -> None:
    """Each byte costs the same, whatever came before it; the second head's line is looked at, too."""
    counted = _Counted(REQUESTS.start_line)

    class Reader(RequestReader):
        _side = dataclasses.replace(REQUESTS, start_line=cast("re.Pattern[bytes]", counted))

    reader = Reader(HEAD_BYTES)
    for _ in range(2):
        counted.asked = 0
        story = tell(reader, [bytes([byte]) for byte in GET])
        assert story == ["/1", (), NEED_DATA]
        assert 1 <= counted.asked <= 4
    assert tell(reader, [b"G", b" ", b"\n"]) == [BadRequest]


def test_a_refusal_is_final() -> None:
    """There is no place after a malformed message from which reading could go on."""
    reader = RequestReader(HEAD_BYTES)
    reader.feed(b"GET / HTTP/1.1\r\n\r\n")
    assert take(reader, []) is BadRequest
    reader.feed(GET)
    assert take(reader, []) is BadRequest


def test_the_framing_is_there_with_the_head() -> None:
    """The caller forwards by it and does not decide it a second time."""
    reader = RequestReader(HEAD_BYTES)
    reader.feed(CHUNKED)
    reader.next_event()
    assert reader.framing.kind is BodyKind.CHUNKED


def test_a_long_body_is_handed_on_without_a_copy() -> None:
    """What is all body comes out as the very object that went in."""
    reader = RequestReader(HEAD_BYTES)
    reader.feed(POST[:-5].replace(b"5", b"500"))
    reader.next_event()
    piece = b"x" * 300
    reader.feed(piece)
    assert reader.next_event() is piece


def heads(raw: list[bytes]) -> list[object]:
    """Read requests without body, one after the other."""
    reader = RequestReader(8192)
    read: list[object] = []
    for piece in raw:
        reader.feed(piece)
        read.append(reader.next_event())
        assert isinstance(reader.next_event(), End)
    return read


COOKIE = b"GET /1 HTTP/1.1\r\nHost: a\r\nCookie: %b\r\n\r\n"


def test_a_head_that_comes_again_is_not_read_again() -> None:
    """What was found out about it is found out once; a head in between that differs in one byte is another."""
    first, second, other, third = heads([COOKIE % b"one", COOKIE % b"one", COOKIE % b"two", COOKIE % b"one"])
    assert second is first
    assert isinstance(other, RequestHead)
    assert other.get(b"cookie") == b"two"
    assert third == first


def test_a_long_head_is_not_kept() -> None:
    """What a connection holds between two requests is bounded by what most of them need."""
    first, second = heads([COOKIE % bytes(b"x" * 2048)] * 2)
    assert second == first
    assert second is not first


def test_a_head_that_comes_again_is_framed_by_the_request_it_answers() -> None:
    """RFC 9112 §6.3: the response to a HEAD request has no body, whatever the same head said before."""
    reader = ResponseReader(HEAD_BYTES)
    told = []
    for method, answer in ((b"GET", OK), (b"HEAD", OK[:-5]), (b"GET", OK)):
        reader.expect(method)
        told.append(tell(reader, [answer]))
    assert told == [[200, b"hello", (), NEED_DATA], [200, (), NEED_DATA], [200, b"hello", (), NEED_DATA]]
