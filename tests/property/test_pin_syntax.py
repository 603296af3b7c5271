"""Pins, hosts and keys survive whatever is written, and are the same when written back."""

from __future__ import annotations

import base64
import string
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pinproxy.authority import canonical_host, is_ip_address, parse_authority
from pinproxy.errors import BadRequest, PatternSyntaxError, PinSyntaxError
from pinproxy.pins.pin import Pin, parse_pin
from pinproxy.pins.spki import spki_of_certificate
from pinproxy.policy.pattern import parse_pattern

LENGTHS = {"sha256": 32, "sha384": 48, "sha512": 64}
SPELLINGS = {
    "sha{}/": "{}",
    "sha{}//": "{}",
    'pin-sha{}="': '{}"',
    "cert-sha{}:": "{}",
}


@st.composite
def pins(draw: st.DrawFn) -> Pin:
    """Any pin a configuration can spell in one string."""
    algorithm = draw(st.sampled_from(sorted(LENGTHS)))
    digest = draw(st.binary(min_size=LENGTHS[algorithm], max_size=LENGTHS[algorithm]))
    return Pin(draw(st.sampled_from(("spki", "cert"))), algorithm, digest)


@given(pins())
@example(Pin("spki", "sha256", b"\xff" * 32))
@example(Pin("cert", "sha384", bytes(48)))
def test_a_pin_reads_back_as_itself(pin: Pin) -> None:
    """The canonical spelling loses nothing."""
    assert parse_pin(str(pin)) == pin


@given(pins())
@example(Pin("spki", "sha256", b"\xff" * 32))
def test_every_spelling_of_a_key_reads_as_one_pin(pin: Pin) -> None:
    """OkHttp's, curl's and RFC 7469's spellings hold the same digest."""
    text = base64.b64encode(pin.digest).decode()
    spelled = {
        parse_pin(f"{pin.algorithm}/{text}"),
        parse_pin(f"{pin.algorithm}//{text}"),
        parse_pin(f'pin-{pin.algorithm}="{text}"'),
    }
    assert spelled == {Pin("spki", pin.algorithm, pin.digest)}


@given(pins())
@example(Pin("cert", "sha256", b"\xff" * 32))
def test_every_spelling_of_a_certificate_reads_as_one_pin(pin: Pin) -> None:
    """Hex, hex with colons in either case, and base64."""
    bare = pin.digest.hex()
    colons = ":".join(bare[index : index + 2] for index in range(0, len(bare), 2))
    texts = (bare, colons, colons.upper(), base64.b64encode(pin.digest).decode())
    assert {parse_pin(f"cert-{pin.algorithm}:{text}") for text in texts} == {Pin("cert", pin.algorithm, pin.digest)}


@given(pins(), st.sampled_from(["2", "3"]))
def test_a_tlsa_record_reads_as_the_pin_and_its_position(pin: Pin, usage: str) -> None:
    """RFC 6698 has SHA-256 and SHA-512; usage 3 is the leaf, 2 what is above it."""
    matching = {"sha256": "1", "sha512": "2"}.get(pin.algorithm)
    if matching is None:
        return
    selector = "1" if pin.subject == "spki" else "0"
    read = parse_pin(f"{usage} {selector} {matching} {pin.digest.hex()}")
    assert read == replace(pin, position="leaf" if usage == "3" else "ca")


@given(pins())
def test_hexadecimal_where_base64_belongs_is_told_the_base64(pin: Pin) -> None:
    """Guides print both; 64 hexadecimal digits are base64 too, of another length. What is proposed is the pin that was meant."""
    with pytest.raises(PinSyntaxError) as caught:
        parse_pin(f'pin-{pin.algorithm}="{pin.digest.hex()}"')
    assert parse_pin(str(caught.value).rpartition(": ")[2]) == Pin("spki", pin.algorithm, pin.digest)


@given(pins(), st.sampled_from(sorted(SPELLINGS)), st.integers(0, 3))
def test_padding_that_was_lost_is_proposed(pin: Pin, spelling: str, count: int) -> None:
    """A double click leaves `=` behind; what is proposed is the pin that was meant, of the kind that was meant."""
    digits = base64.b64encode(pin.digest).decode()
    written = spelling.format(pin.algorithm[3:]) + SPELLINGS[spelling]
    assume(count != digits.count("="))
    assume(not set(digits.rstrip("=")) <= set(string.hexdigits))  # which would be hexadecimal, of another length
    with pytest.raises(PinSyntaxError) as caught:
        parse_pin(written.format(digits.rstrip("=") + "=" * count))
    assert parse_pin(str(caught.value).rpartition(" bytes: ")[2]) == parse_pin(written.format(digits))


def assert_pin_or_error_that_names(text: str, expected: str) -> None:
    """Read a text and look at whichever came of it."""
    try:
        pin = parse_pin(text)
    except PinSyntaxError as error:
        message = str(error)
    else:
        assert len(pin.digest) == LENGTHS[pin.algorithm]
        return
    assert expected in message


@given(st.text())
@example("3 1 " + "9" * 5000 + " 00")
def test_any_text_is_a_pin_or_an_explained_error(text: str) -> None:
    """No other exception, and no pin of another length than its hash."""
    assert_pin_or_error_that_names(text, "expected")


@given(
    st.sampled_from(sorted(SPELLINGS)),
    st.sampled_from([256, 384, 512]),
    st.text("0123456789abcdefABCDEFxyz+/=:", max_size=140),
)
def test_a_digest_that_cannot_be_read_names_the_expected_length(spelling: str, bits: int, value: str) -> None:
    """Whatever stands behind `sha256/`, `pin-sha256=` or `cert-sha256:`, the message says how long it should be."""
    assert_pin_or_error_that_names(spelling.format(bits) + SPELLINGS[spelling].format(value), str(bits // 8))


@given(st.sampled_from([*sorted(SPELLINGS), "cert-hex", "3 1", "2 0"]), st.sampled_from(sorted(LENGTHS)), st.binary(max_size=80))
@example("sha{}/", "sha256", bytes(33))
@example("sha{}/", "sha256", bytes(31))
@example("sha{}//", "sha256", bytes(31))  # its slash, taken for a digit, would make it one of 32
@example("sha{}//", "sha384", bytes(47))
@example("cert-hex", "sha384", bytes(49))
@example("3 1", "sha512", bytes(65))
@example("2 0", "sha256", b"")
def test_a_digest_of_another_length_is_refused_with_both_lengths(spelling: str, algorithm: str, digest: bytes) -> None:
    """Whatever the spelling: a longer one is as wrong as a shorter one, and nothing is cut or filled."""
    assume(len(digest) != LENGTHS[algorithm])
    if spelling in SPELLINGS:
        digits = base64.b64encode(digest).decode()
        assume(not digits.startswith("/"))  # which may be the slash of curl's spelling
        text = spelling.format(algorithm[3:]) + SPELLINGS[spelling].format(digits)
    elif spelling == "cert-hex":
        text = f"cert-{algorithm}:{digest.hex()}"
    else:
        assume(algorithm != "sha384" and digest)
        text = f"{spelling} {'1' if algorithm == 'sha256' else '2'} {digest.hex()}"
    with pytest.raises(PinSyntaxError) as caught:
        parse_pin(text)
    found, expected = str(caught.value).rsplit("; expected ", 1)
    assert str(LENGTHS[algorithm]) in expected
    assert found.endswith((f"decodes to {len(digest)} bytes", "hexadecimal digits"))


@given(st.text())
@example("xn--a")
@example("[::ffff:1.2.3.4]")
@example("İ.com")
def test_a_canonical_host_is_canonical(text: str) -> None:
    """Bringing a host to its form twice changes nothing more."""
    with suppress(BadRequest):
        host = canonical_host(text)
        assert canonical_host(f"[{host}]" if ":" in host else host) == host
        assert host == host.lower()
        assert host.isascii()


@given(st.text(), st.none() | st.just(443))
def test_any_text_is_an_authority_or_a_bad_request(text: str, default_port: int | None) -> None:
    """And an authority reads back as itself."""
    with suppress(BadRequest):
        authority = parse_authority(text, default_port)
        assert parse_authority(str(authority)) == authority


@given(st.sampled_from(["", "*.", "**."]), st.text())
def test_any_text_is_a_pattern_or_an_explained_error(stars: str, text: str) -> None:
    """And a pattern reads back as itself; only names have wildcards."""
    with suppress(PatternSyntaxError):
        pattern = parse_pattern(stars + text)
        assert parse_pattern(str(pattern)) == pattern
        assert pattern.kind == "exact" or not is_ip_address(pattern.base)


@given(st.binary(max_size=300))
def test_any_bytes_hold_a_key_or_an_explained_error(der: bytes) -> None:
    """The DER walker neither overruns nor raises anything of its own."""
    with suppress(PinSyntaxError):
        assert spki_of_certificate(der) in der
