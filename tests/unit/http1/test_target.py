from __future__ import annotations

import pytest

from pinproxy.errors import BadRequest
from pinproxy.http1.head import RequestHead
from pinproxy.http1.target import RequestTarget, TargetForm, request_target


def head(method: bytes, target: bytes, host: bytes | None = None) -> RequestHead:
    """Make a head with nothing but a target and a Host field."""
    return RequestHead(method, target, 1, () if host is None else ((b"Host", host),))


ACCEPTED: list[tuple[bytes, bytes, bytes | None, RequestTarget]] = [
    (b"GET", b"/a?b", b"h", RequestTarget(TargetForm.ORIGIN, b"", b"", b"/a?b")),
    (b"GET", b"//a", b"h", RequestTarget(TargetForm.ORIGIN, b"", b"", b"//a")),
    (b"OPTIONS", b"*", b"h", RequestTarget(TargetForm.ASTERISK, b"", b"", b"*")),
    (b"GET", b"http://h/a?b", b"h", RequestTarget(TargetForm.ABSOLUTE, b"http", b"h", b"/a?b")),
    (b"GET", b"HTTPS://h:8443/", b"H:8443", RequestTarget(TargetForm.ABSOLUTE, b"https", b"h:8443", b"/")),
    (b"GET", b"http://h", b"h", RequestTarget(TargetForm.ABSOLUTE, b"http", b"h", b"/")),
    (b"GET", b"http://h?b", b"h", RequestTarget(TargetForm.ABSOLUTE, b"http", b"h", b"/?b")),
    (b"GET", b"http://h/?http://g/", b"h", RequestTarget(TargetForm.ABSOLUTE, b"http", b"h", b"/?http://g/")),
    (b"GET", b"http://h/@", None, RequestTarget(TargetForm.ABSOLUTE, b"http", b"h", b"/@")),
    (b"GET", b"http://h/", b"h:80", RequestTarget(TargetForm.ABSOLUTE, b"http", b"h", b"/")),
    (b"GET", b"https://h:443/", b"h", RequestTarget(TargetForm.ABSOLUTE, b"https", b"h:443", b"/")),
    (b"GET", b"http://[::1]/", b"[::1]:80", RequestTarget(TargetForm.ABSOLUTE, b"http", b"[::1]", b"/")),
    (b"OPTIONS", b"http://h", b"h", RequestTarget(TargetForm.ABSOLUTE, b"http", b"h", b"*")),
    (b"OPTIONS", b"http://h/", b"h", RequestTarget(TargetForm.ABSOLUTE, b"http", b"h", b"/")),
    (b"CONNECT", b"h:443", b"h:443", RequestTarget(TargetForm.AUTHORITY, b"", b"h:443", b"")),
    (b"CONNECT", b"h:443", b"H", RequestTarget(TargetForm.AUTHORITY, b"", b"h:443", b"")),
    (b"CONNECT", b"h:80", b"h", RequestTarget(TargetForm.AUTHORITY, b"", b"h:80", b"")),
    (b"CONNECT", b"h:8443", b"h:8443", RequestTarget(TargetForm.AUTHORITY, b"", b"h:8443", b"")),
    (b"CONNECT", b"[::1]:443", None, RequestTarget(TargetForm.AUTHORITY, b"", b"[::1]:443", b"")),
]


@pytest.mark.parametrize(("method", "target", "host", "expected"), ACCEPTED)
def test_a_target_is_taken_apart(method: bytes, target: bytes, host: bytes | None, expected: RequestTarget) -> None:
    """RFC 9112 §3.2: four forms, and the Host field agrees."""
    assert expected == request_target(head(method, target, host))


REFUSED: list[tuple[bytes, bytes, bytes | None, str]] = [
    (b"GET", b"*", b"h", "OPTIONS only"),
    (b"GET", b"h:443", b"h:443", "forward proxy"),
    (b"GET", b"ftp://h/", b"h", "forward proxy"),
    (b"GET", b"ws://h/", b"h", "forward proxy"),
    (b"GET", b"http:/h/", b"h", "forward proxy"),
    (b"GET", b"http:h", b"h", "forward proxy"),
    (b"GET", b"http://h\\@g/", b"h", "forward proxy"),
    (b"GET", b"http:///a", b"", "authority"),
    (b"GET", b"http://:80/a", b"", "authority"),
    (b"GET", b"http://u@h/", b"h", "userinfo"),
    (b"GET", b"http://u:p@h/", b"h", "userinfo"),
    (b"GET", b"http://h:x/", b"h:x", "authority"),
    (b"GET", b"http://h:1:2/", b"h:1", "authority"),
    (b"GET", b"http://h:123456/", b"h:123456", "authority"),
    (b"GET", b"http://h/", b"g", "Host field"),
    (b"GET", b"http://h/", b"", "Host field"),
    (b"GET", b"http://h/", b"h.", "Host field"),
    (b"GET", b"http://h/", b"h:443", "Host field"),
    (b"GET", b"https://h/", b"h:80", "Host field"),
    (b"GET", b"http://h:8080/", b"h", "Host field"),
    (b"CONNECT", b"h", b"h", "host:port"),
    (b"CONNECT", b"h:", b"h", "host:port"),
    (b"CONNECT", b":443", b":443", "host:port"),
    (b"CONNECT", b"h:+443", b"h", "host:port"),
    (b"CONNECT", b"h:https", b"h", "host:port"),
    (b"CONNECT", b"h:443/", b"h:443", "host:port"),
    (b"CONNECT", b"/h:443", b"h:443", "host:port"),
    (b"CONNECT", b"http://h:443", b"h:443", "host:port"),
    (b"CONNECT", b"::1:443", b"h", "host:port"),
    (b"CONNECT", b"u@h:443", b"h:443", "userinfo"),
    (b"CONNECT", b"h:443", b"g:443", "Host field"),
    (b"CONNECT", b"h:443", b"h:80", "Host field"),
    (b"CONNECT", b"h:8443", b"h", "Host field"),
    (b"CONNECT", b"h:443", b"", "Host field"),
]


@pytest.mark.attack(
    "a target of no form, or a Host field that differs from it",
    expect="bad_request",
    topic="requests",
    motive="RFC 9112 §3.2; a duplicate Host in aiohttp",
)
@pytest.mark.parametrize(("method", "target", "host", "reason"), REFUSED)
def test_a_target_of_no_form_or_of_two_minds_is_refused(method: bytes, target: bytes, host: bytes | None, reason: str) -> None:
    """RFC 9112 §3.2, with userinfo and a differing Host refused; the twins stand in `ACCEPTED`."""
    with pytest.raises(BadRequest, match=reason):
        request_target(head(method, target, host))
