"""Pins and pin sets as the configuration writes them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema, field_validator, model_validator

from pinproxy.pins.pin import Pin, parse_pin
from pinproxy.pins.pin_set import PinSet
from pinproxy.settings.key_files import CertificatePin, KeyPin
from pinproxy.settings.section import Many, Section
from pinproxy.settings.values import EndOfDay, StartOfDay, unexpected

_EXAMPLE = "sha256/uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="
_NEEDED = 2
_WHY_TWO = "a lost or renewed key then has a backup; write a second pin, or insist with `allow_single_pin: true`"


def _read_pin(value: object) -> Pin:
    if not isinstance(value, str):
        raise unexpected(value, f"a pin such as {_EXAMPLE}")
    return parse_pin(value)


def _as_mapping(value: object) -> object:
    """Take a bare text for the pin itself."""
    if isinstance(value, str):
        return {"pin": value}
    if isinstance(value, dict):
        return value
    raise unexpected(value, f"a pin such as {_EXAMPLE}, or a mapping that holds one")


PinText = Annotated[Pin, PlainValidator(_read_pin), WithJsonSchema({"type": "string", "minLength": 1})]


class _KeySection(Section):
    """A pin by one of three ways: written out, or read from a file."""

    pin: PinText | None = Field(None, description="The pin, in any spelling.", examples=[_EXAMPLE])
    cert_file: CertificatePin | None = Field(
        None, description="Certificate file (PEM or DER); the pin is that of its key. Relative to this file."
    )
    key_file: KeyPin | None = Field(
        None,
        description="File of a public key, certificate, signing request or private key (PEM or DER). Relative to this file.",
    )
    note: str = Field("", description="Your own words; they stand in failure texts.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("pin", "cert_file", "key_file") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(f"found {found}; expected exactly one of pin, cert_file and key_file")
        return self

    @property
    def source(self) -> Pin:
        """The pin as read, whichever way it was given."""
        return next(found for found in (self.pin, self.cert_file, self.key_file) if found is not None)


class ForbiddenSection(_KeySection):
    """A key that denies wherever it appears in the verified chain; a bare text is the pin alone."""

    @field_validator("pin")
    @classmethod
    def _key_at_any_position(cls, pin: Pin | None) -> Pin | None:
        if pin and pin.subject != "spki":
            raise ValueError(f"found the pin of a whole certificate; expected that of a key, such as {_EXAMPLE}")
        if pin and pin.position != "any":
            bare = Pin(pin.subject, pin.algorithm, pin.digest)
            raise ValueError(f"a TLSA record names a position, and a forbidden key has none; write {bare}")
        return pin

    def to_pin(self) -> Pin:
        """Make the pin that the policy compares."""
        return Pin("spki", self.source.algorithm, self.source.digest, note=self.note)


class PinSection(_KeySection):
    """A pin with what is known about it; a bare text is the pin alone."""

    position: Literal["leaf", "ca", "any"] | None = Field(
        None,
        description="Where in the verified chain the pin counts: leaf, ca (everything above the leaf) or any. "
        "Default: any, or what a TLSA record says.",
    )
    not_before: StartOfDay | None = Field(
        None, description="From this day on the pin counts (UTC, start of the day), or from an exact time."
    )
    not_after: EndOfDay | None = Field(
        None, description="Last day on which the pin counts (UTC, end of the day), or an exact time.", examples=["2027-06-30"]
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.not_before and self.not_after and self.not_before > self.not_after:
            raise ValueError("not_before is later than not_after; the pin would never count")
        said = self.source.position
        if self.position and said not in ("any", self.position):
            raise ValueError(f"position is {self.position}, and the TLSA record says {said}; keep one of them")
        return self

    def to_pin(self) -> Pin:
        """Make the pin that the policy compares."""
        read = self.source
        position = self.position or read.position
        return Pin(read.subject, read.algorithm, read.digest, position, self.note, self.not_before, self.not_after)


PinEntry = Annotated[PinSection, BeforeValidator(_as_mapping, json_schema_input_type=str | PinSection)]
ForbiddenEntry = Annotated[ForbiddenSection, BeforeValidator(_as_mapping, json_schema_input_type=str | ForbiddenSection)]


def check_number_of_pins(pins: tuple[PinSection, ...], *, is_single_allowed: bool) -> None:
    """Refuse fewer than two different pins.

    Raises:
        ValueError: What was found and why two are needed.
    """
    distinct = len({pin.source.identity for pin in pins})
    if not pins:
        raise ValueError("found no pins; expected two or more")
    if distinct < _NEEDED and not is_single_allowed:
        found = "one pin" if len(pins) == 1 else f"one pin, {len(pins)} times"
        raise ValueError(f"found {found}; expected two different ones or more: {_WHY_TWO}")


def check_forbidden(pins: tuple[PinSection, ...], forbidden: tuple[ForbiddenSection, ...]) -> None:
    """Refuse a key that is asked for and forbidden at once.

    Raises:
        ValueError: Which key.
    """
    wanted = {pin.source.identity for pin in pins}
    for entry in forbidden:
        if entry.source.identity in wanted:
            raise ValueError(f"{entry.source} is also among the pins; remove it from one of the two lists")


class PinSetSection(Section):
    """Pins that several hosts may share."""

    allow_single_pin: bool = Field(
        default=False, description="Accept a set of one pin. A lost key then means an outage until the file is changed."
    )
    pins: Many[PinEntry] = Field(
        description="Two or more pins; a chain that meets any of them matches.",
        examples=[[_EXAMPLE]],
        json_schema_extra={"minItems": 1},
    )
    forbidden: Many[ForbiddenEntry] = Field(
        (), description="Keys that deny wherever they appear in the verified chain, in report-only too."
    )
    expires: EndOfDay | None = Field(
        None,
        description="Last day on which the set counts as maintained (UTC, end of the day).",
        examples=["2027-01-31"],
    )
    on_expiry: Literal["enforce", "report-only", "disabled"] = Field(
        "enforce",
        description="What a mismatch means afterwards: enforce keeps denying, report-only lets it pass and reports, "
        "disabled lets it pass.",
    )

    @field_validator("pins")
    @classmethod
    def _enough(cls, pins: tuple[PinSection, ...], info: ValidationInfo) -> tuple[PinSection, ...]:
        check_number_of_pins(pins, is_single_allowed=info.data.get("allow_single_pin", True))
        return pins

    @field_validator("forbidden")
    @classmethod
    def _not_wanted(cls, forbidden: tuple[ForbiddenSection, ...], info: ValidationInfo) -> tuple[ForbiddenSection, ...]:
        check_forbidden(info.data.get("pins", ()), forbidden)
        return forbidden

    def to_pin_set(self, name: str) -> PinSet:
        """Make the pin set that the policy compares."""
        return make_pin_set(name, self.pins, self.forbidden, self.expires, self.on_expiry)


def make_pin_set(
    name: str,
    pins: tuple[PinSection, ...],
    forbidden: tuple[ForbiddenSection, ...],
    expires: datetime | None = None,
    on_expiry: Literal["enforce", "report-only", "disabled"] = "enforce",
) -> PinSet:
    """Make the value that the policy compares from what the file says."""
    return PinSet(name, tuple(pin.to_pin() for pin in pins), tuple(pin.to_pin() for pin in forbidden), expires, on_expiry)
