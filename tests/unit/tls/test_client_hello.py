from __future__ import annotations

import itertools
import ssl
from collections.abc import Iterable

import pytest

from pinproxy.errors import ClientHelloInvalid, NotTls
from pinproxy.tls.client_hello import ClientHello, ClientHelloReader, parse_client_hello
from tests.harness.tls_handshakes import client_context, client_hello_bytes, refragment, server_context, shake_hands

SERVER_NAME, ALPN, SESSION_TICKET, PRE_SHARED_KEY, EARLY_DATA, SUPPORTED_VERSIONS = 0, 16, 35, 41, 42, 43
RANDOM = bytes(range(32))


def vector(size: int, content: bytes) -> bytes:
    """Content behind a length of `size` bytes."""
    return len(content).to_bytes(size, "big") + content


def server_name(*names: bytes, kind: int = 0) -> tuple[int, bytes]:
    """An SNI extension with one entry for each name."""
    return SERVER_NAME, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names))


def handmade(
    extensions: Iterable[tuple[int, bytes]] | None = (),
    *,
    version: int = 0x0303,
    cipher_suites: bytes = b"\xc0\x2b\x00\xff",
    session_id: bytes = b"",
    compression: bytes = b"\x00",
    tail: bytes = b"",
) -> bytes:
    """A ClientHello in one record; every argument is written as given, sensible or not."""
    body = version.to_bytes(2, "big") + RANDOM + vector(1, session_id) + vector(2, cipher_suites) + vector(1, compression)
    if extensions is not None:
        body += vector(2, b"".join(kind.to_bytes(2, "big") + vector(2, content) for kind, content in extensions))
    return b"\x16\x03\x01" + vector(2, b"\x01" + vector(3, body + tail))


def parsed(data: bytes) -> ClientHello:
    """The ClientHello of complete bytes."""
    hello = parse_client_hello(data)
    assert hello is not None
    return hello


def test_a_real_hello_says_name_protocols_and_versions() -> None:
    """What a client context was told to offer is what the hello says."""
    hello = parsed(client_hello_bytes(client_context("h2", "http/1.1"), "API.example.com"))
    assert hello.server_name == "api.example.com"
    assert hello.alpn == ("h2", "http/1.1")
    assert hello.versions == (0x0304, 0x0303)
    assert len(hello.random) == 32
    assert len(hello.session_id) == 32
    assert {hello.has_session_ticket, hello.has_psk, hello.has_early_data, hello.has_ech} == {False}


def test_a_real_tls12_only_hello_has_its_legacy_version() -> None:
    """Without supported_versions the legacy version is the highest one offered (RFC 5246 §7.4.1.2)."""
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    hello = parsed(client_hello_bytes(context))
    assert hello.versions == (0x0303,)
    assert hello.alpn == ()


def test_a_hello_to_an_address_has_no_server_name() -> None:
    """No SNI extension is a None, not an empty name."""
    assert parsed(client_hello_bytes(client_context(), "192.0.2.1")).server_name is None


def test_a_hello_without_extensions_is_a_hello() -> None:
    """RFC 5246 §7.4.1.2: the message may end after compression_methods."""
    hello = parsed(handmade(None))
    assert hello == ClientHello(None, (), (0x0303,), b"", b"", False, False, False, RANDOM)  # noqa: FBT003


def test_an_offered_tls12_ticket_shows() -> None:
    """RFC 5077 §3.2: a ticket offered is a non-empty extension, a ticket asked for an empty one."""
    client, server = client_context(), server_context()
    first = shake_hands(client, server)
    assert not parsed(first.client_bytes).has_session_ticket
    second = shake_hands(client, server, session=first.client_session)
    assert parsed(second.client_bytes).has_session_ticket


def test_an_offered_tls13_session_shows() -> None:
    """RFC 8446 §4.2.11: a TLS 1.3 session is offered as a pre-shared key."""
    client, server = client_context(), server_context(version=ssl.TLSVersion.TLSv1_3)
    first = shake_hands(client, server)
    assert not parsed(first.client_bytes).has_psk
    second = shake_hands(client, server, session=first.client_session)
    assert parsed(second.client_bytes).has_psk


def test_early_data_and_ech_show() -> None:
    """Both are told by the presence of their extension."""
    hello = parsed(handmade([(0xFE0D, b"\x00"), (EARLY_DATA, b"")]))
    assert hello.has_early_data
    assert hello.has_ech


def test_grease_is_dropped_everywhere() -> None:
    """RFC 8701: reserved values are noise in extensions, versions and protocol names."""
    hello = parsed(
        handmade(
            [
                (0x0A0A, b""),
                server_name(b"api.example.com"),
                (SUPPORTED_VERSIONS, vector(1, b"\x1a\x1a\x03\x04\x03\x03")),
                (ALPN, vector(2, vector(1, b"\x2a\x2a") + vector(1, b"h2"))),
                (0xFAFA, b"\x00"),
            ],
        )
    )
    assert hello.versions == (0x0304, 0x0303)
    assert hello.alpn == ("h2",)


@pytest.mark.attack(
    "an ALPN offer of thousands of names, a megabyte of which stays for each host and connection",
    expect="client_hello_invalid",
    topic="resources",
)
def test_a_hello_offers_32_protocols_and_not_one_more() -> None:
    """An offer outlives its hello; GREASE is none."""
    names = [vector(1, b"p%d" % number) for number in range(33)]
    fits = handmade([(ALPN, vector(2, vector(1, b"\x2a\x2a") + b"".join(names[:32])))])
    assert len(parsed(fits).alpn) == 32
    with pytest.raises(ClientHelloInvalid, match="more than 32 protocol names"):
        parse_client_hello(handmade([(ALPN, vector(2, b"".join(names)))]))


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_records_may_cut_a_hello_anywhere(size: int) -> None:
    """RFC 8446 §5.1: a message may be fragmented across several records, of one byte even."""
    whole = client_hello_bytes(client_context("h2"))
    assert parsed(refragment(whole, size)) == parsed(whole)


@pytest.mark.parametrize("size", [1, 3, 5000])
def test_segments_may_cut_a_hello_anywhere(size: int) -> None:
    """Every prefix asks for more, and byte by byte reads the same as whole."""
    for data in (client_hello_bytes(client_context("h2")), handmade([server_name(b"a.example")])):
        reader = ClientHelloReader()
        results = [reader.feed(data[at : at + size]) for at in range(0, len(data), size)]
        assert results == [None] * (len(results) - 1) + [parsed(data)]


def test_every_prefix_of_a_hello_asks_for_more() -> None:
    """A caller that peeks sees prefixes, none of which is an error or a hello."""
    data = client_hello_bytes(client_context("h2"))
    assert [parse_client_hello(data[:end]) for end in range(len(data))] == [None] * len(data)


def test_bytes_behind_the_hello_record_are_ignored() -> None:
    """Early data may follow at once (RFC 8446 §2.3), more of it than the bound of the hello."""
    data = handmade([server_name(b"a.example")])
    assert parsed(data + b"\x17\x03\x03\x40\x00" + bytes(100_000)) == parsed(data)


@pytest.mark.parametrize(
    ("opening", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "speaks HTTP;"),
        (b"CONNECT a:443 HTTP/1.1\r\n", "speaks HTTP;"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 without TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "speaks SSH;"),
        (b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", "SSLv2 hello"),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", "00 00 00 08 04 d2 16 2f"),  # StartTLS of PostgreSQL
        (b"\x16\x02", "16 02"),
        (b"E", "45"),
    ],
)
def test_another_protocol_is_not_tls(opening: bytes, expected: str) -> None:
    """The first bytes decide, and the message says what they look like."""
    with pytest.raises(NotTls, match=expected):
        parse_client_hello(opening)


def test_the_first_byte_alone_is_enough_to_refuse_and_not_to_accept() -> None:
    """The twin of the table above: a TLS record's first byte asks for more."""
    assert parse_client_hello(b"") is None
    assert parse_client_hello(b"\x16") is None
    assert parse_client_hello(b"\x16\x03") is None


PLAIN = server_name(b"a.example")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (handmade([server_name(b"a.example", b"b.example")]), "more than one entry"),
        (handmade([PLAIN, server_name(b"b.example")]), "extension 0 occurs twice"),
        (handmade([server_name(b"a.example", kind=1)]), "type 1, expected host_name"),
        (handmade([server_name(b"a.example.")]), "trailing dot"),
        (handmade([server_name(b"\xc3\xa4.example")]), "not ASCII"),
        (handmade([server_name(b"a\x00b.example")]), "server_name"),
        (handmade([server_name(b"192.0.2.1")]), "is an IP address"),
        (handmade([server_name(b"[2001:db8::1]")]), "is an IP address"),
        (handmade([server_name(b"127.1")]), "looks like an IPv4 address"),
        (handmade([server_name(b"")]), "server_name"),
        (handmade([(SERVER_NAME, b"")]), "server_name"),
        (handmade([(SERVER_NAME, PLAIN[1] + b"\x00")]), "1 bytes behind its end"),
        (handmade([(ALPN, vector(2, b"\x00"))]), "ALPN"),
        (handmade([(ALPN, vector(2, vector(1, b"")) * 2)]), "ALPN"),
        (handmade([(ALPN, vector(2, vector(1, b"h2") + b"\x05http"))]), "ALPN"),
        (handmade([(ALPN, vector(2, vector(1, b"h\n2")))]), "visible ASCII"),
        (handmade([(SUPPORTED_VERSIONS, vector(1, b"\x03\x04\x03"))]), "16-bit"),
        (handmade([(SUPPORTED_VERSIONS, vector(1, b"\x0a\x0a"))]), "nothing but GREASE"),
        (handmade([(SUPPORTED_VERSIONS, vector(1, b""))]), "0 bytes"),
        (handmade([(PRE_SHARED_KEY, b"\x00"), PLAIN]), "not the last extension"),
        (handmade([PLAIN], tail=b"\x00"), "1 bytes behind its end"),
        (handmade([PLAIN], session_id=bytes(33)), "33 bytes, expected 0 to 32"),
        (handmade([PLAIN], cipher_suites=b""), "0 bytes"),
        (handmade([PLAIN], cipher_suites=b"\x13"), "1 bytes"),
        (handmade([PLAIN], compression=b""), "0 bytes"),
    ],
    ids=itertools.count(),
)
def test_a_hello_with_two_meanings_is_refused(data: bytes, expected: str) -> None:
    """Structure that readers could take differently never passes; each line differs in one thing from its twin."""
    with pytest.raises(ClientHelloInvalid, match=expected):
        parse_client_hello(data)


@pytest.mark.parametrize(
    "data",
    [
        handmade([PLAIN]),
        handmade([(0xFE0D, b""), PLAIN, (PRE_SHARED_KEY, b"\x00")]),
        handmade([PLAIN, (ALPN, vector(2, vector(1, b"h2") + vector(1, b"http/1.1")))]),
        handmade([PLAIN, (SUPPORTED_VERSIONS, vector(1, b"\x03\x04"))]),
        handmade([server_name(b"A.eXample")]),
    ],
    ids=itertools.count(),
)
def test_the_same_hello_with_one_meaning_passes(data: bytes) -> None:
    """The twin: the hand-made hello itself is fine."""
    assert parsed(data).server_name == "a.example"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x16\x03\x01" + vector(2, b"\x02" + vector(3, b"")), "handshake message of type 2"),
        (b"\x15\x03\x01\x00\x02\x01\x00" + handmade([PLAIN]), "record of type 21"),
        (b"\x14\x03\x01\x00\x01\x01" + handmade([PLAIN]), "record of type 20"),
        (b"\x16\x03\x01\x00\x00" + handmade([PLAIN]), "without content"),
        (b"\x16\x03\x01\x40\x01" + bytes(0x4001), "16385 bytes"),
    ],
    ids=itertools.count(),
)
def test_tls_that_does_not_begin_with_a_client_hello_is_refused(data: bytes, expected: str) -> None:
    """A server may skip what it does not expect; we do not, or a name behind it would go unread."""
    with pytest.raises(ClientHelloInvalid, match=expected):
        parse_client_hello(data)


def test_a_second_message_in_the_record_is_refused() -> None:
    """Bytes behind the ClientHello in its own record have no meaning yet; without them the same hello passes."""
    hello = handmade([PLAIN])
    with pytest.raises(ClientHelloInvalid, match="behind the ClientHello"):
        parse_client_hello(hello[:3] + vector(2, hello[5:] + b"\x0e\x00\x00\x00"))
    assert parsed(hello[:3] + vector(2, hello[5:])).server_name == "a.example"


def test_the_bound_counts_record_headers_too() -> None:
    """A hello in one-byte records costs six times its size; one byte below what it needs is a refusal."""
    data = refragment(handmade([PLAIN]), 1)
    with pytest.raises(ClientHelloInvalid, match=f"over {len(data) - 1} bytes"):
        ClientHelloReader(max_bytes=len(data) - 1).feed(data)
    assert ClientHelloReader(max_bytes=len(data)).feed(data) == parsed(data)


def test_a_length_over_the_bound_is_refused_before_its_bytes_arrive() -> None:
    """A slow sender cannot make us wait for a message that would be refused anyway."""
    with pytest.raises(ClientHelloInvalid, match="65537 bytes"):
        parse_client_hello(b"\x16\x03\x01\x00\x04\x01\x01\x00\x01")
    assert parse_client_hello(b"\x16\x03\x01\x00\x04\x01\x01\x00\x00") is None
