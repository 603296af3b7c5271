"""Basic credentials as clients of a proxy send them (RFC 7617)."""

from __future__ import annotations

import base64

import pytest

from pinproxy.http1.credentials import BasicCredentials, proxy_credentials
from pinproxy.http1.head import RequestHead, parse_request_head


def head(*lines: bytes) -> RequestHead:
    """Make a CONNECT with these fields."""
    return parse_request_head(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n%b\r\n" % b"".join(lines))


def field(value: bytes) -> bytes:
    """Write a Proxy-Authorization line."""
    return b"Proxy-Authorization: %b\r\n" % value


@pytest.mark.parametrize(
    ("userpass", "user", "password"),
    [
        (b"alice:secret", b"alice", b"secret"),
        (b"alice:a:b", b"alice", b"a:b"),
        (b":", b"", b""),
        ("é:ü".encode(), "é".encode(), "ü".encode()),
    ],
)
def test_user_and_password_are_parted_by_the_first_colon(userpass: bytes, user: bytes, password: bytes) -> None:
    """A password may hold colons."""
    token = base64.b64encode(userpass)
    for scheme in (b"Basic ", b"basic ", b"BASIC  "):
        assert proxy_credentials(head(field(scheme + token))) == BasicCredentials(user, password)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"Authorization: Basic YTpi\r\n",),
        (field(b"Bearer YTpi"),),
        (field(b"Basic"),),
        (field(b"Basic a:b"),),
        (field(b"Basic YWI="),),
        (field(b"Basic YTpi"), field(b"Basic YTpi")),
    ],
)
def test_anything_else_is_nobody(lines: tuple[bytes, ...]) -> None:
    """Another field or scheme, no base64, no colon, or two answers to one question."""
    assert proxy_credentials(head(*lines)) is None


@pytest.mark.attack("a client's password in a text", expect="neutralise", topic="secrets", motive="CWE-532")
def test_a_password_is_in_no_text() -> None:
    """`repr` is what tracebacks show."""
    assert repr(BasicCredentials(b"alice", b"secret")) == "BasicCredentials(user=b'alice')"
