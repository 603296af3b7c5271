from __future__ import annotations

import pytest

from pinproxy.errors import BadRequest, HeadTooLarge, UpstreamClosed
from pinproxy.http1.grammar import MAX_FIELDS
from pinproxy.http1.head import RequestHead, ResponseHead, parse_request_head, parse_response_head

REQUEST = b"GET /a HTTP/1.1\r\nHost: a.example\r\nX: 1\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n"


def test_a_request_head_keeps_spelling_order_and_double_fields() -> None:
    """Names keep their case and order for forwarding; values lose the whitespace around them."""
    raw = b"PUT http://a.example/x?y HTTP/1.0\r\nhOST:a.example\r\nAccept: \t one\t \r\nACCEPT:two\r\nEmpty:\r\n\r\n"
    head = parse_request_head(raw)
    fields = ((b"hOST", b"a.example"), (b"Accept", b"one"), (b"ACCEPT", b"two"), (b"Empty", b""))
    assert RequestHead(b"PUT", b"http://a.example/x?y", 0, fields) == head


def test_fields_are_found_in_any_case() -> None:
    """RFC 9110 §5.1: field names are case-insensitive."""
    head = parse_request_head(b"GET / HTTP/1.1\r\nHOST: a\r\nX-One: 1\r\nx-oNE: 2\r\n\r\n")
    assert [head.get(b"host"), head.get(b"x-one"), head.get(b"x-two")] == [b"a", b"1", None]
    assert [head.get_all(b"x-one"), head.get_all(b"x-two")] == [(b"1", b"2"), ()]


def test_a_response_head_is_read_whole() -> None:
    """RFC 9112 §4: version, status code, reason phrase, fields."""
    head = parse_response_head(b"HTTP/1.0 404 Not Found\r\nServer: s\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n")
    fields = ((b"Server", b"s"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"))
    assert ResponseHead(404, b"Not Found", 0, fields) == head


def test_work_on_a_head_is_done_once_and_a_refusal_each_time() -> None:
    """What is remembered is a result; another function's, or another head's, is another."""
    head = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    asked: list[bytes] = []

    def count(head: RequestHead) -> int:
        asked.append(head.target)
        return len(asked)

    def refuse(head: RequestHead) -> int:
        asked.append(head.target)
        raise BadRequest("no")

    assert [head.once(count), head.once(count)] == [1, 1]
    for _ in range(2):
        with pytest.raises(BadRequest):
            head.once(refuse)
    assert parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").once(count) == 4


def test_the_representation_of_a_head_shows_no_field_and_no_target() -> None:
    """Heads end up in tracebacks and logs; cookies and query strings must not."""
    head = parse_request_head(b"GET /?token=secret HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n")
    assert "secret" not in repr(head)
    assert "GET" in repr(head)


# name: malformed request, the same with one thing changed so that it passes, what the refusal says
REFUSED_REQUESTS: dict[str, tuple[bytes, bytes, str]] = {
    "obs-fold": (b"X: 1\r\n 2", b"X: 1\r\nY: 2", "obs-fold"),
    "obs-fold with a tab": (b"X: 1\r\n\t2", b"X: 1\r\nY: 2", "obs-fold"),
    "space before the colon": (b"X : 1", b"X: 1", "whitespace before the colon"),
    "tab before the colon": (b"X\t: 1", b"X:\t1", "whitespace before the colon"),
    "empty name": (b": 1", b"X: 1", "empty field name"),
    "no colon": (b"X 1", b"X: 1", "no colon"),
    "name not a token": (b"X(y): 1", b"X-y: 1", "not a token"),
    "bare CR in a value": (b"X: 1\r2", b"X: 1 2", "bare CR"),
    "bare CR at the end of a value": (b"X: 1\r", b"X: 1", "bare CR"),
    "bare LF": (b"X: 1\nY: 2", b"X: 1\r\nY: 2", "bare LF"),
    "NUL": (b"X: 1\x002", b"X: 12", "control character"),
    "VT": (b"X: 1\x0b2", b"X: 1\t2", "control character"),
    "FF": (b"X: 1\x0c2", b"X: 1\t2", "control character"),
    "DEL": (b"X: 1\x7f2", b"X: 1~2", "control character"),
    "byte over 0x7f in a value": (b"X: \xe9", b"X: e", "not ASCII"),
    "byte over 0x7f in a name": (b"X\xe9: 1", b"Xe: 1", "not a token"),
    "two Hosts": (b"Host: a.example", b"X-Host: a.example", "2 Host fields"),
}


@pytest.mark.attack(
    "obs-fold, a blank before the colon, an empty name, a bare CR or LF, a NUL, VT, FF or a byte over 0x7f; two Hosts",
    expect="bad_request",
    topic="requests",
    motive="RFC 9112 §5; CVE-2023-25725",
)
@pytest.mark.parametrize("name", REFUSED_REQUESTS)
def test_a_malformed_field_line_of_a_request_is_refused(name: str) -> None:
    """RFC 9112 §5: no folding, no whitespace in names, no control characters; nothing is repaired."""
    malformed, well_formed, reason = REFUSED_REQUESTS[name]
    with pytest.raises(BadRequest, match=reason):
        parse_request_head(b"GET / HTTP/1.1\r\nHost: a.example\r\n" + malformed + b"\r\n\r\n")
    assert parse_request_head(b"GET / HTTP/1.1\r\nHost: a.example\r\n" + well_formed + b"\r\n\r\n").target == b"/"


REFUSED_REQUEST_LINES: dict[str, tuple[bytes, str]] = {
    "HTTP/0.9": (b"GET /", r"HTTP/0\.9"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0", "HTTP/2"),
    "version 1.2": (b"GET / HTTP/1.2", "version"),
    "version 2.0": (b"GET / HTTP/2.0", "version"),
    "version 1": (b"GET / HTTP/1", "version"),
    "version in lower case": (b"GET / http/1.1", "version"),
    "version 1.10": (b"GET / HTTP/1.10", "version"),
    "two spaces": (b"GET  / HTTP/1.1", "method SP target"),
    "space in the target": (b"GET /a b HTTP/1.1", "method SP target"),
    "space behind the version": (b"GET / HTTP/1.1 ", "method SP target"),
    "more behind the authority": (b"CONNECT a HTTP/1.1 x", "method SP target"),
    "space before the method": (b" GET / HTTP/1.1", "method SP target"),
    "tab for a space": (b"GET\t/ HTTP/1.1", "control character"),
    "tab in the target": (b"GET /\t HTTP/1.1", "control character"),
    "control character in the target": (b"GET /\x01 HTTP/1.1", "control character"),
    "NUL in the target": (b"GET /\x00 HTTP/1.1", "control character"),
    "byte over 0x7f in the target": (b"GET /\xc3\xa9 HTTP/1.1", "not ASCII"),
    "fragment": (b"GET /#a HTTP/1.1", "fragment"),
    "method not a token": (b"G@T / HTTP/1.1", "method"),
    "method unknown to llhttp": (b"FROB / HTTP/1.1", "method"),
    "empty line": (b"", "empty line"),
    "TLS": (b"\x16\x03\x01\x02\x00", "control character"),
}


@pytest.mark.attack(
    "CR, LF, blanks, tabs or more words in the request line; HTTP/0.9, other versions, PRI, a fragment",
    expect="bad_request",
    topic="requests",
    motive="CWE-93; smokescreen's hostport vectors",
)
@pytest.mark.parametrize("name", REFUSED_REQUEST_LINES)
def test_a_malformed_request_line_is_refused(name: str) -> None:
    """RFC 9112 §3: method, single spaces, a target of visible ASCII, version 1.0 or 1.1; the twins stand below."""
    line, reason = REFUSED_REQUEST_LINES[name]
    with pytest.raises(BadRequest, match=reason):
        parse_request_head(line + b"\r\nHost: a.example\r\n\r\n")


@pytest.mark.parametrize("target", [b"/", b'/a?b=|{}"\\', b"http://a.example/", b"*"])
@pytest.mark.parametrize("minor", [0, 1])
def test_a_well_formed_request_line_passes(target: bytes, minor: int) -> None:
    """The twins of the refused request lines."""
    head = parse_request_head(b"OPTIONS %b HTTP/1.%d\r\nHost: a.example\r\n\r\n" % (target, minor))
    assert (head.method, head.target, head.minor) == (b"OPTIONS", target, minor)


@pytest.mark.attack("no Host in HTTP/1.1, or one that is no host", expect="bad_request", topic="requests", motive="RFC 9112 §3.2")
def test_a_request_without_host_is_refused_in_http_1_1_only() -> None:
    """RFC 9112 §3.2: HTTP/1.1 asks for Host, HTTP/1.0 does not know it."""
    with pytest.raises(BadRequest, match="0 Host fields"):
        parse_request_head(b"GET / HTTP/1.1\r\n\r\n")
    assert parse_request_head(b"GET / HTTP/1.0\r\n\r\n").get(b"host") is None


@pytest.mark.attack("no Host in HTTP/1.1, or one that is no host", expect="bad_request", topic="requests", motive="RFC 9112 §3.2")
@pytest.mark.parametrize("host", [b"a b", b"a/b", b"u@a", b"a:b", b"a:80:90", b"[::1", b"a\\b", b"[::g]"])
def test_a_host_that_is_none_is_refused(host: bytes) -> None:
    """RFC 9112 §3.2: a Host field with an invalid value is answered with 400."""
    with pytest.raises(BadRequest, match="not a host"):
        parse_request_head(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")


@pytest.mark.parametrize("host", [b"", b"a", b"a.example:8443", b"a:", b"[::1]:80", b"1.2.3.4", b"a_b.example", b"a,b"])
def test_a_host_that_is_one_passes(host: bytes) -> None:
    """The twins of the refused Host values."""
    assert host == parse_request_head(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").get(b"host")


@pytest.mark.parametrize("raw", [b"", b"GET", REQUEST[:-2], REQUEST + b"\r\n", REQUEST + REQUEST, REQUEST[:-4] + b"\n\n"])
def test_anything_but_exactly_one_head_is_refused(raw: bytes) -> None:
    """What is given is one head with its empty line: no byte less, none more."""
    with pytest.raises(BadRequest):
        parse_request_head(raw)
    assert parse_request_head(REQUEST).target == b"/a"


def test_more_fields_than_the_bound_are_too_large() -> None:
    """A bound on lines, for each costs more than its bytes."""
    fits = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * (MAX_FIELDS - 1)
    with pytest.raises(HeadTooLarge, match="257"):
        parse_request_head(fits + b"X: 1\r\n\r\n")
    assert len(parse_request_head(fits + b"\r\n").fields) == MAX_FIELDS
    with pytest.raises(UpstreamClosed, match="257"):
        parse_response_head(RESPONSE[:-2] + b"X: 1\r\n" * MAX_FIELDS + b"\r\n")


REFUSED_RESPONSES: dict[str, tuple[bytes, bytes]] = {
    "no HTTP": (b"SSH-2.0-OpenSSH_9\r\n\r\n", RESPONSE),
    "version 2": (b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
    "version 1.2": (b"HTTP/1.2 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"),
    "two digits": (b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
    "four digits": (b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 200 0 OK\r\n\r\n"),
    "status below 100": (b"HTTP/1.1 099 OK\r\n\r\n", b"HTTP/1.1 999 OK\r\n\r\n"),
    "signed status": (b"HTTP/1.1 +20 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
    "bare CR in the reason": (b"HTTP/1.1 200 O\rK\r\n\r\n", b"HTTP/1.1 200 O\tK\r\n\r\n"),
    "bare LF": (b"HTTP/1.1 200 OK\nX: 1\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n"),
    "obs-fold": (b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: 1\r\nY: 2\r\n\r\n"),
    "space before the colon": (b"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n"),
    "NUL": (b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: \xff\r\n\r\n"),
    "no reason, no space": (b"HTTP/1.1  200\r\n\r\n", b"HTTP/1.1 200\r\n\r\n"),
}


@pytest.mark.attack(
    "the same in a response: folding, control characters, a status line that is none",
    expect="upstream_closed",
    topic="responses",
    motive="RFC 9112 §5",
)
@pytest.mark.parametrize("name", REFUSED_RESPONSES)
def test_a_malformed_response_head_is_refused(name: str) -> None:
    """RFC 9112 §4 and §5, with the same strictness, and bytes over 0x7f in values let through."""
    malformed, well_formed = REFUSED_RESPONSES[name]
    with pytest.raises(UpstreamClosed):
        parse_response_head(malformed)
    assert parse_response_head(well_formed).status in {200, 999}


@pytest.mark.attack(
    "bytes of a bad request, reflected in its refusal",
    expect="neutralise",
    topic="requests",
    motive="CWE-93, CWE-117",
)
def test_a_refusal_repeats_no_byte_of_the_head() -> None:
    """Details stand in logs and answers; what the client sent must not reach them."""
    with pytest.raises(BadRequest) as refusal:
        parse_request_head(b"GET /private HTTP/1.1\r\nHost: private\r\nCookie : private\r\n\r\n")
    assert "private" not in refusal.value.detail
    assert "field line 2" in refusal.value.detail
