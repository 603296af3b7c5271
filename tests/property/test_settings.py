"""Whatever stands in the file, loading ends in settings or in problems with places; never in a traceback."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pinproxy.errors import SettingsError
from pinproxy.settings.document import parse_document
from pinproxy.settings.load import load_settings

CONFIG = Path(__file__).parents[2] / "config/minimal.yaml"
BYTES = CONFIG.read_bytes()
KEYS = ("version", "listen", "admin", "hosts", "pin_sets", "limits", "log", "defaults", "local_ca", "reload")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("host", "pins", "pin", "x")) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def load(path: Path, content: bytes) -> None:
    """Load a text; anything but settings or explained problems fails the test."""
    path.write_bytes(content)
    try:
        load_settings(path, {}, {})
    except SettingsError as error:
        problems = error.problems
    else:
        return
    assert problems
    assert [problem for problem in problems if not (problem.line >= 1 and problem.column >= 1 and problem.message)] == []


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples."""
    return tmp_path_factory.mktemp("settings") / "pinproxy.yaml"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(BYTES)), st.integers(0, 12), st.binary(max_size=6))
def test_a_damaged_file_is_read_or_refused(path: Path, at: int, length: int, inserted: bytes) -> None:
    """Cut, overwritten, or with bytes put in anywhere."""
    load(path, BYTES[:at] + inserted + BYTES[at + length :])


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_any_value_at_any_key_is_read_or_refused(path: Path, values: dict[str, object]) -> None:
    """JSON is YAML, so any value can be written."""
    load(path, json.dumps({"version": 1, **values}).encode())


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:- \t\n\r#&*!|>'\"%@`{}[],?<\x85\u2028\0"), max_size=40))
@example("a: \u2028*b")
@example("\u2028\n\t")
@example("%YAML 1.2\n---\nversion: 1")
def test_any_text_is_a_document_or_refused(text: str) -> None:
    """The characters are those that mean something to YAML."""
    with suppress(SettingsError):
        assert isinstance(parse_document(text.encode(), "c.yaml").root, dict)
