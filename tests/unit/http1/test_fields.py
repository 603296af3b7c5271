from __future__ import annotations

import pytest

from pinproxy.errors import BadRequest, InternalError, UpstreamClosed
from pinproxy.http1.fields import (
    add_field,
    downstream_framing,
    encode_chunk,
    encode_last_chunk,
    forward_request_head,
    forward_response_head,
    host_field,
)
from pinproxy.http1.framing import CHUNKED, NO_BODY, UNTIL_CLOSE, BodyKind, Framing
from pinproxy.http1.head import Fields, RequestHead, ResponseHead

FIVE = Framing(BodyKind.LENGTH, 5)


def forwarded_request(
    fields: Fields, *, framing: Framing = NO_BODY, minor: int = 1, keep_upgrade: bool = False, method: bytes = b"GET"
) -> list[bytes]:
    """Forward a request of these fields; return the lines of the head."""
    head = RequestHead(method, b"http://a.example/x", minor, fields)
    raw = forward_request_head(head, framing, path=b"/x", host=b"a.example", keep_upgrade=keep_upgrade)
    assert raw.endswith(b"\r\n\r\n")
    return raw[:-4].split(b"\r\n")


def forwarded_response(
    fields: Fields,
    *,
    framing: Framing = FIVE,
    status: int = 200,
    minor: int = 1,
    client_minor: int = 1,
    keep_alive: bool = True,
) -> list[bytes]:
    """Forward a response of these fields; return the lines of the head."""
    head = ResponseHead(status, b"Why", minor, fields)
    raw = forward_response_head(head, framing, client_minor=client_minor, keep_alive=keep_alive)
    assert raw.endswith(b"\r\n\r\n")
    return raw[:-4].split(b"\r\n")


def test_a_request_goes_on_with_its_fields_in_order_and_ours_around_them() -> None:
    """RFC 9110 §7.6: end-to-end fields untouched, Host rewritten and first, Via added."""
    fields = ((b"hOST", b"b"), (b"Accept", b"*/*"), (b"X-A", b""), (b"accept", b"x"), (b"Via", b"1.0 other"))
    assert forwarded_request(fields) == [
        b"GET /x HTTP/1.1",
        b"Host: a.example",
        b"Accept: */*",
        b"X-A: ",
        b"accept: x",
        b"Via: 1.0 other",
        b"Via: 1.1 pinproxy",
    ]


HOP_BY_HOP: Fields = (
    (b"Connection", b"keep-alive, X-Hop"),
    (b"connection", b"x-other"),
    (b"X-Hop", b"1"),
    (b"x-OTHER", b"1"),
    (b"Keep-Alive", b"timeout=5"),
    (b"Proxy-Connection", b"keep-alive"),
    (b"Proxy-Authorization", b"Basic eDp5"),
    (b"Proxy-Authenticate", b"Basic"),
    (b"TE", b"gzip"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Upgrade", b"websocket"),
    (b"Trailer", b"X-Sum"),
    (b"X-End", b"1"),
)


@pytest.mark.attack(
    "Proxy-Authorization, Proxy-Connection, Keep-Alive, Upgrade and whatever Connection names, sent on",
    expect="neutralise",
    topic="requests",
    motive="CVE-2023-32681; RFC 9110 §7.6.1",
)
def test_hop_by_hop_fields_end_here() -> None:
    """RFC 9110 §7.6.1, both ways; Trailer is for the far end."""
    assert forwarded_request(HOP_BY_HOP)[2:] == [b"Trailer: X-Sum", b"X-End: 1", b"Via: 1.1 pinproxy"]
    response = forwarded_response(HOP_BY_HOP, framing=CHUNKED)
    assert response[1:] == [b"Trailer: X-Sum", b"X-End: 1", b"Transfer-Encoding: chunked", b"Via: 1.1 pinproxy"]


@pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"Transfer-Encoding"])
def test_connection_cannot_drop_framing_or_routing(name: bytes) -> None:
    """Refused rather than dropped; `test_hop_by_hop_fields_end_here` is the twin."""
    with pytest.raises(BadRequest):
        forwarded_request(((b"Connection", name),))
    with pytest.raises(UpstreamClosed):
        forwarded_response(((b"Connection", name),))


def test_an_upgrade_is_carried_only_on_purpose() -> None:
    """RFC 9110 §7.8: Upgrade is hop-by-hop; whoever carries it on says it again."""
    fields = ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"Sec-WebSocket-Key", b"k"))
    carried = [b"Sec-WebSocket-Key: k", b"Upgrade: websocket", b"Connection: upgrade", b"Via: 1.1 pinproxy"]
    assert forwarded_request(fields, keep_upgrade=True)[2:] == carried
    assert forwarded_request(fields)[2:] == [carried[0], carried[3]]
    assert forwarded_response(fields, status=101, framing=NO_BODY)[1:] == carried
    assert forwarded_response(fields, status=426)[-3:] == carried[1:]
    assert forwarded_response(fields)[-2:] == [b"Content-Length: 5", b"Via: 1.1 pinproxy"]


def test_te_goes_on_as_trailers_alone() -> None:
    """RFC 9110 §10.1.4: TE names what the next recipient may do, and needs its connection option."""
    assert forwarded_request(((b"TE", b"gzip;q=0.5, Trailers"),))[2:4] == [b"TE: trailers", b"Connection: TE"]
    assert forwarded_request(((b"TE", b"gzip"),))[2:] == [b"Via: 1.1 pinproxy"]


def test_an_expectation_goes_on_unless_the_client_speaks_http_1_0() -> None:
    """RFC 9110 §10.1.1: 100-continue in an HTTP/1.0 request is ignored."""
    assert b"Expect: 100-continue" in forwarded_request(((b"Expect", b"100-continue"),))
    assert b"Expect: 100-continue" not in forwarded_request(((b"Expect", b"100-continue"),), minor=0)


@pytest.mark.parametrize(("minor", "via"), [(0, b"Via: 1.0 pinproxy"), (1, b"Via: 1.1 pinproxy")])
def test_via_names_the_version_received(minor: int, via: bytes) -> None:
    """RFC 9110 §7.6.3: received-protocol, while the line itself says our version."""
    assert (forwarded_request((), minor=minor)[0], forwarded_request((), minor=minor)[-1]) == (b"GET /x HTTP/1.1", via)
    assert forwarded_response((), minor=minor)[::2] == [b"HTTP/1.1 200 Why", via]


@pytest.mark.parametrize(
    ("framing", "line"),
    [(NO_BODY, None), (FIVE, b"Content-Length: 5"), (CHUNKED, b"Transfer-Encoding: chunked")],
)
def test_framing_fields_are_written_from_the_framing(framing: Framing, line: bytes | None) -> None:
    """Never copied: what was sent is dropped, what was decided is written, once."""
    sent = ((b"Content-Length", b"0005"),)
    framing_lines = [got for got in forwarded_request(sent, framing=framing) if got.lower().startswith((b"con", b"tra"))]
    assert framing_lines == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("status", "expected"), [(200, [b"Content-Length: 7"]), (304, [b"Content-Length: 7"]), (204, []), (103, [])]
)
def test_the_length_of_an_absent_body_is_told_where_it_may_be(status: int, expected: list[bytes]) -> None:
    """RFC 9110 §8.6: HEAD and 304 may tell the length; 1xx and 204 must not."""
    lines = forwarded_response(((b"Content-Length", b"7"),), framing=NO_BODY, status=status)
    assert lines[1:] == [*expected, b"Via: 1.1 pinproxy"]


@pytest.mark.parametrize(
    ("client_minor", "keep_alive", "line"),
    [(1, True, None), (1, False, b"Connection: close"), (0, True, b"Connection: keep-alive"), (0, False, b"Connection: close")],
)
def test_persistence_is_said_where_it_is_not_the_default(client_minor: int, line: bytes | None, *, keep_alive: bool) -> None:
    """RFC 9112 §9.3."""
    lines = forwarded_response((), client_minor=client_minor, keep_alive=keep_alive)
    assert [got for got in lines if got.startswith(b"Connection")] == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("framing", "client_minor", "expected"),
    [
        (UNTIL_CLOSE, 1, CHUNKED),
        (UNTIL_CLOSE, 0, UNTIL_CLOSE),
        (CHUNKED, 1, CHUNKED),
        (CHUNKED, 0, UNTIL_CLOSE),
        (FIVE, 0, FIVE),
        (FIVE, 1, FIVE),
        (NO_BODY, 0, NO_BODY),
    ],
)
def test_bodies_are_framed_anew_for_the_client(framing: Framing, client_minor: int, expected: Framing) -> None:
    """A body until close becomes chunks for HTTP/1.1; HTTP/1.0 knows no chunks."""
    assert downstream_framing(framing, client_minor) == expected


def test_an_interim_response_never_reaches_an_http_1_0_client() -> None:
    """RFC 9110 §15.2."""
    head = ResponseHead(100, b"Continue", 1, ())
    assert forward_response_head(head, NO_BODY, client_minor=0, keep_alive=True) == b""
    forwarded = forward_response_head(head, NO_BODY, client_minor=1, keep_alive=False)
    assert forwarded == b"HTTP/1.1 100 Continue\r\nVia: 1.1 pinproxy\r\n\r\n"


@pytest.mark.parametrize("method", [b"OPTIONS", b"TRACE"])
def test_max_forwards_is_counted_down(method: bytes) -> None:
    """RFC 9110 §7.6.2: for OPTIONS and TRACE, down to 0, and then no further."""
    assert b"max-forwards: 0" in forwarded_request(((b"max-forwards", b"1"),), method=method)
    assert b"Max-Forwards: 0" in forwarded_request(((b"Max-Forwards", b"0"),), method=b"GET")
    for value in (b"0", b"-1", b"", b"1" * 5000):
        with pytest.raises(BadRequest, match="Max-Forwards"):
            forwarded_request(((b"Max-Forwards", value),), method=method)


@pytest.mark.attack("a CR or LF in a field that the proxy writes itself", expect="neutralise", topic="requests", motive="CWE-93")
@pytest.mark.parametrize("path", [b"", b"/a b", b"/\r\nX: 1", b"/\xe9", b"/#"])
def test_a_path_of_ours_cannot_split_the_request(path: bytes) -> None:
    """A defect of ours fails closed."""
    head = RequestHead(b"GET", b"/", 1, ())
    with pytest.raises(InternalError):
        forward_request_head(head, NO_BODY, path=path, host=b"a")
    assert forward_request_head(head, NO_BODY, path=b"/", host=b"a").startswith(b"GET / HTTP/1.1\r\nHost: a\r\n")


@pytest.mark.attack("a CR or LF in a field that the proxy writes itself", expect="neutralise", topic="requests", motive="CWE-93")
@pytest.mark.parametrize("extra", [(b"X", b"1\r\nY: 2"), (b"X", b"\0"), (b"X Y", b"1"), (b"", b"1"), (b"X", b"\xe9")])
def test_a_field_of_ours_cannot_split_a_message(extra: tuple[bytes, bytes]) -> None:
    """A defect of ours fails closed, both ways."""
    request, response = RequestHead(b"GET", b"/", 1, ()), ResponseHead(200, b"", 1, ())
    with pytest.raises(InternalError):
        forward_request_head(request, NO_BODY, path=b"/", host=b"a", extra=[extra])
    written = forward_response_head(response, FIVE, client_minor=1, keep_alive=True)
    with pytest.raises(InternalError):
        add_field(written, *extra)
    raw = add_field(written, b"X-Pinproxy-Id", b"7")
    assert raw.endswith(b"\r\nX-Pinproxy-Id: 7\r\n\r\n")


@pytest.mark.parametrize("host", [b"a b", b"a\r\n", b"u@a", b"\xe9"])
def test_a_host_of_ours_is_one(host: bytes) -> None:
    """A defect of ours fails closed."""
    with pytest.raises(InternalError):
        forward_request_head(RequestHead(b"GET", b"/", 1, ()), NO_BODY, path=b"/", host=host)


@pytest.mark.parametrize(
    ("authority", "scheme", "expected"),
    [
        (b"a:443", b"https", b"a"),
        (b"a:8443", b"https", b"a:8443"),
        (b"a:80", b"https", b"a:80"),
        (b"a:80", b"http", b"a"),
        (b"[::1]:443", b"https", b"[::1]"),
        (b"a", b"https", b"a"),
    ],
)
def test_host_leaves_the_default_port_out(authority: bytes, scheme: bytes, expected: bytes) -> None:
    """RFC 9110 §4.2.3: the normal form of an authority has no default port."""
    assert host_field(authority, scheme) == expected


def test_chunks_are_written_as_they_are_read() -> None:
    """RFC 9112 §7.1; no data is no chunk, for an empty one is the last."""
    assert encode_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert encode_chunk(b"") == b""
    assert encode_last_chunk() == b"0\r\n\r\n"
    assert encode_last_chunk(((b"X-Sum", b"1"),)) == b"0\r\nX-Sum: 1\r\n\r\n"
