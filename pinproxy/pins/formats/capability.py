"""What a format can hold, and how a host's pins are cut to fit it, with a note for every cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from pinproxy.pins.formats.values import PinnedHost, Wildcard
from pinproxy.pins.pin import Pin
from pinproxy.pins.pin_set import PinSet


@dataclass(frozen=True, slots=True)
class Capability:
    """What a format can hold.

    Attributes:
        title: Its name, for notes.
        wildcards: Patterns.
        algorithms: Hashes.
        subjects: `spki`, and `cert` where whole certificates can be pinned.
        positions: `any`: a pin counts wherever it appears; `leaf`: at the leaf alone; `named`: the format says which.
        has_ports: Whether a host can have ports of its own.
        has_report_only: Whether a mismatch can be let pass and reported.
        has_expiry: Whether pins can end on a day, after which nothing is compared.
    """

    title: str
    wildcards: frozenset[Wildcard]
    algorithms: frozenset[str] = frozenset({"sha256"})
    subjects: frozenset[str] = frozenset({"spki"})
    positions: Literal["any", "leaf", "named"] = "any"
    has_ports: bool = False
    has_report_only: bool = False
    has_expiry: bool = False


@dataclass(slots=True)
class Fitting:
    """The hosts of one export being cut to fit."""

    capability: Capability
    notes: list[str] = field(default_factory=list)

    def hosts(self, hosts: Iterable[PinnedHost]) -> list[tuple[PinnedHost, PinSet]]:
        """Cut hosts to fit; those that the format cannot hold are left out, with a note."""
        kept: dict[str, tuple[PinnedHost, PinSet]] = {}
        for host in hosts:
            cut = self._host(host)
            key = self._entry(host)
            if cut is not None and key in kept:
                self.note(host, f"left out: {self.capability.title} has one entry for it, that of {kept[key][0].pattern}")
            elif cut is not None:
                kept[key] = (host, cut)
        return list(kept.values())

    def note(self, host: PinnedHost, message: str) -> None:
        """Write down what is lost."""
        self.notes.append(f"{host.pattern}: {message}")

    def _entry(self, host: PinnedHost) -> str:
        """Name the entry of a host: formats without ports have one for all of them, most have one with or without subdomains."""
        if self.capability.has_ports:
            return f"{host.pattern} {host.ports}"
        return host.pattern if "*." in self.capability.wildcards else host.host

    def _host(self, host: PinnedHost) -> PinSet | None:
        can = self.capability
        if host.pin_set is None or host.mode == "disabled":
            self.note(host, "left out: it is not pinned")
            return None
        if host.wildcard not in can.wildcards:
            self.note(host, f"left out: {can.title} has no such pattern")
            return None
        if host.is_report_only and not can.has_report_only:
            self.note(host, f"left out: it is report-only, and {can.title} can only enforce")
            return None
        if host.ports and not can.has_ports:
            self.note(host, f"written for every port, not only {', '.join(map(str, host.ports))}")
        pins = tuple(cut for pin in host.pin_set.pins if (cut := self._pin(host, pin)))
        if not pins:
            self.note(host, f"left out: {can.title} can hold none of its pins")
            return None
        self._set(host, host.pin_set)
        return replace(host.pin_set, pins=tuple(dict.fromkeys(pins)))

    def _pin(self, host: PinnedHost, pin: Pin) -> Pin | None:
        can = self.capability
        if pin.subject not in can.subjects or pin.algorithm not in can.algorithms:
            self.note(host, f"{pin} is left out: {can.title} holds {' and '.join(sorted(can.algorithms))} of public keys alone")
            return None
        if can.positions == "leaf" and pin.position == "ca":
            self.note(host, f"{pin} is left out: {can.title} looks at the leaf alone, and it is the pin of a CA")
            return None
        if can.positions == "any" and pin.position != "any":
            self.note(host, f"{pin} counts anywhere in the chain there, not only as {pin.position}")
        if pin.not_before or pin.not_after:
            self.note(host, f"{pin} counts without end there: {can.title} has no dates for single pins")
        return pin

    def _set(self, host: PinnedHost, pin_set: PinSet) -> None:
        if pin_set.forbidden:
            self.note(host, f"its forbidden keys are not written ({len(pin_set.forbidden)}): {self.capability.title} has none")
        if pin_set.expires and not self.capability.has_expiry:
            self.note(host, f"expires {pin_set.expires.date()} is not written: {self.capability.title} has no such date")
        elif pin_set.expires and pin_set.on_expiry != "disabled":
            said = f"expires {pin_set.expires.date()} is not written: on_expiry is {pin_set.on_expiry}"
            self.note(host, f"{said}, and in {self.capability.title} a date switches the pins off")


def first_day_without(expires: datetime) -> str:
    """Format the day at whose beginning (UTC) the pins end, as Android and TrustKit count: `2027-02-01` for all of January."""
    expires = expires.astimezone(UTC)
    day = expires.date()
    is_midnight = expires == datetime.combine(day, time.min, UTC)
    return str(day if is_midnight or day == date.max else day + timedelta(days=1))


def dated(pin_set: PinSet) -> str | None:
    """Format the day for formats whose date switches the pins off; None: this set must go on."""
    return first_day_without(pin_set.expires) if pin_set.expires and pin_set.on_expiry == "disabled" else None
