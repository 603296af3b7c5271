"""The name in Via: one's own is known wherever it stands, another's never taken for it."""

from __future__ import annotations

import pytest

from pinproxy.http1.head import parse_request_head
from pinproxy.http1.via import make_own_name

OURS, THEIRS = make_own_name(b"\x01" * 8), make_own_name(b"\x02" * 8)
NAME = b"pinproxy-0101010101010101"


def has_seen(*lines: bytes) -> bool:
    """Ask of a request with these field lines."""
    head = b"".join([b"GET / HTTP/1.1\r\nHost: a\r\n", *(line + b"\r\n" for line in lines), b"\r\n"])
    return OURS.has_seen(parse_request_head(head))


def test_the_name_has_the_random_part_in_hex() -> None:
    """A pseudonym, which is what a host stands for in Via (RFC 9110 §7.6.3)."""
    assert OURS.pseudonym == NAME
    assert OURS.lines == (b"Via: 1.0 " + NAME, b"Via: 1.1 " + NAME)


def test_a_connect_that_goes_on_names_everybody_in_order() -> None:
    """Each appends its own."""
    assert OURS.with_us((b"1.0 fred, 1.1 " + THEIRS.pseudonym,)) == (b"1.0 fred, 1.1 " + THEIRS.pseudonym, b"1.1 " + NAME)


@pytest.mark.attack("a loop through a second proxy", expect="loop_detected", topic="authority", motive="RFC 9110 §7.6.3")
@pytest.mark.parametrize(
    "lines",
    [
        (b"Via: 1.1 " + NAME,),
        (b"via:1.0 fred , 1.1 " + NAME + b", 1.1 last",),
        (b"Via: 1.0 fred", b"Via: HTTP/1.1 " + NAME.upper() + b" (why not, indeed)"),
    ],
)
def test_a_request_that_passed_us_is_known(lines: tuple[bytes, ...]) -> None:
    """However others have put the field together."""
    assert has_seen(*lines)


@pytest.mark.parametrize("lines", [(), (b"Via: 1.1 pinproxy",), (b"Via: 1.1 " + THEIRS.pseudonym,), (b"X-Via: 1.1 " + NAME,)])
def test_a_request_that_passed_others_is_not(lines: tuple[bytes, ...]) -> None:
    """Another pinproxy on the way is no circle."""
    assert not has_seen(*lines)
