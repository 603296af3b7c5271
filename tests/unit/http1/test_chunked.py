from __future__ import annotations

import pytest

from pinproxy.errors import BadRequest, HeadTooLarge, Refused, UpstreamClosed
from pinproxy.http1.chunked import MAX_EXTENSION_BYTES, ChunkedDecoder
from pinproxy.http1.grammar import MAX_FIELDS, REQUESTS, RESPONSES, Side
from pinproxy.http1.head import Fields

TRAILER_BYTES = 1024


def decode(data: bytes, size: int, side: Side = REQUESTS) -> tuple[bytes, Fields, bytes] | type[Refused] | None:
    """Feed `data` in pieces of `size`; return body, trailers and rest, or the refusal, or None while incomplete."""
    decoder = ChunkedDecoder(side, TRAILER_BYTES)
    body, rest = b"", b""
    for start in range(0, len(data), size):
        rest += data[start : start + size]
        while not decoder.is_done:
            try:
                piece, end = decoder.feed(rest)
            except Refused as refusal:
                return type(refusal)
            body += piece
            rest = rest[end:]
            if not end:
                break
    return (body, decoder.trailers, rest) if decoder.is_done else None


SIZES = [1, 2, 3, 7, 10_000]

DECODED: dict[str, tuple[bytes, bytes, Fields]] = {
    "empty": (b"0\r\n\r\n", b"", ()),
    "many zeros": (b"0000\r\n\r\n", b"", ()),
    "two chunks": (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", ()),
    "upper and lower case": (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2, ()),
    "sixteen digits": (b"0000000000000001\r\nx\r\n0\r\n\r\n", b"x", ()),
    "CRLF in the data": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", ()),
    "extensions": (b'1;a;b=c ; d = "e\\"\t;"\r\nx\r\n0;last\r\n\r\n', b"x", ()),
    "trailers": (b"0\r\nDigest: a\r\nX-Sum:  b \r\n\r\n", b"", ((b"Digest", b"a"), (b"X-Sum", b"b"))),
    "trailers that may not stand there": (
        b"0\r\nContent-Length: 5\r\nX: 1\r\nhost: h\r\nTransfer-Encoding: a\r\nCookie: c\r\nConnection: c\r\nTE: t\r\n\r\n",
        b"",
        ((b"X", b"1"),),
    ),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DECODED)
def test_a_chunked_body_is_decoded_up_to_its_very_end(name: str, size: int) -> None:
    """RFC 9112 §7.1: data, trailers, and not one byte of what follows, however the bytes are cut."""
    data, body, trailers = DECODED[name]
    assert decode(data + b"GET / next", size) == (body, trailers, b"GET / next")


MALFORMED: dict[str, bytes] = {
    "no digit": b"\r\n\r\n",
    "hexadecimal prefix": b"0x1\r\nx\r\n0\r\n\r\n",
    "underscore": b"0_1\r\nx\r\n0\r\n\r\n",
    "sign": b"+1\r\nx\r\n0\r\n\r\n",
    "negative": b"-1\r\nx\r\n0\r\n\r\n",
    "space before": b" 1\r\nx\r\n0\r\n\r\n",
    "space behind": b"1 \r\nx\r\n0\r\n\r\n",
    "not a digit": b"g\r\nx\r\n0\r\n\r\n",
    "seventeen digits": b"00000000000000001\r\nx\r\n0\r\n\r\n",
    "over 2^63-1": b"8000000000000000\r\n",
    "bare LF behind the size": b"1\nx\r\n0\r\n\r\n",
    "bare CR in an extension": b"1;a\rb\r\nx\r\n0\r\n\r\n",
    "bare LF in an extension": b"1;a\nb\r\nx\r\n0\r\n\r\n",
    "NUL in an extension": b"1;a=\0\r\nx\r\n0\r\n\r\n",
    "extension without a name": b"1;\r\nx\r\n0\r\n\r\n",
    "extension without an end": b'1;a="b\r\nx\r\n0\r\n\r\n',
    "too much data": b"1\r\nxy\r\n0\r\n\r\n",
    "LF behind the data": b"1\r\nx\n0\r\n\r\n",
    "two other bytes behind the data": b"1\r\nxyz0\r\n\r\n",
    "nothing behind the data": b"1\r\nx0\r\n\r\n",
    "obs-fold in a trailer": b"0\r\nX: 1\r\n 2\r\n\r\n",
    "space before the colon of a trailer": b"0\r\nX : 1\r\n\r\n",
    "bare LF in a trailer": b"0\r\nX: 1\nY: 2\r\n\r\n",
    "NUL in a trailer": b"0\r\nX: \0\r\n\r\n",
    "one line of extensions over the bound": b"1;" + b"a" * MAX_EXTENSION_BYTES + b"\r\nx\r\n0\r\n\r\n",
    "extensions over the bound together": (b"1;" + b"a" * 1023 + b"\r\nx\r\n") * 4 + b"1;a\r\nx\r\n0\r\n\r\n",
    "a chunk line without an end": b"1;" + b"a" * (MAX_EXTENSION_BYTES + 20),
}


@pytest.mark.attack(
    "a chunk line with 0x, a sign, an underscore, long extensions or a bare LF; data that is longer or shorter than said",
    expect=("bad_request", "upstream_closed"),
    topic="requests",
    motive="the HTTP Garden; PEP 515 integers; RFC 9112 §7.1",
)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_chunk_is_refused(name: str, size: int) -> None:
    """RFC 9112 §7.1, strictly, however the bytes are cut; the twins are in `DECODED`."""
    assert BadRequest is decode(MALFORMED[name], size)
    assert UpstreamClosed is decode(MALFORMED[name], size, RESPONSES)


def test_extensions_up_to_the_bound_pass() -> None:
    """The twin of the extensions over the bound."""
    data = (b"1;" + b"a" * 1023 + b"\r\nx\r\n") * 4 + b"0\r\n\r\n"
    assert decode(data, len(data)) == (b"xxxx", (), b"")


@pytest.mark.attack("trailers without a bound", expect="head_too_large", topic="requests", motive="RFC 9112 §7.1.2")
@pytest.mark.parametrize("size", [1, 10_000])
def test_trailers_are_bounded_in_bytes_and_lines(size: int) -> None:
    """A trailer section is a head that comes late, and bounded like one."""
    fits = b"0\r\nX: " + b"a" * (TRAILER_BYTES - 7) + b"\r\n\r\n"
    assert decode(fits, size) == (b"", ((b"X", b"a" * (TRAILER_BYTES - 7)),), b"")
    assert HeadTooLarge is decode(fits.replace(b"X", b"XY"), size)
    assert HeadTooLarge is decode(b"0\r\nX: " + b"a" * TRAILER_BYTES, size)
    decoder = ChunkedDecoder(REQUESTS, 10_000)
    with pytest.raises(HeadTooLarge, match="257"):
        decoder.feed(b"0\r\n" + b"X: 1\r\n" * (MAX_FIELDS + 1) + b"\r\n")


def test_trailers_of_a_response_may_hold_obs_text_and_those_of_a_request_may_not() -> None:
    """The same rule as for the fields of a head."""
    assert decode(b"0\r\nX: \xe9\r\n\r\n", 1, RESPONSES) == (b"", ((b"X", b"\xe9"),), b"")
    assert BadRequest is decode(b"0\r\nX: \xe9\r\n\r\n", 1)


@pytest.mark.attack(
    "trailers that carry hop-by-hop or framing fields",
    expect="neutralise",
    topic="requests",
    motive="RFC 9110 §6.5.1, §7.6.1",
)
def test_trailers_that_the_connection_field_names_end_here() -> None:
    """RFC 9110 §7.6.1: connection options remove trailer fields too."""
    decoder = ChunkedDecoder(REQUESTS, TRAILER_BYTES, frozenset({b"x-hop"}))
    decoder.feed(b"0\r\nX-Hop: 1\r\nX-End: 2\r\n\r\n")
    assert decoder.trailers == ((b"X-End", b"2"),)


def test_what_precedes_a_malformed_chunk_is_delivered_first() -> None:
    """Whole or byte by byte, the same bytes come out before the refusal."""
    decoder = ChunkedDecoder(REQUESTS, TRAILER_BYTES)
    data = b"5\r\nhello\r\nz\r\n"
    body, end = decoder.feed(data)
    assert (body, end) == (b"hello", 10)
    with pytest.raises(BadRequest):
        decoder.feed(data, end)
