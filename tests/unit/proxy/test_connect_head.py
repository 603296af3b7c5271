"""CONNECT heads that come again."""

from __future__ import annotations

import pytest

from pinproxy.errors import BadRequest
from pinproxy.http1.head import parse_request_head
from pinproxy.proxy.connection import parse_connect_head


def head(further: str = "", host: str = "api.example.test:443") -> bytes:
    """Write a CONNECT."""
    return f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{further}\r\n".encode()


def test_a_head_that_comes_again_is_read_once() -> None:
    """The same bytes are the same head; others are others."""
    again = parse_connect_head(head())
    assert parse_connect_head(head()) is again
    assert again == parse_request_head(head())
    assert parse_connect_head(head(host="b.example.test:443")).target == b"b.example.test:443"


@pytest.mark.parametrize(
    "further",
    ["Proxy-Authorization: Basic YTpi\r\n", "AUTHORIZATION: x\r\n", "Cookie: a=b\r\n", f"User-Agent: {'x' * 512}\r\n"],
    ids=["proxy credentials", "credentials", "cookie", "long"],
)
def test_a_head_with_a_secret_or_a_long_one_is_not_kept(further: str) -> None:
    """A memory dump shows no password, and what is kept is bounded."""
    once = parse_connect_head(head(further))
    again = parse_connect_head(head(further))
    assert once == again
    assert once is not again


def test_a_refused_head_is_refused_again() -> None:
    """A refusal is not remembered as anything else."""
    for _ in range(2):
        with pytest.raises(BadRequest):
            parse_connect_head(b"CONNECT api.example.test:443 HTTP/1.1\r\n\r\n")
