"""Pin files of other programs: whatever they hold, the answer is pins that load, or problems with their lines."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinproxy.cli.pin_exchange import HOSTLESS, READERS
from pinproxy.cli.pin_formats import WRITERS
from pinproxy.cli.pin_snippet import snippet
from pinproxy.errors import PinFormatError
from pinproxy.pins.formats import android, apple, chromium, curl, okhttp, rfc7469, tlsa, trustkit
from pinproxy.pins.formats.capability import Capability
from pinproxy.pins.formats.values import ImportedPins, Mode, PinnedHost
from pinproxy.pins.pin import Pin, Where
from pinproxy.pins.pin_set import OnExpiry, PinSet
from pinproxy.settings.load import load_settings
from tests.unit.pins.formats import examples

Read = Callable[[bytes], ImportedPins]
READ: dict[str, tuple[Read, str]] = {
    "android": (lambda content: READERS["android"](content, "f"), examples.ANDROID),
    "trustkit": (lambda content: READERS["trustkit"](content, "f"), examples.TRUSTKIT),
    "apple": (lambda content: READERS["apple"](content, "f"), examples.APPLE),
    "okhttp": (lambda content: READERS["okhttp"](content, "f"), examples.OKHTTP),
    "okhttp lines": (lambda content: READERS["okhttp"](content, "f"), examples.OKHTTP_LINES),
    "tlsa": (lambda content: READERS["tlsa"](content, "f"), examples.TLSA),
    "curl": (lambda content: HOSTLESS["curl"](content, "f", "a.example"), examples.CURL),
    "rfc7469": (lambda content: HOSTLESS["rfc7469"](content, "f", "a.example"), examples.RFC7469),
    "chromium": (lambda content: chromium.read(content, "f", examples.CHROMIUM_PINS.encode(), "p"), examples.CHROMIUM),
    "chromium pins": (lambda content: chromium.read(examples.CHROMIUM.encode(), "f", content, "p"), examples.CHROMIUM_PINS),
}


def answers(read: Read, content: bytes) -> ImportedPins | None:
    """Read; None where every problem has a line."""
    try:
        return read(content)
    except PinFormatError as error:
        problems = error.problems
    assert problems
    assert all(problem.line >= 1 for problem in problems)
    return None


def assert_loads(imported: ImportedPins) -> None:
    """Load what would be printed."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "c.yaml"
        file.write_text("version: 1\n" + snippet(imported), "utf-8")
        loaded = load_settings(file, {}, {})
    assert [str(host.host) for host in loaded.hosts] == [host.pattern for host in imported.hosts]
    sets = tuple(section.to_pin_set(name) for name, section in loaded.pin_sets.items())
    assert sets == imported.pin_sets


@pytest.mark.parametrize("form", READ)
def test_the_example_loads(form: str) -> None:
    """What is printed starts a proxy, with the very pins."""
    read, example = READ[form]
    imported = answers(read, example.encode())
    assert imported is not None
    assert_loads(imported)


@pytest.mark.parametrize("form", READ)
@given(content=st.binary(max_size=200))
def test_arbitrary_bytes_are_a_problem_with_a_line(form: str, content: bytes) -> None:
    """No other error leaves a reader."""
    answers(READ[form][0], content)


@pytest.mark.parametrize("form", READ)
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_example_loads_or_is_a_problem(form: str, data: st.DataObject) -> None:
    """A cut, a doubled piece or foreign bytes anywhere in it."""
    read, example = READ[form]
    whole = example.encode()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 40)))
    put = data.draw(
        st.one_of(
            st.binary(max_size=8), st.just(whole[start:end] * 2), st.text("<>&\"'();/#-_*.0a\n", max_size=8).map(str.encode)
        )
    )
    imported = answers(read, whole[:start] + put + whole[end:])
    if imported is not None:
        assert_loads(imported)


CAPABILITIES: dict[str, Capability] = {
    "android": android.CAPABILITY,
    "trustkit": trustkit.CAPABILITY,
    "apple": apple.CAPABILITY,
    "okhttp": okhttp.CAPABILITY,
    "tlsa": tlsa.CAPABILITY,
    "curl": curl.CAPABILITY,
    "rfc7469": rfc7469.CAPABILITY,
}
NAMES = ("a.example", "b.a.example", "xn--bcher-kva.example", "c.test")


@st.composite
def fitting_hosts(draw: st.DrawFn, form: str) -> list[PinnedHost]:
    """Hosts that a format can hold whole."""
    can = CAPABILITIES[form]
    names = NAMES[:1] if form in HOSTLESS else draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    return [draw(_fitting_host(can, name)) for name in names]


@st.composite
def _fitting_host(draw: st.DrawFn, can: Capability, name: str) -> PinnedHost:
    one: Where = draw(st.sampled_from(("leaf", "ca")))
    positions: dict[str, Where] = {"any": "any", "leaf": "leaf", "named": one}
    digests = draw(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=4, unique=True))
    expires: datetime | None = None
    on_expiry: OnExpiry = "enforce"
    if can.has_expiry and draw(st.booleans()):
        expires, on_expiry = datetime.combine(draw(st.dates()), time.min, UTC), "disabled"
    pin_set = PinSet(
        "x", tuple(Pin("spki", "sha256", digest, positions[can.positions]) for digest in digests), (), expires, on_expiry
    )
    mode: Mode = draw(st.sampled_from(("enforce", "report-only"))) if can.has_report_only else "enforce"
    ports = (draw(st.integers(1, 65535)),) if can.has_ports else ()
    # curl's list holds no host, so that its pattern comes from `--host`.
    wildcard = draw(st.sampled_from(sorted(can.wildcards))) if can is not curl.CAPABILITY else ""
    return PinnedHost(name, pin_set, wildcard, ports, mode)


def carried(host: PinnedHost) -> tuple[Any, ...]:
    """Take what a pin file carries of a host: everything but the name of its set."""
    assert host.pin_set is not None
    pins = [(pin.identity, pin.position) for pin in host.pin_set.pins]
    return host.pattern, host.ports, host.mode, pins, host.pin_set.expires, host.pin_set.on_expiry


@pytest.mark.parametrize("form", CAPABILITIES)
@settings(max_examples=60)
@given(data=st.data())
def test_what_a_format_can_hold_comes_back_from_it(form: str, data: st.DataObject) -> None:
    """Written and read again, hosts are what they were, in their order, and nothing is said to be lost."""
    hosts = data.draw(fitting_hosts(form))
    written = WRITERS[form](hosts)
    assert [note for note in written.notes if "max-age" not in note] == []
    if form in HOSTLESS:
        read = HOSTLESS[form](written.text.encode(), "f", hosts[0].host)
    else:
        read = READERS[form](written.text.encode(), "f")
    assert [carried(host) for host in read.hosts] == [carried(host) for host in hosts]
