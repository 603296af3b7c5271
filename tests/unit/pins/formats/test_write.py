"""What is written reads back as what it was, and what a format cannot hold is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pinproxy.pins.formats import android, apple, curl, okhttp, rfc7469, tlsa, trustkit
from pinproxy.pins.formats.values import ImportedPins, PinnedHost, Written
from pinproxy.pins.pin import Pin, Where, parse_pin
from pinproxy.pins.pin_set import PinSet
from tests.unit.pins.formats.examples import A, B

Write = Callable[[Sequence[PinnedHost]], Written]
PINS = tuple(parse_pin(f"sha256/{text}") for text in (A, B))


def host(position: Where = "any", *more: Pin, name: str = "api.example") -> PinnedHost:
    """Make a host with two pins."""
    pins = tuple(replace(pin, position=position) for pin in PINS)
    return PinnedHost(name, PinSet("api-example", (*pins, *more)))


def dated(found: PinnedHost, expires: datetime) -> PinnedHost:
    """Let its pins be switched off."""
    assert found.pin_set is not None
    return replace(found, pin_set=replace(found.pin_set, expires=expires, on_expiry="disabled"))


def _for_host(read: Callable[[bytes, str, str | None], ImportedPins]) -> Callable[[bytes, str], ImportedPins]:
    return lambda content, name: read(content, name, "api.example")


@pytest.mark.parametrize(
    ("write", "read", "written"),
    [
        (android.write, android.read, replace(dated(host(), datetime(2027, 1, 1, tzinfo=UTC)), wildcard="**.")),
        (trustkit.write, trustkit.read, replace(dated(host(), datetime(2027, 1, 1, tzinfo=UTC)), mode="report-only")),
        (apple.write, apple.read, replace(host("ca"), wildcard="**.")),
        (apple.write, apple.read, host("leaf")),
        (okhttp.write, okhttp.read, replace(host(), wildcard="*.")),
        (curl.write, _for_host(curl.read), host("leaf")),
        (rfc7469.write, _for_host(rfc7469.read), replace(host(), mode="report-only", wildcard="**.")),
        (tlsa.write, tlsa.read, replace(host("ca"), ports=(8443,))),
    ],
)
def test_what_a_format_holds_survives_it(write: Write, read: Callable[[bytes, str], ImportedPins], written: PinnedHost) -> None:
    """Written and read again, the host is the same value."""
    assert read(write([written]).text.encode(), "f").hosts == (written,)


@pytest.mark.parametrize(
    ("write", "changed", "said"),
    [
        (android.write, replace(host(), wildcard="*."), "no such pattern"),
        (android.write, replace(host(), mode="report-only"), "can only enforce"),
        (android.write, replace(host(), mode="disabled"), "not pinned"),
        (apple.write, host("any"), "write `position`"),
        (curl.write, host("ca"), "none of its pins"),
        (okhttp.write, PinnedHost("api.example", PinSet("a", (Pin("cert", "sha256", bytes(32)),))), "none of its pins"),
        (tlsa.write, host(name="192.0.2.1"), "not for an address"),
    ],
)
def test_a_host_that_does_not_fit_is_left_out_and_said(write: Write, changed: PinnedHost, said: str) -> None:
    """Nothing of it is written: half a host would be another policy."""
    written = write([changed])
    assert A not in written.text
    assert "api.example" not in written.text
    assert any(said in note for note in written.notes)


@pytest.mark.parametrize(
    ("write", "changed", "said"),
    [
        (okhttp.write, host("leaf"), "counts anywhere in the chain there"),
        (okhttp.write, replace(host(), ports=(443,)), "written for every port"),
        (okhttp.write, dated(host(), datetime(2027, 1, 1, tzinfo=UTC)), "expires 2027-01-01 is not written"),
        (okhttp.write, host("any", Pin("spki", "sha512", bytes(64))), "sha256 of public keys alone"),
        (
            android.write,
            PinnedHost("api.example", PinSet("a", PINS, expires=datetime(2027, 1, 1, tzinfo=UTC))),
            "a date switches the pins off",
        ),
        (rfc7469.write, host(), "max-age is"),
        (tlsa.write, host(), "written for port 443"),
        (
            okhttp.write,
            PinnedHost("api.example", PinSet("a", PINS, (Pin("spki", "sha256", bytes(32)),))),
            "forbidden keys are not written",
        ),
    ],
)
def test_what_is_lost_of_a_host_is_said(write: Write, changed: PinnedHost, said: str) -> None:
    """It is written all the same."""
    written = write([changed])
    assert "api.example" in written.text
    assert any(said in note for note in written.notes), written.notes


@pytest.mark.parametrize("write", [android.write, trustkit.write, okhttp.write])
def test_a_second_entry_of_a_host_is_left_out_and_said(write: Write) -> None:
    """Android refuses it, a dictionary has one, and OkHttp would add the pins of both ports together."""
    first, second = replace(host(), ports=(443,)), replace(host(), ports=(8443,))
    written = write([first, second])
    assert written.text == write([first]).text
    assert any("has one entry for it" in note for note in written.notes)


def test_each_port_has_records_of_its_own() -> None:
    """The twin: TLSA has ports."""
    text = tlsa.write([replace(host("leaf"), ports=(443,)), replace(host("leaf"), ports=(8443,))]).text
    assert [line.partition(".")[0] for line in text.splitlines()] == ["_443", "_443", "_8443", "_8443"]


def test_the_last_day_becomes_the_first_without() -> None:
    """Ours counts to the end of a day, Android's from its beginning."""
    end = datetime(2027, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert 'expiration="2027-02-01"' in android.write([dated(host(), end)]).text
