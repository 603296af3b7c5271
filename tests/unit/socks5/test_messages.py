from __future__ import annotations

import pytest

from pinproxy.authority import Authority
from pinproxy.errors import BadRequest
from pinproxy.socks5.messages import (
    AddressTypeNotSupported,
    CommandNotSupported,
    Credentials,
    credentials_bytes,
    greeting_bytes,
    parse_credentials,
    parse_greeting,
    parse_request,
    request_bytes,
)

IPV4 = bytes.fromhex("05 01 00 01 c0000207 01bb")
IPV6 = bytes.fromhex("05 01 00 04 20010db8000000000000000000000007 01bb")


def by_name(name: bytes, port: int = 443) -> bytes:
    """A CONNECT request to a name."""
    return b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big")


# --- the greeting ------------------------------------------------------------------------------------------------------


def test_a_greeting_offers_its_methods() -> None:
    """RFC 1928 §3: as many as NMETHODS says."""
    assert parse_greeting(b"\x05\x02\x00\x02") == {0x00, 0x02}


@pytest.mark.parametrize("message", [b"\x04\x01\x00", b"\x05\x00"])
def test_a_greeting_of_another_version_or_without_methods_is_refused(message: bytes) -> None:
    """RFC 1928 §3: VER is 5, NMETHODS is 1 to 255."""
    with pytest.raises(BadRequest):
        parse_greeting(message)


@pytest.mark.parametrize(("begun", "length"), [(b"", 2), (b"\x05", 2), (b"\x05\x03", 5), (b"\x05\x03\x00\x01", 5)])
def test_a_greeting_says_how_long_it_is(begun: bytes, length: int) -> None:
    """Two bytes, then as many as the second says."""
    assert greeting_bytes(begun) == length


# --- username and password ---------------------------------------------------------------------------------------------


def test_credentials_are_read_and_the_password_is_not_shown() -> None:
    """RFC 1929 §2; what is printed by accident must not hold the secret."""
    credentials = parse_credentials(b"\x01\x03ann\x06s3cret")
    assert credentials == Credentials("ann", "s3cret")
    assert "s3cret" not in repr(credentials)


@pytest.mark.parametrize("message", [b"\x05\x03ann\x06s3cret", b"\x01\x02\xff\xfe\x01x"])
def test_credentials_of_another_version_or_encoding_are_refused_without_being_shown(message: bytes) -> None:
    """RFC 1929 §2: the version of the sub-negotiation is 1."""
    with pytest.raises(BadRequest) as refused:
        parse_credentials(message)
    assert "ann" not in refused.value.detail


@pytest.mark.parametrize(
    ("begun", "length"), [(b"", 2), (b"\x01\x03", 6), (b"\x01\x03ann", 6), (b"\x01\x03ann\x02", 8), (b"\x01\x00\x00", 3)]
)
def test_credentials_say_how_long_they_are(begun: bytes, length: int) -> None:
    """Up to the length of the password first, then to its end."""
    assert credentials_bytes(begun) == length


# --- the request -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "authority"),
    [
        (IPV4, Authority("192.0.2.7", 443)),
        (IPV6, Authority("2001:db8::7", 443)),
        (by_name(b"api.example.test", 8443), Authority("api.example.test", 8443)),
        (by_name(b"API.Example.TEST."), Authority("api.example.test", 443)),
        # A name that is an address is that address: it must not meet the rules of a name.
        (by_name(b"192.0.2.7"), Authority("192.0.2.7", 443)),
        (by_name(b"2001:DB8:0::7"), Authority("2001:db8::7", 443)),
        (by_name(b"[2001:db8::7]"), Authority("2001:db8::7", 443)),
        (by_name(b"::ffff:192.0.2.7"), Authority("192.0.2.7", 443)),
        # One node has one spelling, whatever the address type it came in.
        (bytes.fromhex("05 01 00 04 00000000000000000000ffffc0000207 01bb"), Authority("192.0.2.7", 443)),
    ],
)
def test_a_destination_has_one_form_however_it_was_asked_for(message: bytes, authority: Authority) -> None:
    """Rules, DNS, SNI and log all see the one canonical authority."""
    assert parse_request(message) == authority
    assert request_bytes(message) == len(message)


@pytest.mark.parametrize(
    "name",
    [b"", b"127.1", b"0x7f000001", b"2130706433", b"a..b", b"fe80::1%eth0", "bücher.example".encode(), b"a b", b"a/b", b"a@b"],
)
def test_a_name_that_could_be_read_in_two_ways_is_refused(name: bytes) -> None:
    """Nothing is guessed."""
    with pytest.raises(BadRequest):
        parse_request(by_name(name))


@pytest.mark.parametrize("command", [0x00, 0x02, 0x03, 0xFF])
def test_bind_and_udp_are_refused_by_name(command: int) -> None:
    """RFC 1928 §4: CONNECT is 1; the others have a reply of their own."""
    with pytest.raises(CommandNotSupported):
        parse_request(b"\x05" + bytes([command]) + IPV4[2:])


@pytest.mark.parametrize("kind", [0x00, 0x02, 0x05, 0xFF])
def test_an_address_of_unknown_type_is_refused_before_its_end_is_sought(kind: int) -> None:
    """RFC 1928 §5: there are three, and nobody knows the length of a fourth."""
    with pytest.raises(AddressTypeNotSupported):
        request_bytes(b"\x05\x01\x00" + bytes([kind, 0]))


@pytest.mark.parametrize("message", [b"\x04" + IPV4[1:], b"\x05\x01\x01" + IPV4[3:], by_name(b"a.test", 0)])
def test_a_request_with_one_byte_wrong_is_refused(message: bytes) -> None:
    """Version, reserved byte, port; the table above has the twins."""
    with pytest.raises(BadRequest):
        parse_request(message)
