"""What is found in a configuration, and where in it: what must be mended, and what is worth knowing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pinproxy.settings.document import Place

Severity = Literal["mismatch", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: nothing starts with it.

    Attributes:
        place: Where among the values.
        message: What was found, what was expected, what to do.
    """

    place: Place
    message: str


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing worth knowing about a configuration.

    Attributes:
        severity: `mismatch`: a server that would be denied; `warning`: something to act on; `note`: something that is so.
        place: Where in the document.
        message: What was found, what follows, what to do.
    """

    severity: Severity
    place: Place
    message: str


def day(instant: datetime) -> str:
    """Format the day of an instant."""
    return f"{instant:%Y-%m-%d}"


def days_left(instant: datetime, now: datetime) -> str:
    """Say how far away an instant is that is still to come."""
    days = (instant - now).days
    return "in less than a day" if days == 0 else f"in {days} day{'s' * (days != 1)}"
