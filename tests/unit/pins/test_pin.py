"""The spellings of a pin, and what is said about those that are none."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pinproxy.errors import PinSyntaxError
from pinproxy.pins.chain import Certificate
from pinproxy.pins.pin import Pin, parse_pin, spki_pin
from tests.unit.pins.certificates import self_signed

DIGEST = hashlib.sha256(b"a key").digest()
BASE64 = base64.b64encode(DIGEST).decode()
HEX = DIGEST.hex()
WIDE = hashlib.sha512(b"a key").digest()


@pytest.mark.attack(
    "pins in the spellings of OkHttp, curl, RFC 7469 and TLSA: all of them the same pin",
    expect="serve",
    topic="pins",
    motive="OkHttp's testBadPin",
)
@pytest.mark.parametrize(
    ("text", "pin"),
    [
        (f"sha256/{BASE64}", Pin("spki", "sha256", DIGEST)),
        (f"  sha256/{BASE64}\n", Pin("spki", "sha256", DIGEST)),
        (f"sha256//{BASE64}", Pin("spki", "sha256", DIGEST)),
        (f'pin-sha256="{BASE64}"', Pin("spki", "sha256", DIGEST)),
        (f"sha512/{base64.b64encode(WIDE).decode()}", Pin("spki", "sha512", WIDE)),
        (f"sha384//{base64.b64encode(WIDE[:48]).decode()}", Pin("spki", "sha384", WIDE[:48])),
        (f"cert-sha256:{HEX}", Pin("cert", "sha256", DIGEST)),
        (f"cert-sha256:{HEX.upper()}", Pin("cert", "sha256", DIGEST)),
        (f"cert-sha256:{DIGEST.hex(':')}", Pin("cert", "sha256", DIGEST)),
        (f"cert-sha256:{BASE64}", Pin("cert", "sha256", DIGEST)),
        (f"cert-sha384:{'A' * 64}", Pin("cert", "sha384", bytes(48))),  # base64 that could be hexadecimal, but for its length
        (f"3 1 1 {HEX}", Pin("spki", "sha256", DIGEST, "leaf")),
        (f"3 1 1 {HEX[:32]} {HEX[32:]}", Pin("spki", "sha256", DIGEST, "leaf")),
        (f"2 1 1 {HEX}", Pin("spki", "sha256", DIGEST, "ca")),
        (f"3 0 1 {HEX}", Pin("cert", "sha256", DIGEST, "leaf")),
        (f"2 0 2 {WIDE.hex()}", Pin("cert", "sha512", WIDE, "ca")),
    ],
)
def test_a_pin_is_read_in_every_common_spelling(text: str, pin: Pin) -> None:
    """OkHttp, curl, RFC 7469, certificate digests and TLSA all say the same thing."""
    assert parse_pin(text) == pin


@pytest.mark.parametrize("slash", ["/", "//"])
@pytest.mark.parametrize("digest", [b"\xff" * 32, b"\xfc" + bytes(31), b"\xff\xf0" + bytes(30)])
def test_a_digest_that_begins_with_a_slash_keeps_it(slash: str, digest: bytes) -> None:
    """Base64 has '/' for a digit, so OkHttp's `sha256//…` may be a slash of its own and not curl's."""
    text = f"sha256{slash}{base64.b64encode(digest).decode()}"
    assert "//" in text
    assert parse_pin(text).digest == digest


@pytest.mark.attack(
    "a pin of the wrong length, kind or spelling in the configuration",
    expect="not start",
    topic="pins",
    motive="OkHttp's testBadPin",
)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"sha256/{base64.b64encode(DIGEST[:31]).decode()}", "decodes to 31 bytes; expected 32 for sha256"),
        (f"sha256/{base64.b64encode(DIGEST + b'x').decode()}", "decodes to 33 bytes; expected 32 for sha256"),
        (f"sha512/{BASE64}", "decodes to 32 bytes; expected 64 for sha512"),
        ("sha256/", "decodes to 0 bytes; expected 32 for sha256"),
        ("sha256//", "decodes to 0 bytes; expected 32 for sha256"),
        (f"sha256/{BASE64[:-2]}", "is not base64 (42 characters); expected the base64 of 32 bytes, which is 44 characters"),
        (f"sha256/{HEX}!", "is not base64 (65 characters)"),
        (f"sha256/{HEX}", f"holds 64 hexadecimal digits; expected the base64 of 32 bytes: sha256/{BASE64}"),
        (f"cert-sha256:{HEX[:-2]}", "decodes to 31 bytes; expected 32"),
        (f"3 1 1 {HEX[:-1]}", "has 63 hex digits; expected 64"),
        (f"3 1 1 {HEX[:-2]}", "decodes to 31 bytes; expected 32"),
        (f"sha1/{base64.b64encode(DIGEST[:20]).decode()}", "names the hash 'sha1'; expected sha256, sha384 or sha512"),
        (f"cert-sha1:{DIGEST[:20].hex()}", "names the hash 'sha1'"),
        (f"1 1 1 {HEX}", "TLSA usage 1 in "),
        (f"3 2 1 {HEX}", "TLSA selector 2 in "),
        (f"3 1 0 {HEX}", "TLSA matching type 0 in "),
        (f"3 1 {'1' * 5000} {HEX}", "is not a pin"),
        (BASE64, "is not a pin; expected sha256/<base64>"),
        (f"sha256:{HEX}", "is not a pin"),
        (f"SHA256/{BASE64}", "is not a pin"),
        (f'pin-sha256="{BASE64}"; max-age=1', "is not a pin"),
        ("", "'' is not a pin"),
    ],
)
def test_a_text_that_is_no_pin_says_what_was_found_and_expected(text: str, message: str) -> None:
    """A digest of the wrong length names both lengths; nothing becomes "no pin"."""
    with pytest.raises(PinSyntaxError) as error:
        parse_pin(text)
    assert message in str(error.value)


def test_a_pin_is_formatted_in_its_canonical_spelling() -> None:
    """What stands in a failure text can be pasted into the configuration."""
    assert str(parse_pin(f"sha256//{BASE64}")) == f"sha256/{BASE64}"
    assert str(parse_pin(f"cert-sha256:{BASE64}")) == f"cert-sha256:{HEX}"


def test_notes_and_positions_do_not_make_another_pin() -> None:
    """Two pins of a set must be two digests, or there is no backup."""
    first, second = Pin("spki", "sha256", DIGEST, note="a"), Pin("spki", "sha256", DIGEST, "leaf", note="b")
    assert first.identity == second.identity
    assert first.identity != Pin("cert", "sha256", DIGEST).identity


def test_a_pin_counts_from_its_first_to_its_last_instant() -> None:
    """Both ends are included."""
    start, end, tick = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 6, 30, tzinfo=UTC), timedelta(microseconds=1)
    pin = Pin("spki", "sha256", DIGEST, not_before=start, not_after=end)
    assert [pin.is_current(now) for now in (start - tick, start, end, end + tick)] == [False, True, True, False]
    assert Pin("spki", "sha256", DIGEST).is_current(start)


def test_a_certificate_meets_the_pin_of_its_key_and_no_other() -> None:
    """The SPKI pin hashes what `openssl x509 -pubkey` shows (RFC 7469 §2.4)."""
    item, other = self_signed("a"), self_signed("b")
    spki = x509.load_der_x509_certificate(item.der).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = spki_pin(item)
    assert pin == Pin("spki", "sha256", hashlib.sha256(spki).digest())
    assert pin.is_met_by(item, "leaf")
    assert not pin.is_met_by(other, "leaf")


def test_every_byte_of_a_digest_counts() -> None:
    """A key whose digest begins or ends like a pinned one can be searched for."""
    item = self_signed("a")
    digest = spki_pin(item).digest
    almost = [digest[:at] + bytes([digest[at] ^ 1]) + digest[at + 1 :] for at in range(len(digest))]
    assert not any(Pin("spki", "sha256", wrong).is_met_by(item, "leaf") for wrong in almost)
    assert Pin("spki", "sha256", digest).is_met_by(item, "leaf")


@pytest.mark.attack(
    "the digest of a certificate where that of its key was meant, or the reverse",
    expect="pin_mismatch",
    topic="pins",
    motive="OkHttp's testBadPin",
)
def test_a_certificate_pin_is_not_met_by_the_same_bytes_as_a_key_pin() -> None:
    """What is hashed is part of the pin."""
    item = self_signed("a")
    whole = hashlib.sha256(item.der).digest()
    assert Pin("cert", "sha256", whole).is_met_by(item, "leaf")
    assert not Pin("spki", "sha256", whole).is_met_by(item, "leaf")


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize(("where", "leaf", "ca"), [("any", True, True), ("leaf", True, False), ("ca", False, True)])
def test_a_pin_counts_only_at_its_position(*, algorithm: str, where: str, leaf: bool, ca: bool) -> None:
    """A leaf pin met by an intermediate is no match, and the other way round."""
    item: Certificate = self_signed("a")
    bare = spki_pin(item, algorithm)
    pin = {position: Pin("spki", algorithm, bare.digest, position) for position in ("any", "leaf", "ca")}[where]
    assert pin.is_met_by(item, "leaf") is leaf
    assert pin.is_met_by(item, "ca") is ca
