"""docs/security.md says what the marks of the tests say, and a mark says only what the page can hold."""

from __future__ import annotations

import tomllib
from types import ModuleType

import pytest

from tests.attacks import Attack, attack
from tests.security_page import PAGE, UNTESTED, collect_rows, marked, page, table


def test_the_page_is_what_the_tests_say() -> None:
    """`./dev docs` writes it."""
    assert PAGE.read_text("utf-8") == page()


def test_every_reason_for_an_attack_without_a_test_is_written() -> None:
    """And is about an attack that no row is about."""
    entries = tomllib.loads(UNTESTED.read_text("utf-8"))["untested"]
    assert all(entry.keys() == {"attack", "why"} and all(entry.values()) for entry in entries)
    assert {entry["attack"] for entry in entries}.isdisjoint(row.attack.what for row in collect_rows())


def test_a_mark_with_a_known_code_and_topic_is_read() -> None:
    """One expectation or several."""
    assert attack("lies", expect="pin_mismatch", topic="pins") == Attack("lies", ("pin_mismatch",), "pins", "")
    assert attack("lies", expect=("pin_mismatch", "cut"), topic="pins").expect == ("pin_mismatch", "cut")


@pytest.mark.parametrize(
    ("expect", "topic"),
    [("pin_missmatch", "pins"), (("pin_mismatch", "refuse"), "pins"), ((), "pins"), ("pin_mismatch", "pin")],
)
def test_a_mark_with_an_unknown_code_or_topic_is_refused(expect: str | tuple[str, ...], topic: str) -> None:
    """The page would promise what no test can assert."""
    with pytest.raises(ValueError, match=r"^(expect|topic)="):
        attack("lies", expect=expect, topic=topic)


def test_marks_are_found_on_tests_and_on_rows_of_their_tables() -> None:
    """A table may be one attack, or each of its rows another."""

    @pytest.mark.attack("first", expect="cut", topic="faults")
    @pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.attack("second", expect="cut", topic="faults"))])
    def test_both(x: int) -> None:
        del x

    module = ModuleType("module")
    vars(module).update(test_both=test_both, helper=test_both)
    assert sorted((name, found.what) for name, found in marked(module)) == [("test_both", "first"), ("test_both", "second")]


def test_a_row_is_attack_outcome_source_and_tests() -> None:
    """A bar in a phrase does not end its cell."""
    rows = [row for row in collect_rows() if row.attack.topic == "pins"][:1]
    rows[0].attack = Attack("a | b", ("pin_mismatch", "cut"), "pins", "RFC 7469")
    rows[0].tests = ["[test_x](../tests/x.py)"]
    line = r"| a \| b | [`pin_mismatch`](errors.md#pin_mismatch), *cut* | RFC 7469 | [test_x](../tests/x.py) |"
    assert line in table("pins", rows).splitlines()
