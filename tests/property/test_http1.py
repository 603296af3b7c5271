from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pinproxy.errors import Refused
from pinproxy.http1.fields import encode_chunk, encode_last_chunk, forward_request_head, forward_response_head
from pinproxy.http1.framing import BodyKind, request_framing, response_framing
from pinproxy.http1.head import (
    Fields,
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)
from pinproxy.http1.stream import NEED_DATA, End, RequestReader, ResponseReader, Signal
from pinproxy.http1.target import request_target

HEAD_BYTES = 300
TRAFFIC = settings(deadline=None, max_examples=150)

# Fragments from which valid messages, smuggling attempts and rubbish all grow.
FRAGMENTS = st.sampled_from(
    [
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"0",
        b"5",
        b"a",
        b"\0",
        b"\xe9",
        b"hello",
        b"GET / HTTP/1.1\r\n",
        b"POST http://h/ HTTP/1.0\r\n",
        b"CONNECT h:443 HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 \r\n\r\n",
        b"HTTP/1.0 204 \r\n",
        b"HTTP/1.1 101 \r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"Host: h\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: x\r\n",
        b"5\r\nhello\r\n",
        b"5;a=b\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nX: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"X" * 100,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ]
)
STREAMS = st.lists(FRAGMENTS | st.binary(max_size=4), max_size=12).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=8)

Story = list[object]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Cut the data at these offsets."""
    return [data[start:end] for start, end in pairwise([0, *sorted(min(one, len(data)) for one in at), len(data)])]


def tell(reader: RequestReader | ResponseReader, pieces: list[bytes]) -> Story:
    """Feed the pieces and the end; list the events with bodies joined, up to a signal or refusal that ends it."""
    story: Story = []
    for index in range(len(pieces) + 1):
        if index < len(pieces):
            reader.feed(pieces[index])
        else:
            reader.feed_eof()
        while True:
            try:
                event = reader.next_event()
            except Refused as refusal:
                return [*story, type(refusal)]
            if event is NEED_DATA:
                break
            if isinstance(event, Signal):
                return [*story, event]
            if isinstance(event, bytes) and story and isinstance(story[-1], bytes):
                story[-1] += event
            else:
                story.append(event)
    return story


def answers(method: bytes, *, may_upgrade: bool) -> ResponseReader:
    """Make a reader that awaits one response."""
    reader = ResponseReader(HEAD_BYTES)
    reader.expect(method, may_upgrade=may_upgrade)
    return reader


@TRAFFIC
@given(STREAMS, CUTS)
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", [1, 2, 3])
def test_requests_tell_one_story_however_they_are_cut(data: bytes, at: list[int]) -> None:
    """Whole, in pieces and byte by byte: the same events and the same end, and nothing but `Refused` escapes."""
    whole = tell(RequestReader(HEAD_BYTES), [data])
    assert tell(RequestReader(HEAD_BYTES), cut(data, at)) == whole
    assert tell(RequestReader(HEAD_BYTES), cut(data, list(range(len(data))))) == whole


@TRAFFIC
@given(STREAMS, CUTS, st.sampled_from([b"GET", b"HEAD", b"CONNECT"]), st.booleans())
def test_responses_tell_one_story_however_they_are_cut(data: bytes, at: list[int], method: bytes, may_upgrade: bool) -> None:
    """Whole, in pieces and byte by byte: the same events and the same end, and nothing but `Refused` escapes."""
    whole = tell(answers(method, may_upgrade=may_upgrade), [data])
    assert tell(answers(method, may_upgrade=may_upgrade), cut(data, at)) == whole
    assert tell(answers(method, may_upgrade=may_upgrade), cut(data, list(range(len(data))))) == whole


@TRAFFIC
@given(
    st.sampled_from([b"POST / HTTP/1.1\r\nHost: h\r\nX: yz\r\nContent-Length: 5\r\n\r\n", b"GET http://h/ HTTP/1.0\r\n\r\n"]),
    st.integers(0, 60),
    st.binary(max_size=3),
    st.integers(0, 3),
)
def test_a_mutated_head_is_refused_or_reads_as_it_is_written(raw: bytes, at: int, new: bytes, dropped: int) -> None:
    """What the parser accepts, a naive split by line and colon reads the same way: no byte has a second meaning."""
    mutated = raw[:at] + new + raw[at + dropped :]
    try:
        head = parse_request_head(mutated)
    except Refused:
        return
    first, *lines = mutated.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert first.split(b" ") == [head.method, head.target, b"HTTP/1.%d" % head.minor]
    assert tuple((name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)) == head.fields


NAMES = st.from_regex(rb"\A[a-z!#$%&'*+.^_`|~0-9-]{1,12}\Z").map(lambda name: b"x" + name)
VALUES = st.from_regex(rb"\A(?:[!-~](?:[\t -~]{0,20}[!-~])?)?\Z")
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(tuple)
FRAMING_FIELDS = st.sampled_from([(), ((b"content-length", b"5"),), ((b"transfer-encoding", b"chunked"),)])


def end_to_end(fields: Fields) -> Fields:
    """Keep the fields that the strategies above made; all of them start with an x."""
    return tuple(line for line in fields if line[0].startswith(b"x"))


@TRAFFIC
@given(FIELDS, FRAMING_FIELDS)
def test_a_forwarded_request_reads_back_the_same(fields: Fields, framing_fields: Fields) -> None:
    """Forwarding keeps method, path, framing and every end-to-end field in order, and is a fixed point."""
    lines = b"".join(b"%b: %b\r\n" % line for line in (*fields, *framing_fields))
    head = parse_request_head(b"PUT http://h/p?q HTTP/1.1\r\nHost: h\r\n" + lines + b"\r\n")
    framing = request_framing(head)
    again = parse_request_head(forward_request_head(head, framing, path=request_target(head).path, host=b"h"))
    assert (again.method, again.target, again.get(b"host")) == (b"PUT", b"/p?q", b"h")
    assert request_framing(again) == framing
    assert end_to_end(again.fields) == end_to_end(head.fields) == fields


@TRAFFIC
@given(FIELDS, FRAMING_FIELDS, st.integers(200, 999), st.booleans())
def test_a_forwarded_response_reads_back_the_same(fields: Fields, framing_fields: Fields, status: int, keep_alive: bool) -> None:
    """Forwarding keeps status, framing and every end-to-end field in order."""
    lines = b"".join(b"%b: %b\r\n" % line for line in (*fields, *framing_fields))
    head = parse_response_head(b"HTTP/1.1 %d Why\r\n" % status + lines + b"\r\n")
    framing = response_framing(head, b"GET")
    again = parse_response_head(forward_response_head(head, framing, client_minor=1, keep_alive=keep_alive))
    assert (again.status, again.reason) == (status, b"Why")
    assert response_framing(again, b"GET") == framing
    assert end_to_end(again.fields) == fields


@TRAFFIC
@given(st.lists(st.binary(max_size=40), max_size=6), FIELDS, CUTS)
def test_chunks_that_we_write_are_chunks_that_we_read(bodies: list[bytes], trailers: Fields, at: list[int]) -> None:
    """Encoding and decoding are inverse, trailers included, up to the very end of the message."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head + b"".join(map(encode_chunk, bodies)) + encode_last_chunk(trailers)
    story = tell(answers(b"GET", may_upgrade=False), cut(data, at))
    body = b"".join(bodies)
    assert isinstance(story[0], ResponseHead)
    assert story[1:-1] == ([body] if body else []) + [End(trailers)]


@TRAFFIC
@given(STREAMS)
def test_every_body_of_a_known_length_has_that_length(data: bytes) -> None:
    """Whatever comes in, what goes out under a Content-Length is neither shorter nor longer."""
    reader = RequestReader(HEAD_BYTES)
    reader.feed(data)
    expected = got = 0
    try:
        while not isinstance(event := reader.next_event(), Signal):
            if isinstance(event, RequestHead):
                expected, got = reader.framing.length, 0
            elif isinstance(event, bytes):
                got += len(event)
            elif reader.framing.kind is not BodyKind.CHUNKED:
                assert got == expected
    except Refused:
        return
