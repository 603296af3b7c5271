from __future__ import annotations

import itertools
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinproxy.errors import ClientHelloInvalid, NotTls
from pinproxy.tls.client_hello import MAX_CLIENT_HELLO_BYTES, ClientHello, ClientHelloReader, parse_client_hello
from tests.tls_handshakes import client_context, client_hello_bytes, refragment

HELLO = client_hello_bytes(client_context("h2", "http/1.1"))


def read_hello(pieces: list[bytes]) -> ClientHello | str | None:
    """The hello, or the name of its refusal, over these segments."""
    reader, found = ClientHelloReader(), None
    try:
        for piece in pieces:
            found = found or reader.feed(piece)
    except (NotTls, ClientHelloInvalid) as error:
        return type(error).__name__
    return found


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Split at these positions."""
    edges = [0, *sorted(position % (len(data) + 1) for position in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """A few bytes changed, taken out or put in."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@given(at=st.lists(st.integers(0, 5000)), size=st.integers(1, 600))
def test_no_segmentation_and_no_fragmentation_changes_the_hello(at: list[int], size: int) -> None:
    """Cut anywhere, in segments and in records, the hello says the same."""
    assert read_hello(cut(refragment(HELLO, size), at)) == parse_client_hello(HELLO)


@given(data=mutated(HELLO))
@settings(max_examples=300)
def test_a_mutated_hello_is_read_refused_or_waited_for_and_nothing_else(data: bytes) -> None:
    """Only the two refusals of the reader escape, and bytes on their own decide as bytes together do."""
    whole = read_hello([data])
    assert whole is None or isinstance(whole, ClientHello) or whole in {"NotTls", "ClientHelloInvalid"}
    assert read_hello([data[at : at + 1] for at in range(len(data))]) == whole


@given(
    data=st.binary(max_size=300),
    opening=st.sampled_from([b"", b"\x16", b"\x16\x03", b"\x16\x03\x01\x00\x20\x01\x00\x00"]),
)
def test_random_bytes_are_read_refused_or_waited_for(data: bytes, opening: bytes) -> None:
    """The same for bytes that never were a hello."""
    whole = read_hello([opening + data])
    assert whole is None or isinstance(whole, ClientHello) or whole in {"NotTls", "ClientHelloInvalid"}


def test_an_endless_hello_ends_at_the_bound() -> None:
    """Records without end that never complete a message are refused at the bound."""
    reader = ClientHelloReader()
    assert reader.feed(b"\x16\x03\x01\x00\x04\x01\x00\xff\xff") is None
    endless = itertools.repeat(b"\x16\x03\x01\x00\x01\x00", MAX_CLIENT_HELLO_BYTES)
    with pytest.raises(ClientHelloInvalid, match=f"over {MAX_CLIENT_HELLO_BYTES} bytes"):
        list(map(reader.feed, endless))


def test_the_hello_under_test_is_a_tls13_hello() -> None:
    """Guards the tests above against a client context that offers less."""
    hello = parse_client_hello(HELLO)
    assert hello is not None
    assert hello.versions[0] == ssl.TLSVersion.TLSv1_3
