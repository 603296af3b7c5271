"""The `limits` section, made from `pinproxy.limits.Limits`: a limit added there has a key, a flag, a variable and a text here."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, Field, GetCoreSchemaHandler, create_model
from pydantic_core import CoreSchema, core_schema

from pinproxy.limits import Limits
from pinproxy.settings.section import Section
from pinproxy.settings.values import Duration, DurationOrZero, Size

_MAY_BE_ZERO = frozenset({"drain_seconds", "pool_idle_connections", "session_seconds"})


def _descriptions(docstring: str) -> dict[str, str]:
    """Take the texts of an `Attributes:` block, each on one line."""
    attributes = inspect.cleandoc(docstring).partition("Attributes:\n")[2]  # Python 3.13 cleans it already, 3.11 does not
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", attributes, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _type_of(name: str, default: object) -> Any:
    if name.endswith("_seconds"):
        return DurationOrZero if name in _MAY_BE_ZERO else Duration
    if name.endswith("_bytes"):
        return Size
    if isinstance(default, bool):
        return bool
    return Annotated[int, Field(ge=0 if name in _MAY_BE_ZERO else 1)]


def _model() -> type[BaseModel]:
    texts = _descriptions(Limits.__doc__ or "")
    keys: dict[str, Any] = {
        item.name: (_type_of(item.name, item.default), Field(item.default, description=texts.get(item.name)))
        for item in fields(Limits)
    }
    return create_model("LimitsSection", __base__=Section, __doc__="Bounds that a peer can run into.", **keys)


class _FromSection:
    """Validates as the section and gives the value that the rest of the program uses."""

    def __get_pydantic_core_schema__(self, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        section = handler.generate_schema(_model())
        return core_schema.no_info_after_validator_function(lambda read: Limits(**dict(read)), section)


LimitsValue = Annotated[Limits, _FromSection()]
