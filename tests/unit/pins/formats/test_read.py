"""Each format's documented example is read as it is meant there; what is not carried is said, with its line."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import partial

import pytest

from pinproxy.errors import PinFormatError
from pinproxy.pins.formats import android, apple, chromium, curl, okhttp, rfc7469, tlsa, trustkit
from pinproxy.pins.formats.values import ImportedPins
from pinproxy.pins.pin import parse_pin
from tests.harness.pki import make_root
from tests.unit.pins.formats import examples
from tests.unit.pins.formats.examples import A, B

DIGESTS = [parse_pin(f"sha256/{text}").digest for text in (A, B)]
ROOT = make_root()

READ = {
    "android": partial(android.read, examples.ANDROID.encode(), "f"),
    "trustkit": partial(trustkit.read, examples.TRUSTKIT.encode(), "f"),
    "apple": partial(apple.read, examples.APPLE.encode(), "f"),
    "okhttp": partial(okhttp.read, examples.OKHTTP.encode(), "f"),
    "okhttp lines": partial(okhttp.read, examples.OKHTTP_LINES.encode(), "f"),
    "curl": partial(curl.read, examples.CURL.encode(), "f", "api.example"),
    "rfc7469": partial(rfc7469.read, examples.RFC7469.encode(), "f", "api.example"),
    "rfc7469 report-only": partial(rfc7469.read, examples.RFC7469_REPORT_ONLY.encode(), "f", "api.example"),
    "chromium": partial(chromium.read, examples.CHROMIUM.encode(), "f", examples.CHROMIUM_PINS.encode(), "p"),
    "tlsa": partial(tlsa.read, examples.TLSA.encode(), "f"),
}


def problems(error: PinFormatError) -> list[tuple[int, str]]:
    """List what is wrong, with its line."""
    return [(problem.line, problem.message) for problem in error.problems]


@pytest.mark.parametrize(
    ("form", "pattern", "mode", "positions"),
    [
        ("android", "**.example.com", "enforce", ["any", "any"]),
        ("trustkit", "**.yahoo.com", "report-only", ["any", "any"]),
        ("apple", "**.example.org", "enforce", ["ca", "ca"]),
        ("okhttp", "publicobject.com", "enforce", ["any", "any"]),
        ("okhttp lines", "**.publicobject.com", "enforce", ["any", "any"]),
        ("curl", "api.example", "enforce", ["leaf", "leaf"]),
        ("rfc7469", "**.api.example", "enforce", ["any", "any"]),
        ("rfc7469 report-only", "api.example", "report-only", ["any", "any"]),
        ("chromium", "**.pinningtest.example", "enforce", ["any", "any"]),
        ("tlsa", "www.example.com", "enforce", ["leaf", "ca"]),
    ],
)
def test_a_documented_example_is_read(form: str, pattern: str, mode: str, positions: list[str]) -> None:
    """Host, subdomains, pins, where they count, and whether a mismatch is denied."""
    imported = READ[form]()
    (host,) = imported.hosts
    assert (host.pattern, host.mode) == (pattern, mode)
    assert host.pin_set is not None
    assert [pin.digest for pin in host.pin_set.pins] == DIGESTS
    assert [pin.position for pin in host.pin_set.pins] == positions


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("android", ["f:5: expiration 2018-01-01 switches the pins off"]),
        ("trustkit", ["f:23: TSKReportUris is not carried", "f:12: TSKExpirationDate 2017-12-01 switches the pins off"]),
        ("apple", []),
        ("okhttp", []),
        ("curl", []),
        ("rfc7469", ["max-age=3000 is not carried", "f:4: report-uri 'http://example.com/pkp-report' is not carried"]),
        ("chromium", ["ten weeks", "1 entries without pins", "f:6: report_uri is not carried"]),
        ("tlsa", ["f:3: usages 2 and 3 trust without a public CA", "1 records of other types"]),
    ],
)
def test_what_is_not_carried_is_said(form: str, said: list[str]) -> None:
    """One note for each thing, and no others."""
    notes = READ[form]().notes
    assert len(notes) == len(said)
    assert [text in note for text, note in zip(said, notes, strict=True)] == [True] * len(said), notes


@pytest.mark.parametrize(
    ("form", "day"), [("android", datetime(2018, 1, 1, tzinfo=UTC)), ("trustkit", datetime(2017, 12, 1, tzinfo=UTC))]
)
def test_a_date_that_switches_pins_off_goes_on_doing_so(form: str, day: datetime) -> None:
    """Both compare nothing from the beginning of that day on."""
    (pin_set,) = READ[form]().pin_sets
    assert (pin_set.expires, pin_set.on_expiry) == (day, "disabled")


def _read_android(old: str, new: str) -> ImportedPins:
    return android.read(examples.ANDROID.replace(old, new).encode(), "f")


def test_a_pin_of_another_length_is_named_with_both_lengths() -> None:
    """Guides print samples of 31 bytes or 33, which Android takes and never matches."""
    with pytest.raises(PinFormatError) as caught:
        _read_android(A, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==")
    ((line, message),) = problems(caught.value)
    assert line == 6
    assert "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==" in message
    assert "decodes to 31 bytes; expected 32" in message


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('<?xml version="1.0" encoding="utf-8"?>', '<!DOCTYPE a [<!ENTITY b "c">]>', 1, "DOCTYPE"),
        ("example.com", "&host;", 4, "undefined entity"),
        ("SHA-256", "SHA-1", 6, "expected SHA-256"),
        ("2018-01-01", "soon", 5, "expected a day"),
        ("</domain>", "", 10, "mismatched tag"),
        ("example.com", "*.example.com", 4, "*.example.com"),
        ("network-security-config", "resources", 2, "expected <network-security-config>"),
    ],
)
def test_an_android_file_with_a_problem_gives_nothing(old: str, new: str, line: int, said: str) -> None:
    """The twin is the example itself."""
    with pytest.raises(PinFormatError) as caught:
        _read_android(old, new)
    assert problems(caught.value)[0][0] == line
    assert said in str(caught.value)


def test_a_nested_domain_of_android_inherits_or_is_exempt() -> None:
    """Without a pin-set it has that of the one around it; with an empty one, none, at any depth."""
    inner = (
        "<domain-config><domain>a.example.com</domain></domain-config><domain-config><domain>b.example.com</domain><pin-set/>"
        "<domain-config><domain>c.b.example.com</domain></domain-config></domain-config></domain-config>"
    )
    imported = _read_android("</domain-config>", inner)
    assert [(host.pattern, host.mode) for host in imported.hosts] == [
        ("**.example.com", "enforce"),
        ("a.example.com", "enforce"),
        ("b.example.com", "disabled"),
        ("c.b.example.com", "disabled"),
    ]


def test_debug_overrides_are_left_out_with_a_note() -> None:
    """They are for builds that no customer has."""
    imported = _read_android("</network-security-config>", "<debug-overrides/></network-security-config>")
    assert [host.pattern for host in imported.hosts] == ["**.example.com"]
    assert any("debug-overrides" in note for note in imported.notes)


def test_both_kinds_of_identity_keep_the_stricter_half() -> None:
    """Apple asks for a match of each; a set in which either suffices would be weaker."""
    leaf = f"<key>NSPinnedLeafIdentities</key><array><dict><key>SPKI-SHA256-BASE64</key><string>{B}</string></dict></array>"
    text = examples.APPLE.replace("<key>NSPinnedCA", leaf + "<key>NSPinnedCA")
    imported = apple.read(text.encode(), "f")
    (pin_set,) = imported.pin_sets
    assert [(pin.digest, pin.position) for pin in pin_set.pins] == [(DIGESTS[1], "leaf")]
    assert any("asks for a match of each" in note for note in imported.notes)


def test_a_binary_property_list_names_the_way_out() -> None:
    """The twin is the XML."""
    with pytest.raises(PinFormatError, match="plutil -convert xml1"):
        trustkit.read(b"bplist00\x00", "f")


def test_a_property_list_may_define_no_entities() -> None:
    """Its usual DOCTYPE passes; one with declarations of its own does not."""
    text = examples.TRUSTKIT.replace('.dtd">', '.dtd" [<!ENTITY a "b">]>')
    with pytest.raises(PinFormatError, match="DOCTYPE"):
        trustkit.read(text.encode(), "f")


def test_patterns_whose_pins_okhttp_would_add_together_are_pointed_out() -> None:
    """Here the most specific one counts alone."""
    text = f"*.a.example sha256/{A} sha256/{B}\nb.a.example sha256/{A} sha256/{B}\n"
    (note,) = okhttp.read(text.encode(), "f").notes
    assert "OkHttp adds their pins together" in note


@pytest.mark.parametrize(("field", "pins"), examples.RFC7469_ALL)
def test_every_field_that_rfc_7469_shows_is_read(field: str, pins: tuple[str, ...]) -> None:
    """Its order, its line breaks, its report-only twin."""
    (host,) = rfc7469.read(field.encode(), "f", "api.example").hosts
    assert host.pin_set is not None
    assert [str(pin) for pin in host.pin_set.pins] == [f"sha256/{pin}" for pin in pins]
    assert host.mode == ("report-only" if "Report-Only" in field else "enforce")
    assert host.wildcard == ("**." if "includeSubDomains" in field else "")


def test_a_field_that_asks_to_forget_is_no_pin_set() -> None:
    """RFC 7469 §2.1.2; the twin is the example."""
    with pytest.raises(PinFormatError, match="max-age=0"):
        rfc7469.read(examples.RFC7469.replace("3000", "0").encode(), "f")


def test_only_the_first_enforced_field_counts() -> None:
    """RFC 7469 §2.3.1; the report-only one beside it cannot be carried too, and is said."""
    text = examples.RFC7469_REPORT_ONLY + examples.RFC7469
    imported = rfc7469.read(text.encode(), "f", "api.example")
    assert [host.mode for host in imported.hosts] == ["enforce"]
    assert "is report-only beside one that is enforced" in imported.notes[0]


def test_a_key_that_chromium_forbids_is_forbidden() -> None:
    """`bad_static_spki_hashes` deny wherever they appear."""
    (pin_set,) = READ["chromium"]().pin_sets
    assert [(pin.digest, pin.note) for pin in pin_set.forbidden] == [(bytes(32), "BadSPKI")]


def test_a_certificate_among_chromiums_keys_is_pinned_by_its_key() -> None:
    """A PEM block stands for its SPKI."""
    pins = examples.CHROMIUM_PINS.replace(f"sha256/{A}", ROOT.pem.decode())
    imported = chromium.read(examples.CHROMIUM.encode(), "f", pins.encode(), "p")
    assert imported.pin_sets[0].pins[0].digest == ROOT.pin.digest


def test_tlsa_data_in_full_is_hashed() -> None:
    """Matching type 0 writes the certificate out; the twin has a digit less."""
    record = f"_8443._tcp.a.example. IN TLSA 2 0 0 {ROOT.der.hex()}"
    (host,) = tlsa.read(record.encode(), "f").hosts
    assert host.ports == (8443,)
    assert host.pin_set is not None
    assert [(pin.subject, pin.digest) for pin in host.pin_set.pins] == [("cert", hashlib.sha256(ROOT.der).digest())]
    with pytest.raises(PinFormatError, match="cannot be decoded"):
        tlsa.read(record[:-1].encode(), "f")


def test_a_host_that_stands_there_twice_is_a_problem() -> None:
    """A configuration takes each pattern once, and which of the two would be a guess."""
    twice = examples.ANDROID.split("<network-security-config>")[1].replace("</network-security-config>", "")
    with pytest.raises(PinFormatError, match="stands in the file twice"):
        _read_android("</network-security-config>", f"{twice}</network-security-config>")


def test_a_key_that_is_wanted_and_forbidden_is_a_problem() -> None:
    """It would deny what it is to allow; the twin is the example itself."""
    text = examples.CHROMIUM.replace('["BadSPKI"]', '["TestSPKI"]')
    with pytest.raises(PinFormatError, match="is both wanted and forbidden"):
        chromium.read(text.encode(), "f", examples.CHROMIUM_PINS.encode(), "p")


def test_an_address_has_no_subdomains() -> None:
    """A configuration takes no such pattern; the twin is the address alone."""
    with pytest.raises(PinFormatError, match=r"192\.0\.2\.7 is an address and has no subdomains; write it alone"):
        okhttp.read(f"*.192.0.2.7 sha256/{A} sha256/{B}\n".encode(), "f")
    assert okhttp.read(f"192.0.2.7 sha256/{A} sha256/{B}\n".encode(), "f").hosts[0].pattern == "192.0.2.7"


def test_what_is_said_of_several_lines_is_said_once_with_the_first() -> None:
    """A list of a thousand hosts would say it a thousand times."""
    text = f"a.example sha256/{A} sha256/{A}\nb.example sha256/{B} sha256/{B} sha256/{A}\n"
    twice, single = okhttp.read(text.encode(), "f").notes
    assert twice == "f:1: a pin stands there twice; it is written once"
    assert single.startswith("f:1: found one pin")
