from __future__ import annotations

import ssl
import tracemalloc

import pytest

from pinproxy.errors import ChainUnavailable, TlsHandshakeFailed
from pinproxy.tls.alert import Alert, AlertDescription, alert
from pinproxy.tls.client_hello import parse_client_hello
from pinproxy.tls.key_exchange import ServerKeyExchange
from pinproxy.tls.records import ContentType, HandshakeType, MessageReader, RecordReader
from pinproxy.tls.server_flight import FlightEvent, ServerFlightReader
from pinproxy.tls.server_messages import (
    CertificateMessage,
    ChangeCipherSpec,
    NewSessionTicket,
    ServerHello,
    ServerHelloDone,
)
from tests.harness.tls_handshakes import Handshake, client_context, refragment, server_context, shake_hands

MAX_BYTES = 96 * 1024
CCS = b"\x14\x03\x03\x00\x01\x01"
FULL = (ServerHello, CertificateMessage, ServerKeyExchange, ServerHelloDone)


def read(data: bytes) -> tuple[FlightEvent, ...]:
    """Every event of a flight fed whole."""
    return ServerFlightReader(MAX_BYTES).feed(data)


def kinds(data: bytes) -> tuple[type, ...]:
    """The types of those events."""
    return tuple(type(event) for event in read(data))


def hello_of(data: bytes) -> ServerHello:
    """The first event, a ServerHello."""
    hello = read(data)[0]
    assert isinstance(hello, ServerHello)
    return hello


def message(kind: int, body: bytes = b"") -> bytes:
    """A handshake message."""
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def record(*messages: bytes) -> bytes:
    """A handshake record."""
    content = b"".join(messages)
    return b"\x16\x03\x03" + len(content).to_bytes(2, "big") + content


def messages_of(flight: bytes) -> dict[int, bytes]:
    """The handshake messages of a TLS 1.2 flight before encryption, by type, headers included."""
    records, messages, found = RecordReader(MAX_BYTES), MessageReader(MAX_BYTES), {}
    records.feed(flight)
    while (taken := records.next_record()) and taken.content_type == ContentType.HANDSHAKE:
        messages.feed(taken.fragment)
        while one := messages.next_message():
            found[one.kind] = message(one.kind, one.body)
    return found


@pytest.fixture(scope="module")
def full() -> Handshake:
    """A full TLS 1.2 handshake with a ticket."""
    return shake_hands(client_context("h2"), server_context())


@pytest.fixture(scope="module")
def parts(full: Handshake) -> dict[int, bytes]:
    """Its messages."""
    return messages_of(full.server_bytes)


@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_a_full_handshake_tells_everything_there_is_to_verify(kind: str) -> None:
    """RFC 5246 §7.3, figure 1: hello, certificate, key exchange, done; then ticket and encryption."""
    handshake = shake_hands(client_context("http/1.1"), server_context(kind))
    hello, certificate, exchange, done, ticket, change = read(handshake.server_bytes)
    assert isinstance(hello, ServerHello)
    assert (hello.version, hello.alpn, hello.has_session_ticket) == (0x0303, "http/1.1", True)
    assert isinstance(certificate, CertificateMessage)
    assert certificate.chain[0] == handshake.leaf_der
    assert isinstance(exchange, ServerKeyExchange)
    assert exchange.algorithm in {0x0403, 0x0804}
    assert isinstance(ticket, NewSessionTicket)
    assert ticket.ticket
    assert (done, change) == (ServerHelloDone(), ChangeCipherSpec(is_abbreviated=False))


def test_rsa_key_exchange_has_no_signature_to_verify() -> None:
    """RFC 5246 §7.4.3: no ServerKeyExchange for RSA; the certificate's key is used itself."""
    server = server_context("RSA")
    server.set_ciphers("AES128-GCM-SHA256:@SECLEVEL=0")
    client = client_context()
    client.set_ciphers("AES128-GCM-SHA256:@SECLEVEL=0")
    flight = shake_hands(client, server).server_bytes
    assert kinds(flight)[:3] == (ServerHello, CertificateMessage, ServerHelloDone)


def test_a_request_for_a_client_certificate_passes_by() -> None:
    """It is between server and client and changes nothing that we verify."""
    server = server_context()
    server.load_verify_locations(cadata=client_context().get_ca_certs(binary_form=True)[0])
    server.verify_mode = ssl.CERT_OPTIONAL
    flight = shake_hands(client_context(), server).server_bytes
    assert HandshakeType.CERTIFICATE_REQUEST in messages_of(flight)
    assert kinds(flight)[:4] == FULL


def test_a_resumed_session_shows_as_abbreviated(full: Handshake) -> None:
    """RFC 5246 §7.3, figure 2: no certificate and no proof, whatever the ticket was."""
    client, server = client_context(), server_context()
    first = shake_hands(client, server)
    second = shake_hands(client, server, session=first.client_session)
    hello, change = read(second.server_bytes)
    offered = parse_client_hello(second.client_bytes)
    assert isinstance(hello, ServerHello)
    assert offered is not None
    assert hello.session_id == offered.session_id
    assert change == ChangeCipherSpec(is_abbreviated=True)
    assert read(full.server_bytes)[-1] == ChangeCipherSpec(is_abbreviated=False)


def test_a_resumed_session_may_get_a_new_ticket(parts: dict[int, bytes]) -> None:
    """RFC 5077 §3.1, figure 2: NewSessionTicket before ChangeCipherSpec, and still no certificate."""
    flight = record(parts[HandshakeType.SERVER_HELLO], parts[HandshakeType.NEW_SESSION_TICKET]) + CCS
    assert kinds(flight) == (ServerHello, NewSessionTicket, ChangeCipherSpec)
    assert read(flight)[-1] == ChangeCipherSpec(is_abbreviated=True)


def test_tls13_ends_with_its_hello() -> None:
    """RFC 8446 §4.1.3: what follows is encrypted; supported_versions tells it from TLS 1.2."""
    reader = ServerFlightReader(MAX_BYTES)
    flight = shake_hands(client_context("h2"), server_context(version=ssl.TLSVersion.TLSv1_3)).server_bytes
    (hello,) = reader.feed(flight)
    assert isinstance(hello, ServerHello)
    assert (hello.version, hello.alpn, hello.signals_downgrade) == (0x0304, None, False)
    assert reader.is_finished
    assert reader.feed(b"anything") == ()


def test_a_hello_retry_request_is_no_answer_yet() -> None:
    """RFC 8446 §4.1.4: the second hello is the answer; the dummy ChangeCipherSpec between means nothing."""
    server = server_context(version=ssl.TLSVersion.TLSv1_3)
    server.set_ecdh_curve("secp384r1")
    flight = shake_hands(client_context(), server).server_bytes
    first, second = read(flight)
    assert isinstance(first, ServerHello)
    assert isinstance(second, ServerHello)
    assert (first.is_hello_retry_request, second.is_hello_retry_request) == (True, False)
    assert CCS in flight


def test_a_downgraded_server_says_so() -> None:
    """RFC 8446 §4.1.3: a TLS 1.3 server that answers with 1.2 signs a sentinel; one that knows 1.2 only does not."""
    client = client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    capable = server_context(version=ssl.TLSVersion.TLSv1_3)
    assert hello_of(shake_hands(client, capable).server_bytes).signals_downgrade
    assert not hello_of(shake_hands(client, server_context()).server_bytes).signals_downgrade


@pytest.mark.parametrize("alert_record", [alert(AlertDescription.HANDSHAKE_FAILURE)])
def test_a_fatal_alert_ends_the_reading(alert_record: bytes, parts: dict[int, bytes]) -> None:
    """It is reported; a warning is too, and the handshake goes on."""
    reader = ServerFlightReader(MAX_BYTES)
    warning = b"\x15\x03\x03\x00\x02\x01\x70"
    flight = warning + record(parts[HandshakeType.SERVER_HELLO]) + alert_record
    assert [event for event in reader.feed(flight) if isinstance(event, Alert)] == [
        Alert(is_fatal=False, description=AlertDescription.UNRECOGNIZED_NAME),
        Alert(is_fatal=True, description=AlertDescription.HANDSHAKE_FAILURE),
    ]
    assert reader.is_finished


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_segments_and_records_may_cut_a_flight_anywhere(full: Handshake, size: int) -> None:
    """RFC 5246 §6.2.1: one-byte records and segments read as the whole flight does."""
    expected = read(full.server_bytes)
    assert read(refragment(full.server_bytes, size)) == expected
    reader = ServerFlightReader(MAX_BYTES)
    pieces = [full.server_bytes[at : at + size] for at in range(0, len(full.server_bytes), size)]
    assert sum((reader.feed(piece) for piece in pieces), ()) == expected


def test_all_messages_in_one_record_read_the_same(full: Handshake, parts: dict[int, bytes]) -> None:
    """RFC 5246 §6.2.1: multiple messages of one type may be coalesced into a single record."""
    order = [parts[kind] for kind in (2, 11, 12, 14)]
    assert read(record(*order)) == read(full.server_bytes)[:4]


SH, CERT, SKE, DONE, TICKET = 2, 11, 12, 14, 4


@pytest.mark.parametrize(
    "order",
    [
        (CERT,),
        (SH, SH),
        (SH, SKE),
        (SH, DONE),
        (SH, CERT, CERT),
        (SH, CERT, SKE, CERT),
        (SH, CERT, SKE, SKE),
        (SH, CERT, DONE),
        (SH, TICKET, CERT),
        (SH, TICKET, TICKET),
        (SH, CERT, SKE, DONE, DONE),
        (SH, CERT, SKE, DONE, CERT),
        (SH, CERT, SKE, DONE, TICKET, TICKET),
    ],
)
def test_a_flight_out_of_order_is_refused(parts: dict[int, bytes], order: tuple[int, ...]) -> None:
    """Two certificates, a missing key exchange, a certificate behind a ticket: another reader might use the other one."""
    with pytest.raises(TlsHandshakeFailed):
        read(b"".join(record(parts[kind]) for kind in order))


@pytest.mark.parametrize("order", [(SH, CERT, SKE, DONE), (SH, CERT, SKE, DONE, TICKET), (SH, TICKET)])
def test_a_flight_in_order_passes(parts: dict[int, bytes], order: tuple[int, ...]) -> None:
    """The twin of the table above."""
    assert len(read(b"".join(record(parts[kind]) for kind in order))) == len(order)


@pytest.mark.parametrize("before", [(), (SH, CERT), (SH, CERT, SKE)])
def test_encryption_may_begin_only_where_a_handshake_ends(parts: dict[int, bytes], before: tuple[int, ...]) -> None:
    """CVE-2014-0224: a ChangeCipherSpec out of place; behind ServerHelloDone, or the hello of a resumption, it passes."""
    with pytest.raises(TlsHandshakeFailed, match="ChangeCipherSpec after"):
        read(b"".join(record(parts[kind]) for kind in before) + CCS)
    assert kinds(record(parts[SH]) + CCS)[-1] is ChangeCipherSpec
    assert kinds(record(*(parts[kind] for kind in (SH, CERT, SKE, DONE))) + CCS)[-1] is ChangeCipherSpec


def test_other_records_within_a_message_are_refused(parts: dict[int, bytes]) -> None:
    """RFC 8446 §5.1: no interleaving; between messages the same alert passes."""
    warning = b"\x15\x03\x03\x00\x02\x01\x00"
    hello = parts[SH]
    with pytest.raises(TlsHandshakeFailed, match="within a handshake message"):
        read(record(hello[:10]) + warning + record(hello[10:]))
    assert kinds(record(hello) + warning) == (ServerHello, Alert)


def changed_hello(hello: bytes, *, version: bytes = b"\x03\x03", suite: bytes = b"", extensions: bytes | None = None) -> bytes:
    """A ServerHello with something else in it; without session id."""
    body = version + hello[6:38] + b"\x00" + (suite or hello[39:41]) + b"\x00"
    return message(SH, body if extensions is None else body + len(extensions).to_bytes(2, "big") + extensions)


@pytest.mark.parametrize("suite", [b"\x00\x00", b"\x00\x34", b"\x00\xa8", b"\xc0\x18", b"\x00\x0a", b"\x00\x03"])
def test_a_suite_that_no_certificate_covers_is_refused(parts: dict[int, bytes], suite: bytes) -> None:
    """Null, anonymous, pre-shared, 3DES and export suites bind no certificate that we could trust."""
    with pytest.raises(TlsHandshakeFailed, match="which no certificate check can cover"):
        read(record(changed_hello(parts[SH], suite=suite), parts[CERT]))
    assert kinds(record(changed_hello(parts[SH]), parts[CERT])) == (ServerHello, CertificateMessage)


def test_a_key_exchange_under_an_rsa_suite_is_refused(parts: dict[int, bytes]) -> None:
    """FREAK (CVE-2015-0204): a temporary key where the certificate's own should be used."""
    hello = changed_hello(parts[SH], suite=b"\x00\x9c")
    with pytest.raises(TlsHandshakeFailed, match="does not have"):
        read(record(hello, parts[CERT], parts[SKE]))
    assert kinds(record(hello, parts[CERT], parts[DONE]))[-1] is ServerHelloDone


@pytest.mark.parametrize(
    ("extensions", "version"),
    [
        (b"\x00\x2b\x00\x02\x03\x03", b"\x03\x03"),
        (b"\x00\x2b\x00\x02\x7f\x1c", b"\x03\x03"),
        (b"\x00\x2b\x00\x03\x03\x04\x00", b"\x03\x03"),
        (b"\x00\x2b\x00\x02\x03\x04", b"\x03\x02"),
        (b"\x00\x10\x00\x08\x00\x06\x02h2\x02h3", b"\x03\x03"),
        (b"\x00\x10\x00\x03\x00\x01\x00", b"\x03\x03"),
        (b"\x00\x23\x00\x00\x00\x23\x00\x00", b"\x03\x03"),
        (b"\x00\x23\x00\x01", b"\x03\x03"),
        (b"", b"\x03\x04"),
        (b"", b"\x02\x00"),
    ],
)
def test_a_hello_with_two_meanings_is_refused(parts: dict[int, bytes], extensions: bytes, version: bytes) -> None:
    """Versions that do not exist, two protocols, a type twice; the same hello without that passes."""
    with pytest.raises(TlsHandshakeFailed):
        read(record(changed_hello(parts[SH], version=version, extensions=extensions)))
    assert kinds(record(changed_hello(parts[SH], extensions=b"\x00\x23\x00\x00"))) == (ServerHello,)


def test_a_retry_below_tls13_is_refused(parts: dict[int, bytes]) -> None:
    """RFC 8446 §4.1.4: the retry's random is a TLS 1.3 thing, and TLS 1.3 has to follow it."""
    random = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
    retry = parts[SH][:6] + random + parts[SH][38:]
    with pytest.raises(TlsHandshakeFailed, match=r"below TLS 1\.3"):
        read(record(retry))
    tls13 = b"\x00\x2b\x00\x02\x03\x04"
    with pytest.raises(TlsHandshakeFailed, match="does not follow"):
        read(record(changed_hello(retry, extensions=tls13)) + record(changed_hello(parts[SH])))
    assert len(read(record(changed_hello(retry, extensions=tls13)) + record(changed_hello(parts[SH], extensions=tls13)))) == 2


def test_an_empty_certificate_message_is_no_chain(parts: dict[int, bytes]) -> None:
    """An empty chain is a failure of its own, never "nothing to compare"."""
    with pytest.raises(ChainUnavailable):
        read(record(parts[SH], message(CERT, b"\x00\x00\x00")))


@pytest.mark.parametrize("body", [b"", b"\x00\x00\x04\x00\x00\x02a", b"\x00\x00\x03\x00\x00\x00", b"\x00\x00\x04\x00\x00\x01ab"])
def test_a_malformed_certificate_list_is_refused(parts: dict[int, bytes], body: bytes) -> None:
    """Lengths must add up; the twin with one certificate of one byte does."""
    with pytest.raises(TlsHandshakeFailed):
        read(record(parts[SH], message(CERT, body)))
    assert read(record(parts[SH], message(CERT, b"\x00\x00\x04\x00\x00\x01a")))[1] == CertificateMessage((b"a",))


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0-x\r\n", b"\x17\x03\x03\x00\x01a"])
def test_a_server_that_does_not_speak_tls_is_refused(data: bytes) -> None:
    """Its first byte tells; a record header of a handshake waits for more."""
    with pytest.raises(TlsHandshakeFailed):
        read(data)
    assert read(b"\x16\x03\x03\x00\x50") == ()


def test_a_flight_over_the_bound_is_refused(full: Handshake) -> None:
    """At exactly what its plaintext takes it passes."""
    flight = refragment(full.server_bytes, 1)
    size = flight.index(CCS) + len(CCS)
    assert ServerFlightReader(size).feed(flight)[-1] == ChangeCipherSpec(is_abbreviated=False)
    with pytest.raises(TlsHandshakeFailed, match=f"over {size - 1} bytes"):
        ServerFlightReader(size - 1).feed(flight)


def test_what_follows_a_finished_handshake_is_not_gathered() -> None:
    """A reader that is finished holds nothing of what an endless server goes on to send."""
    reader = ServerFlightReader(MAX_BYTES)
    reader.feed(alert(AlertDescription.HANDSHAKE_FAILURE))
    assert reader.is_finished
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(64):
            assert reader.feed(bytes(64 * 1024)) == ()
        assert tracemalloc.get_traced_memory()[0] - before < 64 * 1024
    finally:
        tracemalloc.stop()
