"""Pin files of other programs: whatever they hold, the answer is pins that load, or problems with their lines."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinproxy.cli.pin_exchange import HOSTLESS, READERS
from pinproxy.cli.pin_snippet import snippet
from pinproxy.errors import PinFormatError
from pinproxy.pins.formats import chromium
from pinproxy.pins.formats.values import ImportedPins
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
