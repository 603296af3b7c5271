"""The configuration's JSON schema (draft 2020-12): for editors, and for our own messages and flags."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from pinproxy.authority import Authority
from pinproxy.settings.model import Settings

_REFERENCE = "#/$defs/"


@cache
def json_schema() -> dict[str, Any]:
    """Return the schema that is published as config/pinproxy.schema.json; callers do not change it.

    An editor that knows it completes keys, shows their texts and marks unknown ones. What takes more than one value to
    decide (two pins or more, names of pin sets, colliding hosts) is told at load only.
    """
    schema = Settings.model_json_schema(schema_generator=_Draft202012)
    for section in (schema, *schema["$defs"].values()):
        section.pop("title")
        for key in section["properties"].values():
            if isinstance(key.get("default"), dict):
                del key["default"]  # a section left out has the defaults of its keys, and they stand there
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": "pinproxy configuration", **schema}


def schema_text() -> str:
    """Return the schema as the text of config/pinproxy.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


class _Draft202012(GenerateJsonSchema):
    """pydantic's generator without the titles, which only repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 -- the signature is pydantic's
        """Leave every field without a title."""
        return False

    def encode_default(self, dft: Any) -> Any:
        """Write a default as it would stand in the file."""
        if isinstance(dft, Authority):
            return str(dft)
        return [self.encode_default(item) for item in dft] if isinstance(dft, tuple) else super().encode_default(dft)


def schema_at(root: Mapping[str, Any], place: tuple[str | int, ...]) -> Mapping[str, Any]:
    """Find the schema of a place such as `("hosts", 0, "mode")`; empty where the model has no such place.

    Where a place may hold a text or a mapping, the mapping is meant.
    """
    here: Mapping[str, Any] = root
    for step in place:
        here = next(_inside(root, here, step), {})
    return next((found for found in alternatives(root, here) if "properties" in found), here)


def alternatives(root: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what a place may hold, references followed, `null` left out."""
    if "$ref" in here:
        yield root["$defs"][here["$ref"].removeprefix(_REFERENCE)]
    elif "anyOf" in here:
        for item in here["anyOf"]:
            if item.get("type") != "null":
                yield from alternatives(root, item)
    else:
        yield here


def _inside(root: Mapping[str, Any], here: Mapping[str, Any], step: str | int) -> Iterator[Mapping[str, Any]]:
    for found in alternatives(root, here):
        if isinstance(step, int):
            if "items" in found:
                yield found["items"]
        elif step in found.get("properties", {}):
            yield found["properties"][step]
        else:
            # A free name: `additionalProperties` is False where names are fixed.
            free = found.get("additionalProperties") or next(iter(found.get("patternProperties", {}).values()), None)
            if free:
                yield free
