"""The messages that llhttp and h11 are tested with: each is refused, or forwarded so that h11 reads what we read, and no more."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import h11
import pytest

from pinproxy.errors import BadRequest, ClientClosed, Refused, UpstreamClosed
from pinproxy.http1.fields import (
    downstream_framing,
    encode_chunk,
    encode_last_chunk,
    forward_request_head,
    forward_response_head,
)
from pinproxy.http1.framing import BodyKind, Framing
from pinproxy.http1.head import RequestHead, ResponseHead
from pinproxy.http1.stream import End, RequestReader, ResponseReader, Signal

CORPORA = tomllib.loads((Path(__file__).parents[2] / "data/http1/corpora.toml").read_text("utf-8"))
HEAD_BYTES = 64 * 1024


def messages(kind: str) -> dict[str, bytes]:
    """List the messages of a kind, requests without a Host in both states, for that alone would have most of them refused."""
    found = {f"{origin}: {name}": text.encode("latin-1") for origin in CORPORA for name, text in CORPORA[origin][kind].items()}
    if kind == "requests":
        for name, message in list(found.items()):
            first, end, rest = message.removeprefix(b"\r\n").partition(b"\r\n")
            if end and b"Host:" not in message:
                found[f"{name}, with a Host"] = first + b"\r\nHost: a.example\r\n" + rest
    return found


REQUESTS, RESPONSES = messages("requests"), messages("responses")
Message = tuple[bytes, bytes, bytes]
"""One message as a reader tells it: method and target, or status; its body; the bytes that we would forward."""


def read(reader: RequestReader | ResponseReader, data: bytes, size: int) -> tuple[list[Message], type[Refused] | None]:
    """Feed a reader pieces of a size and the end; returns the whole messages it told, and what it refused the rest with."""
    told: list[Message] = []
    head: RequestHead | ResponseHead | None = None
    body = b""
    try:
        for start in [*range(0, len(data), size), len(data)]:
            if start < len(data):
                reader.feed(data[start : start + size])
            else:
                reader.feed_eof()
            while not isinstance(event := reader.next_event(), Signal):
                if isinstance(event, RequestHead | ResponseHead):
                    head, body = event, b""
                elif isinstance(event, bytes):
                    body += event
                elif head is not None:
                    told.append(_message(head, reader.framing, body, event))
    except Refused as refusal:
        return told, type(refusal)
    return told, None


def _message(head: RequestHead | ResponseHead, framing: Framing, body: bytes, end: End) -> Message:
    if isinstance(head, RequestHead):
        first = head.method + b" " + head.target
        forwarded = forward_request_head(head, framing, path=head.target, host=b"a.example")
    else:
        first = b"%d" % head.status
        framing = downstream_framing(framing, client_minor=1)
        forwarded = forward_response_head(head, framing, client_minor=1, keep_alive=True)
    is_chunked = framing.kind is BodyKind.CHUNKED
    return first, body, forwarded + (encode_chunk(body) + encode_last_chunk(end.trailers) if is_chunked else body)


def read_by_h11(role: type[h11.SERVER | h11.CLIENT], data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Have h11 read messages: what a message begins with, and its body."""
    connection = h11.Connection(role)
    if role is h11.CLIENT:
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a.example")]))
        connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    first = body = b""
    while not isinstance(event := connection.next_event(), type):  # NEED_DATA and PAUSED are classes
        if isinstance(event, h11.Request):
            first, body = event.method + b" " + event.target, b""
        elif isinstance(event, h11.Response):
            first, body = b"%d" % event.status_code, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            yield first, body
            if role is h11.CLIENT:
                break
            connection.send(h11.Response(status_code=204, headers=[]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                break
            connection.start_next_cycle()
    assert connection.trailing_data[0] == b""


@pytest.mark.attack(
    "the requests that llhttp and h11 are tested with: refused, or forwarded strictly valid, and never one as two",
    expect="bad_request",
    topic="requests",
    motive="the test suites of llhttp and h11",
)
@pytest.mark.parametrize("data", REQUESTS.values(), ids=REQUESTS.keys())
def test_a_request_of_the_corpora_is_refused_or_forwarded_as_it_was_read(data: bytes) -> None:
    """Whole and byte by byte; h11 reads in what came in, and in what goes out, the requests that we read, and no others."""
    told, refusal = read(RequestReader(HEAD_BYTES), data, len(data))
    assert read(RequestReader(HEAD_BYTES), data, 1) == (told, refusal)
    assert refusal in {None, BadRequest, ClientClosed}  # the last: the body is shorter than the head says
    seen = [(first, body) for first, body, _ in told]
    for _, _, forwarded in told:
        assert len(list(read_by_h11(h11.SERVER, forwarded))) == 1
    assert [request for _, _, forwarded in told for request in read_by_h11(h11.SERVER, forwarded)] == seen
    if told and refusal is None:
        assert list(read_by_h11(h11.SERVER, data)) == seen


@pytest.mark.attack(
    "the responses that llhttp and h11 are tested with: refused, or forwarded strictly valid, and never one as two",
    expect="upstream_closed",
    topic="responses",
    motive="the test suites of llhttp and h11",
)
@pytest.mark.parametrize("data", RESPONSES.values(), ids=RESPONSES.keys())
def test_a_response_of_the_corpora_is_refused_or_forwarded_as_it_was_read(data: bytes) -> None:
    """The same the other way: at most one answer to one request."""

    def answers() -> ResponseReader:
        reader = ResponseReader(HEAD_BYTES)
        reader.expect(b"GET")
        return reader

    told, refusal = read(answers(), data, len(data))
    assert read(answers(), data, 1) == (told, refusal)
    assert refusal in {None, UpstreamClosed}
    assert len(told) <= 1
    for first, body, forwarded in told:
        assert list(read_by_h11(h11.CLIENT, forwarded)) == [(first, body)]


def test_both_corpora_hold_messages_that_pass_and_messages_that_do_not() -> None:
    """The test above can tell the difference: neither everything is refused nor everything let through."""
    outcomes = [read(RequestReader(HEAD_BYTES), data, len(data)) for data in REQUESTS.values()]
    passed = sum(bool(told) for told, _ in outcomes)
    assert 20 < passed < len(outcomes) - 60
