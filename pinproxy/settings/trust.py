"""The key `trust`: the roots a chain must end in, or none at all."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pinproxy.settings.key_files import Roots
from pinproxy.settings.section import Section
from pinproxy.settings.values import unexpected


class TrustSection(Section):
    """The roots a chain must end in."""

    ca_file: Roots | None = Field(
        description="PEM certificates, or one DER: the only roots of this host. Relative to this file.",
    )

    @property
    def is_pins_only(self) -> bool:
        """Whether the pins are all there is to tell a server by."""
        return False


class _PinsOnly(TrustSection):
    """No roots; a type of its own, so that no file of any content is ever equal to it."""

    @property
    def is_pins_only(self) -> bool:
        return True


SYSTEM, PINS_ONLY = TrustSection(ca_file=None), _PinsOnly(ca_file=None)
_WORDS: dict[object, TrustSection] = {"system": SYSTEM, "pins-only": PINS_ONLY}


def _read_trust(value: object) -> object:
    if isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if isinstance(value, dict):
        if value.get("ca_file", "") is None:
            raise ValueError("found a null ca_file; expected a path, or `trust: system`")
        return value
    raise unexpected(value, "system, pins-only, or a mapping such as {ca_file: roots.pem}")


TrustValue = Annotated[
    TrustSection,
    BeforeValidator(_read_trust, json_schema_input_type=Literal["system", "pins-only"] | TrustSection),
]
