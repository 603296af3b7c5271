from __future__ import annotations

import itertools
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinproxy.errors import ChainUnavailable, ClientHelloInvalid, NotTls, TlsHandshakeFailed
from pinproxy.tls.client_hello import MAX_CLIENT_HELLO_BYTES, ClientHello, ClientHelloReader, parse_client_hello
from pinproxy.tls.key_exchange import ServerKeyExchange, verify_server_key_exchange
from pinproxy.tls.server_flight import FlightEvent, ServerFlightReader
from pinproxy.tls.server_messages import CertificateMessage, ServerHello
from tests.harness.tls_handshakes import (
    Handshake,
    client_context,
    client_hello_bytes,
    refragment,
    server_context,
    shake_hands,
)

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


@pytest.mark.attack(
    "a ClientHello without an end, and a server flight without one", expect="bound", topic="resources", motive="RFC 8446 §5.1"
)
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


FLIGHTS = [
    shake_hands(client_context("h2"), server_context("EC")),
    shake_hands(client_context(), server_context("RSA")),
    shake_hands(client_context(), server_context(version=ssl.TLSVersion.TLSv1_3)),
]


def read_flight(pieces: list[bytes], max_bytes: int = 96 * 1024) -> list[FlightEvent] | str:
    """All events, or the name of the refusal, over these segments."""
    reader = ServerFlightReader(max_bytes)
    try:
        return [event for piece in pieces for event in reader.feed(piece)]
    except (TlsHandshakeFailed, ChainUnavailable) as error:
        return type(error).__name__


@given(flight=st.sampled_from(FLIGHTS), at=st.lists(st.integers(0, 5000)), size=st.integers(1, 2000))
def test_no_segmentation_and_no_fragmentation_changes_the_flight(flight: Handshake, at: list[int], size: int) -> None:
    """Cut anywhere, in segments and in records, the flight tells the same events."""
    assert read_flight(cut(refragment(flight.server_bytes, size), at)) == read_flight([flight.server_bytes])


@pytest.mark.parametrize("flight", FLIGHTS, ids=["EC", "RSA", "TLS 1.3"])
def test_a_flight_split_in_two_anywhere_tells_the_same(flight: Handshake) -> None:
    """Every split point there is."""
    data = flight.server_bytes
    expected = read_flight([data])
    assert isinstance(expected, list)
    assert all(read_flight([data[:at], data[at:]]) == expected for at in range(len(data)))


@given(data=st.sampled_from(FLIGHTS).flatmap(lambda flight: mutated(flight.server_bytes)))
@settings(max_examples=300)
def test_a_mutated_flight_is_read_or_refused_and_nothing_else(data: bytes) -> None:
    """Only the reader's refusals escape, in segments as in whole."""
    whole = read_flight([data])
    assert isinstance(whole, list) or whole in {"TlsHandshakeFailed", "ChainUnavailable"}
    assert read_flight([data[at : at + 1] for at in range(len(data))]) == whole


@given(data=mutated(FLIGHTS[0].server_bytes))
@settings(max_examples=300)
def test_no_mutated_flight_verifies_with_other_bytes_than_were_signed(data: bytes) -> None:
    """What verifies has the server's own random, parameters and certificate key; everything else is refused as such."""
    hello = parse_client_hello(FLIGHTS[0].client_bytes)
    events = read_flight([data])
    if isinstance(events, str) or len(events) < 3 or hello is None:
        return
    server_hello, certificate, exchange = events[:3]
    if not (
        isinstance(server_hello, ServerHello)
        and isinstance(certificate, CertificateMessage)
        and isinstance(exchange, ServerKeyExchange)
    ):
        return
    try:
        verify_server_key_exchange(certificate.chain[0], hello.random, server_hello.random, exchange)
    except TlsHandshakeFailed:
        return
    true_hello, _, true_exchange, *_ = ServerFlightReader(96 * 1024).feed(FLIGHTS[0].server_bytes)
    assert isinstance(true_hello, ServerHello)
    assert isinstance(true_exchange, ServerKeyExchange)
    assert (server_hello.random, exchange.params) == (true_hello.random, true_exchange.params)


@pytest.mark.attack(
    "a ClientHello without an end, and a server flight without one", expect="bound", topic="resources", motive="RFC 8446 §5.1"
)
def test_an_endless_flight_ends_at_the_bound() -> None:
    """A certificate list that never completes is refused at the bound and not kept."""
    hello = refragment(FLIGHTS[0].server_bytes, 16_000)[:200]
    size = 5 + int.from_bytes(hello[3:5], "big")
    endless = [hello[:size], b"\x16\x03\x03\x00\x04\x0b\x00\xff\xff", *([b"\x16\x03\x03\x04\x00" + bytes(1024)] * 100)]
    assert read_flight(endless) == "TlsHandshakeFailed"
    assert isinstance(read_flight(endless[:50]), list)
