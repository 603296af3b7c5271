"""YAML to plain values with their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinproxy.errors import SettingsError
from pinproxy.settings.document import dotted, parse_document, read_document


def test_values_and_keys_know_their_places() -> None:
    """Lines and columns count from 1, as editors do."""
    document = parse_document(b"version: 1\nhosts:\n  - {host: a.example}\n", "c.yaml")
    assert document.root == {"version": 1, "hosts": [{"host": "a.example"}]}
    assert document.position(("version",)) == (1, 10)
    assert document.position(("hosts", 0, "host")) == (3, 12)
    assert document.position(("hosts", 0, "host"), of_key=True) == (3, 6)
    assert document.position(("hosts", 0, "mode")) == (3, 5)
    assert document.position(("limits",)) == (1, 1)


def test_an_alias_is_the_value_it_names() -> None:
    """Anchors may be used, within bounds."""
    document = parse_document(b"a: &ports [443, 8443]\nb: *ports\n", "c.yaml")
    assert document.root == {"a": [443, 8443], "b": [443, 8443]}


def test_many_values_that_stand_in_the_file_are_no_expansion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand hosts are a large file and not a small one made large: only what aliases repeat is counted."""
    monkeypatch.setattr("pinproxy.settings.document._MAX_REPEATED_NODES", 20)  # 20,000 values would take a second
    assert parse_document(b"a: [" + b"x," * 30 + b"x]\n", "c.yaml").root == {"a": ["x"] * 31}
    with pytest.raises(SettingsError, match="aliases make more than 20 values"):
        parse_document(b"a: &a [x, x, x, x]\nb: [*a, *a, *a, *a, *a, *a]\n", "c.yaml")


@pytest.mark.parametrize("text", ["a: yes", "a: no", "a: on", "a: 12:30", "a: 127.0.0.1:3128"])
def test_words_of_yaml_1_1_are_texts(text: str) -> None:
    """YAML 1.2 §10.3.2 has true and false for booleans, and no sexagesimal numbers."""
    assert parse_document(text.encode(), "c.yaml").root == {"a": text.removeprefix("a: ")}


def test_a_key_is_its_text_whatever_it_looks_like() -> None:
    """A pin set may be called 2027."""
    assert parse_document(b"2027: a\ntrue: b\n", "c.yaml").root == {"2027": "a", "true": "b"}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_the_text(mark: bytes) -> None:
    """Editors of some systems write one."""
    assert parse_document(mark + b"version: 1\n", "c.yaml").root == {"version": 1}


@pytest.mark.attack(
    "YAML with duplicate keys, tags, aliases that multiply, or nesting without end",
    expect="not start",
    topic="control",
    motive="billion laughs",
)
def test_the_first_of_two_equal_keys_counts_and_the_second_is_a_problem() -> None:
    """Both are shown to the operator; nobody guesses."""
    document = parse_document(b"a: 1\nb: {c: 1, c: 2}\na: 2\n", "c.yaml")
    assert document.root == {"a": 1, "b": {"c": 1}}
    assert [(problem.line, problem.column, problem.path) for problem in document.problems] == [(2, 11, "b.c"), (3, 1, "a")]


@pytest.mark.attack(
    "YAML with duplicate keys, tags, aliases that multiply, or nesting without end",
    expect="not start",
    topic="control",
    motive="billion laughs",
)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\n" + b"#" * 4 * 1024 * 1024, "larger than 4194304 bytes"),
        (b"a: " + b"[" * 500, "nested too deep"),
        (b"a: " + b"[" * 40 + b"]" * 40, "nested too deep"),
        ("a: 1\n".encode("utf-16"), "is not UTF-8"),
        (b"a: [*b]", 'unknown alias *b; a host pattern stands in quotes: "*b"'),
        (b"a: **.x", 'unknown alias **.x; a host pattern stands in quotes: "**.x"'),
    ],
)
def test_a_text_that_could_hurt_or_mean_two_things_is_refused(content: bytes, message: str) -> None:
    """Size, depth and encoding have bounds."""
    with pytest.raises(SettingsError) as refused:
        parse_document(content, "c.yaml")
    assert message in str(refused.value)


def test_a_nesting_that_a_configuration_may_need_is_read() -> None:
    """The twin of the deep one."""
    assert parse_document(b"a: " + b"[" * 20 + b"]" * 20, "c.yaml").problems == []


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, or a directory."""
    with pytest.raises(SettingsError, match=r"missing\.yaml: cannot be read \(No such file or directory\)"):
        read_document(tmp_path / "missing.yaml")
    with pytest.raises(SettingsError, match=r"cannot be read \(Is a directory\)"):
        read_document(tmp_path)


def test_a_place_is_written_as_in_other_tools() -> None:
    """Keys with dots between, numbers in brackets."""
    assert dotted(("hosts", 0, "upstream", "port")) == "hosts[0].upstream.port"
    assert dotted(()) == ""
