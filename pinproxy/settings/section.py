"""What every mapping of the configuration has in common."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")

# YAML gives lists; frozen values hold tuples. Only the container is converted, its items stay strict.
Many = Annotated[tuple[Item, ...], Field(strict=False)]


class Section(BaseModel):
    """A mapping: no unknown key, no conversion between types, no change once read.

    Texts in quotes do not become numbers and numbers do not become claims: `"false"` is no boolean here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
