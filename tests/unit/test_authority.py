"""One host has one spelling, whatever the client or the operator wrote."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pinproxy.authority import Authority, canonical_host, is_ip_address, parse_authority, parse_port
from pinproxy.errors import BadRequest


@pytest.mark.attack(
    "a host in capitals, with a trailing dot, as an IDNA U-label, in full-width letters or digits: one form for every use",
    expect="neutralise",
    topic="authority",
    motive="CVE-2022-24825, CVE-2022-29188; WHATWG URL §3.5",
)
@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.Com", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("3com.example", "3com.example"),
        ("1e3", "1e3"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("ex。ample.com", "ex.ample.com"),
        ("\uff45xample.com", "example.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("①27.0.0.1", "127.0.0.1"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("[::]", "::"),
    ],
)
def test_every_spelling_of_a_host_becomes_one(written: str, canonical: str) -> None:
    """Two spellings of one host must not be two hosts to policy and to DNS."""
    assert canonical_host(written) == canonical


@pytest.mark.attack(
    "an IPv4 address in the IPv6 form ::ffff:0:0/96",
    expect="neutralise",
    topic="authority",
    motive="RFC 4291 §2.5.5.2",
)
@pytest.mark.parametrize("written", ["[::ffff:192.0.2.7]", "[::FFFF:c000:207]", "[0:0:0:0:0:ffff:192.0.2.7]"])
def test_an_ipv4_mapped_address_is_the_ipv4_address(written: str) -> None:
    """A mapped address reaches the same node, so it meets the same rule (RFC 4291 §2.5.5.2)."""
    assert canonical_host(written) == "192.0.2.7"


@pytest.mark.attack(
    "a host with userinfo, a NUL, a blank, a slash, an empty label or a star",
    expect="bad_request",
    topic="authority",
    motive="CVE-2022-24825; RFC 3986 §3.2",
)
@pytest.mark.parametrize(
    "written",
    [
        "",
        ".",
        "example..com",
        "example.com..",
        ".example.com",
        "exa mple.com",
        "example.com\n",
        "example.com\0",
        "example.com/",
        "user@example.com",
        "-example.com",
        "example-.com",
        "a" * 64 + ".com",
        ".".join(["a" * 60] * 5),
        "*.example.com",
        "\uff0a.example.com",
        "xn--",
        "xn--a",
        "xn--ASCII-",
        "é" * 60_000,
    ],
)
def test_text_that_is_no_host_is_refused(written: str) -> None:
    """Nothing is guessed or repaired."""
    with pytest.raises(BadRequest, match=r"^bad_request: host "):
        canonical_host(written)


@pytest.mark.attack(
    "IPv4 in short, octal, hexadecimal or as one number",
    expect="bad_request",
    topic="authority",
    motive="smokescreen's TestClassifyAddr; WHATWG URL §3.5",
)
@pytest.mark.parametrize("written", ["127.1", "0177.0.0.1", "2130706433", "0x7f.0.0.1", "127.0.0.01", "1.2.3.256", "a.0x1"])
def test_loose_spellings_of_ipv4_are_refused(written: str) -> None:
    """A host whose last label is a number is a strict dotted quad or nothing (WHATWG URL §3.5)."""
    with pytest.raises(BadRequest, match="IPv4 address"):
        canonical_host(written)


@pytest.mark.attack(
    "IPv6 with a zone, without brackets, or in a form that is none",
    expect="bad_request",
    topic="authority",
    motive="RFC 3986 §3.2.2",
)
@pytest.mark.parametrize("written", ["[::1", "::1", "[::1%eth0]", "[127.0.0.1]", "[::1]x", "[]", "[1::2::3]"])
def test_loose_spellings_of_ipv6_are_refused(written: str) -> None:
    """IPv6 stands in brackets, without a zone."""
    with pytest.raises(BadRequest):
        canonical_host(written)


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("443", 443), ("65535", 65535)])
def test_a_port_is_a_decimal_number(text: str, port: int) -> None:
    """1 to 65535."""
    assert parse_port(text) == port


@pytest.mark.attack(
    "port 0, 65536, +443, 0443, https, or none",
    expect="bad_request",
    topic="authority",
    motive="RFC 9110 §9.3.6; WHATWG URL §4.4",
)
@pytest.mark.parametrize(
    "text", ["", "0", "65536", "+443", "-1", "0443", "443 ", "https", "\uff14\uff14\uff13", "1e3", "4_3", "9" * 5000]
)
def test_any_other_port_is_refused(text: str) -> None:
    """Signs, zeros in front, words and digits of other scripts are no ports."""
    with pytest.raises(BadRequest, match="is not a number from 1 to 65535"):
        parse_port(text)


@pytest.mark.parametrize(
    ("text", "default", "expected"),
    [
        ("Example.com:8443", None, Authority("example.com", 8443)),
        ("example.com", 443, Authority("example.com", 443)),
        ("example.com:8443", 443, Authority("example.com", 8443)),
        ("[::1]:8443", None, Authority("::1", 8443)),
        ("[::1]", 443, Authority("::1", 443)),
        ("192.0.2.7:1", None, Authority("192.0.2.7", 1)),
    ],
)
def test_an_authority_is_host_and_port(text: str, default: int | None, expected: Authority) -> None:
    """The port may be left out only where the caller gives a default."""
    assert parse_authority(text, default) == expected


@pytest.mark.attack(
    "an authority that two readers could split differently: no port, two colons, half a bracket, userinfo",
    expect="bad_request",
    topic="authority",
    motive="RFC 9112 §3.2.3",
)
@pytest.mark.parametrize(
    ("text", "default", "reason"),
    [
        ("example.com", None, "has no port"),
        ("[::1]", None, "has no port"),
        ("example.com:", 443, "port '' is not a number"),
        ("[::1]:", 443, "port '' is not a number"),
        (":443", None, "host '' has 0 characters"),
        ("::1:443", None, "more than one ':'"),
        ("[::1:443", None, "unfinished"),
        ("[::1]443", None, "unfinished"),
        ("user:hunter2@example.com:443", None, "holds userinfo"),
    ],
)
def test_an_authority_that_two_readers_could_split_differently_is_refused(text: str, default: int | None, reason: str) -> None:
    """CONNECT needs a port (RFC 9112 §3.2.3); an IPv6 address needs brackets; userinfo has no place here."""
    with pytest.raises(BadRequest, match=reason):
        parse_authority(text, default)


@pytest.mark.attack(
    "userinfo in a host or an authority, to have it logged", expect="bad_request", topic="secrets", motive="CWE-532"
)
@pytest.mark.parametrize("read", [parse_authority, canonical_host])
@pytest.mark.parametrize("text", ["user:hunter2@example.com:443", "hunter2@example.com", "[user:hunter2@example.com]"])
def test_a_password_in_an_authority_does_not_reach_the_message(read: Callable[[str], object], text: str) -> None:
    """Refusal texts stand in logs, and logs hold no secrets."""
    with pytest.raises(BadRequest, match="userinfo") as refused:
        read(text)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("text", ["example.com:443", "192.0.2.7:80", "[2001:db8::1]:443"])
def test_an_authority_prints_as_it_is_read(text: str) -> None:
    """The canonical text is itself a valid authority, IPv6 in brackets (RFC 3986 §3.2.2)."""
    assert str(parse_authority(text)) == text


@pytest.mark.parametrize(("host", "is_address"), [("192.0.2.7", True), ("::1", True), ("example.com", False), ("1e3", False)])
def test_address_literals_are_told_from_names(*, host: str, is_address: bool) -> None:
    """Only names are resolved and sent as SNI."""
    assert is_ip_address(host) is is_address
    assert Authority(host, 443).is_ip_address is is_address
