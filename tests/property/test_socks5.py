from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinproxy.authority import Authority
from pinproxy.errors import BadRequest
from pinproxy.socks5.messages import (
    credentials_bytes,
    greeting_bytes,
    parse_credentials,
    parse_greeting,
    parse_request,
    request_bytes,
)

READERS: list[tuple[Callable[[bytes], int], Callable[[bytes], object]]] = [
    (greeting_bytes, parse_greeting),
    (credentials_bytes, parse_credentials),
    (request_bytes, parse_request),
]
each_reader = pytest.mark.parametrize(("length_of", "parse"), READERS, ids=["greeting", "credentials", "request"])
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)


def take(length_of: Callable[[bytes], int], stream: bytes, step: int) -> bytes | None:
    """Take a message off a stream as the proxy does, at most `step` bytes at a time; None: the stream ended inside it."""
    message = b""
    while missing := length_of(message) - len(message):
        piece = stream[len(message) :][: min(missing, step)]
        if not piece:
            return None
        message += piece
    return message


@each_reader
@given(stream=st.binary(max_size=600), step=st.integers(1, 300))
def test_any_bytes_end_in_a_message_or_in_a_refusal_of_ours(
    length_of: Callable[[bytes], int], parse: Callable[[bytes], object], stream: bytes, step: int
) -> None:
    """Whatever a client sends, nothing but `BadRequest` comes out, and no more is taken than the longest message has."""
    try:
        message = take(length_of, stream, step)
        if message is not None:
            assert len(message) <= 1 + 1 + 255 + 1 + 255
            parse(message)
    except BadRequest:
        pass


@each_reader
@given(data=st.data())
def test_a_message_ends_where_it_ends_however_it_is_cut(
    length_of: Callable[[bytes], int], parse: Callable[[bytes], object], data: st.DataObject
) -> None:
    """What follows in the same segment is never taken, and the parts do not change the whole."""
    whole = data.draw(MESSAGES[parse])
    rest = data.draw(st.binary(max_size=20))
    for step in (1, 2, 7, 1000):
        assert take(length_of, whole + rest, step) == whole


def _request(address: bytes, port: int) -> bytes:
    return b"\x05\x01\x00" + address + port.to_bytes(2, "big")


def _name(name: bytes) -> bytes:
    return b"\x03" + bytes([len(name)]) + name


ADDRESSES = st.one_of(
    st.binary(min_size=4, max_size=4).map(b"\x01".__add__),
    st.binary(min_size=16, max_size=16).map(b"\x04".__add__),
    st.lists(LABEL, min_size=1, max_size=5).map(".".join).map(str.encode).map(_name),
)
MESSAGES: dict[Callable[[bytes], object], st.SearchStrategy[bytes]] = {
    parse_greeting: st.binary(min_size=1, max_size=255).map(lambda methods: b"\x05" + bytes([len(methods)]) + methods),
    parse_credentials: st.tuples(st.binary(max_size=255), st.binary(max_size=255)).map(
        lambda two: b"\x01" + b"".join(bytes([len(one)]) + one for one in two)
    ),
    parse_request: st.builds(_request, ADDRESSES, st.integers(0, 65535)),
}


@given(address=st.ip_addresses(), port=st.integers(1, 65535))
def test_an_address_is_the_same_as_four_or_sixteen_bytes_and_as_text(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    """A client cannot choose between two hosts by choosing an address type."""
    as_bytes = parse_request(_request(bytes([{4: 1, 6: 4}[address.version]]) + address.packed, port))
    as_text = parse_request(_request(_name(str(address).encode()), port))
    assert as_bytes == as_text == Authority(as_text.host, port)
    assert as_bytes.is_ip_address
