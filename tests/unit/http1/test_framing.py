from __future__ import annotations

import pytest

from pinproxy.errors import BadRequest, UpstreamClosed
from pinproxy.http1.connection import asks_upgrade, connection_options, keeps_alive
from pinproxy.http1.framing import CHUNKED, NO_BODY, UNTIL_CLOSE, BodyKind, Framing, request_framing, response_framing
from pinproxy.http1.head import Fields, RequestHead, ResponseHead

LENGTH_5 = Framing(BodyKind.LENGTH, 5)
FIVE = ((b"Content-Length", b"5"),)
CHUNKS = ((b"Transfer-Encoding", b"chunked"),)


def request(fields: Fields, *, method: bytes = b"POST", minor: int = 1) -> RequestHead:
    """Make a request head of these fields."""
    return RequestHead(method, b"/", minor, fields)


def response(fields: Fields, *, status: int = 200, minor: int = 1) -> ResponseHead:
    """Make a response head of these fields."""
    return ResponseHead(status, b"", minor, fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), NO_BODY),
        (FIVE, LENGTH_5),
        (((b"content-length", b"0"),), Framing(BodyKind.LENGTH, 0)),
        (((b"content-length", b"0005"),), LENGTH_5),
        (((b"Content-Length", b"9223372036854775807"),), Framing(BodyKind.LENGTH, 2**63 - 1)),
        (CHUNKS, CHUNKED),
        (((b"TRANSFER-encoding", b"Chunked"),), CHUNKED),
    ],
)
def test_a_clear_framing_is_read(fields: Fields, expected: Framing) -> None:
    """RFC 9112 §6.3, for both kinds of message."""
    assert expected == request_framing(request(fields))
    assert (expected if fields else UNTIL_CLOSE) == response_framing(response(fields), b"GET")


AMBIGUOUS: dict[str, Fields] = {
    "length and chunked": FIVE + CHUNKS,
    "chunked and length": CHUNKS + FIVE,
    "two lengths": ((b"Content-Length", b"5"), (b"Content-Length", b"6")),
    "the same length twice": FIVE + FIVE,
    "list of lengths": ((b"Content-Length", b"5, 5"),),
    "signed length": ((b"Content-Length", b"+5"),),
    "negative length": ((b"Content-Length", b"-5"),),
    "inner space": ((b"Content-Length", b"5 5"),),
    "underscore": ((b"Content-Length", b"5_0"),),
    "hexadecimal": ((b"Content-Length", b"0x5"),),
    "fraction": ((b"Content-Length", b"5.0"),),
    "other digits": ((b"Content-Length", b"\xd9\xa5"),),
    "empty length": ((b"Content-Length", b""),),
    "length over 2^63-1": ((b"Content-Length", b"9223372036854775808"),),
    "length of 5000 digits": ((b"Content-Length", b"1" * 5000),),
    "xchunked": ((b"Transfer-Encoding", b"xchunked"),),
    "chunked twice": CHUNKS + CHUNKS,
    "chunked, identity": ((b"Transfer-Encoding", b"chunked, identity"),),
    "gzip, chunked": ((b"Transfer-Encoding", b"gzip, chunked"),),
    "chunked, chunked": ((b"Transfer-Encoding", b"chunked, chunked"),),
    "chunked;a=b": ((b"Transfer-Encoding", b"chunked;a=b"),),
    "identity": ((b"Transfer-Encoding", b"identity"),),
    "empty coding": ((b"Transfer-Encoding", b""),),
    "quoted": ((b"Transfer-Encoding", b'"chunked"'),),
    "vertical tab": ((b"Transfer-Encoding", b"\x0bchunked"),),
}


@pytest.mark.attack(
    "two framings, two lengths, a list, a sign, an underscore, an empty or a huge length; a coding that is not exactly chunked",
    expect=("bad_request", "upstream_closed"),
    topic="requests",
    motive="RFC 9112 §6.1 to §6.3; CVE-2022-24766, CVE-2023-40225",
)
@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_ambiguous_framing_is_refused(name: str) -> None:
    """RFC 9112 §6.1 to §6.3: what two readers could read differently is an error; the twins pass above."""
    with pytest.raises(BadRequest):
        request_framing(request(AMBIGUOUS[name]))
    with pytest.raises(UpstreamClosed):
        response_framing(response(AMBIGUOUS[name]), b"GET")
    with pytest.raises(UpstreamClosed):
        response_framing(response(AMBIGUOUS[name]), b"HEAD")


@pytest.mark.attack("chunks in HTTP/1.0", expect=("bad_request", "upstream_closed"), topic="requests", motive="RFC 9112 §6.1")
def test_chunks_in_http_1_0_are_refused() -> None:
    """RFC 9112 §6.1: Transfer-Encoding in an HTTP/1.0 message is faulty framing; a length is fine."""
    with pytest.raises(BadRequest):
        request_framing(request(CHUNKS, minor=0))
    with pytest.raises(UpstreamClosed):
        response_framing(response(CHUNKS, minor=0), b"GET")
    assert request_framing(request(FIVE, minor=0)) == LENGTH_5


@pytest.mark.parametrize("fields", [FIVE, CHUNKS])
def test_connect_with_a_body_is_refused(fields: Fields) -> None:
    """RFC 9110 §9.3.6: a CONNECT request has no content; a length of 0 says the same."""
    with pytest.raises(BadRequest):
        request_framing(request(fields, method=b"CONNECT"))
    assert request_framing(request(((b"Content-Length", b"0"),), method=b"CONNECT")) == NO_BODY


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        (b"HEAD", 200, NO_BODY),
        (b"GET", 204, NO_BODY),
        (b"GET", 304, NO_BODY),
        (b"GET", 103, NO_BODY),
        (b"GET", 101, NO_BODY),
        (b"CONNECT", 200, NO_BODY),
        (b"CONNECT", 299, NO_BODY),
        (b"CONNECT", 407, LENGTH_5),
        (b"GET", 205, LENGTH_5),
        (b"GET", 200, LENGTH_5),
    ],
)
def test_some_responses_have_no_body_whatever_their_fields_say(method: bytes, status: int, expected: Framing) -> None:
    """RFC 9112 §6.3, rules 1 and 2."""
    assert expected == response_framing(response(FIVE, status=status), method)


@pytest.mark.parametrize(
    ("minor", "connection", "expected"),
    [
        (1, (), True),
        (1, (b"close",), False),
        (1, (b"Close",), False),
        (1, (b"keep-alive, close",), False),
        (1, (b"x", b"CLOSE"), False),
        (1, (b"keep-alive",), True),
        (0, (), False),
        (0, (b"Keep-Alive",), True),
        (0, (b"keep-alive, close",), False),
        (0, (b"x ,keep-alive,",), True),
    ],
)
def test_persistence_is_read_from_version_and_connection(minor: int, connection: tuple[bytes, ...], *, expected: bool) -> None:
    """RFC 9112 §9.3, for both kinds of message."""
    fields = tuple((b"Connection", value) for value in connection)
    assert expected == keeps_alive(request(fields, minor=minor)) == keeps_alive(response(fields, minor=minor))


@pytest.mark.attack(
    "a Connection field that names Host or the framing, to have it removed",
    expect=("bad_request", "upstream_closed"),
    topic="requests",
    motive="RFC 9110 §7.6.1",
)
@pytest.mark.parametrize("option", [b"Host", b"content-length", b"x, Transfer-Encoding", b"a b", b"a;b", b'"close"'])
def test_connection_may_not_name_what_framing_and_routing_rest_on(option: bytes) -> None:
    """Dropping such a field would change the message for the next hop; other names pass."""
    with pytest.raises(BadRequest):
        connection_options(request(((b"Connection", option),)))
    with pytest.raises(UpstreamClosed):
        connection_options(response(((b"Connection", option),)))
    assert {b"x-host", b"close"} == connection_options(request(((b"Connection", b"X-Host ,, close"),)))


@pytest.mark.parametrize(
    ("minor", "fields", "expected"),
    [
        (1, ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")), True),
        (1, ((b"Connection", b"keep-alive, upgrade"), (b"Upgrade", b"websocket")), True),
        (1, ((b"Upgrade", b"websocket"),), False),
        (1, ((b"Connection", b"Upgrade"),), False),
        (0, ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")), False),
    ],
)
def test_an_upgrade_is_asked_for_by_two_fields_and_not_in_http_1_0(minor: int, fields: Fields, *, expected: bool) -> None:
    """RFC 9110 §7.8."""
    assert expected == asks_upgrade(request(fields, minor=minor))


@pytest.mark.parametrize(
    ("framing", "expected"),
    [(NO_BODY, True), (Framing(BodyKind.LENGTH, 0), True), (LENGTH_5, False), (CHUNKED, False), (UNTIL_CLOSE, False)],
)
def test_only_a_body_that_cannot_have_a_byte_is_empty(framing: Framing, *, expected: bool) -> None:
    """What decides whether a request can be sent again: chunks and an open end may hold anything."""
    assert framing.is_empty == expected
