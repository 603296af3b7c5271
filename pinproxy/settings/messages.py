"""pydantic's findings in the words of this house: what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from pinproxy.settings.document import Place
from pinproxy.settings.schema import schema_at
from pinproxy.settings.values import shown

_KEY_MARK = "[key]"  # what pydantic puts behind the key of a mapping that is itself at fault
_EXPECTED = {
    "bool_type": "true or false, without quotes",
    "int_type": "a whole number, without quotes",
    "string_type": "a text; put it in quotes",
    "tuple_type": "a list, as in [a, b]",
    "model_type": "a mapping, as in {key: value}",
    "dict_type": "a mapping, as in {key: value}",
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Propose the nearest known word; the empty text where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def place_of(error: ErrorDetails) -> tuple[Place, bool]:
    """Tell where an error is to be shown, and whether at a key rather than its value."""
    place = tuple(error["loc"])
    if error["type"] == "missing":
        return place[:-1], False
    if place and place[-1] == _KEY_MARK:
        return place[:-1], True
    return place, error["type"] == "extra_forbidden"


def describe(error: ErrorDetails, root: Mapping[str, Any]) -> str:
    """Write the message of an error.

    Args:
        error: One of `ValidationError.errors()`.
        root: The JSON schema of the configuration, which knows the keys and what each is for.
    """
    place = tuple(error["loc"])
    match error["type"]:
        case "value_error":
            text = str(error["ctx"]["error"])
        case "missing":
            purpose = str(schema_at(root, place).get("description", "")).partition(". ")[0].rstrip(".")
            text = f"the key {str(place[-1])!r} is missing; expected it here: {purpose}"
        case "extra_forbidden":
            known = schema_at(root, place[:-1]).get("properties", {})
            text = f"unknown key{did_you_mean(str(place[-1]), known) or '; expected one of ' + ', '.join(known)}"
        case _:
            text = f"found {shown(error['input'])}; {_expected(error)}"
    return text


def _expected(error: ErrorDetails) -> str:
    kind, found = error["type"], error["input"]
    match kind:
        case "literal_error":
            words = str(error["ctx"]["expected"])
            # Digits are no misspelling: 1.1 was not meant to be 1.3.
            is_word = isinstance(found, str) and found[:1].isalpha()
            meant = did_you_mean(found, re.findall(r"'([^']*)'", words)) if is_word else ""
            text = f"expected {words.replace(chr(39), '')}{meant}"
        case "too_short":
            text = "expected at least one"
        case "greater_than_equal":
            text = f"expected {error['ctx']['ge']} or more"
        case "string_pattern_mismatch":
            text = "expected letters, digits, '.', '_' or '-', the first a letter or digit"
        case _:
            text = f"expected {_EXPECTED[kind]}" if kind in _EXPECTED else error["msg"]
    return text
