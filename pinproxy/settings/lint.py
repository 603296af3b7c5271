"""What a valid configuration allows and its author seldom means: the remarks of `pinproxy check`. Pure: "now" is an argument.

What can never be meant is an error of the load (`checks.py`). A warning is something to act on; a note says what is so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pinproxy.policy.pattern import HostPattern
from pinproxy.settings.document import Place, dotted
from pinproxy.settings.model import HostSection, Settings
from pinproxy.settings.pin_model import PinSection, PinSetSection
from pinproxy.settings.trust_checks import trust_remarks

_SOON = timedelta(days=30)
_STRENGTH = {"disabled": 0, "report-only": 1, "enforce": 2}


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing worth knowing about a configuration.

    Attributes:
        severity: `warning`: something to act on; `note`: something that is so.
        place: Where in the document.
        message: What was found, what follows, what to do.
    """

    severity: Literal["warning", "note"]
    place: Place
    message: str


def lint(settings: Settings, now: datetime) -> tuple[Remark, ...]:
    """Look for what is allowed and seldom meant.

    Args:
        settings: A configuration that loaded.
        now: The wall clock, UTC.

    Returns:
        The remarks, in no particular order.
    """
    return (
        *_reach(settings),
        *_pin_sets(settings, now),
        *(remark for index, host in enumerate(settings.hosts) for remark in _host(settings, index, host, now)),
    )


def _reach(settings: Settings) -> Iterator[Remark]:
    if not settings.hosts:
        effect = "nothing is pinned" if settings.unlisted == "allow" else "every request is refused"
        yield Remark("warning", ("hosts",), f"no host is listed, so {effect}")
    if settings.unlisted == "allow":
        yield Remark("note", ("unlisted",), "hosts without an entry pass without pins")
    if settings.unsafe_listen:
        yield Remark("note", ("unsafe_listen",), "whoever reaches a `listen` address may send through this proxy")


# --- pins -----------------------------------------------------------------------------------------------------------


def _pin_sets(settings: Settings, now: datetime) -> Iterator[Remark]:
    used = {settings.options_of(host).pin_set for host in settings.hosts if host.pins is None}
    for name, section in settings.pin_sets.items():
        place = ("pin_sets", name)
        if name not in used:
            yield Remark("warning", place, "no host uses this pin set; remove it, or name it in the `pin_set` of its hosts")
        yield from _pins((*place, "pins"), section.pins, now)
        yield from _expiry(place, section, now)


def _pins(place: Place, pins: tuple[PinSection, ...], now: datetime) -> Iterator[Remark]:
    first_of: dict[tuple[object, ...], int] = {}
    for index, section in enumerate(pins):
        pin = section.to_pin()
        first = first_of.setdefault((pin.identity, pin.position), index)
        if first != index:
            yield Remark("warning", (*place, index), f"{pin} is already {dotted(place)}[{first}]; remove one of them")
        if pin.not_after is not None and pin.not_after < now:
            yield Remark("warning", (*place, index), f"the pin has not counted since {_day(pin.not_after)}; remove it")
        elif pin.not_after is not None and pin.not_after - now < _SOON:
            text = f"the pin counts until {_day(pin.not_after)}, {_left(pin.not_after, now)}; see that its successor is listed"
            yield Remark("warning", (*place, index), text)
    yield from _backup(place, pins, now)


def _backup(place: Place, pins: tuple[PinSection, ...], now: datetime) -> Iterator[Remark]:
    """A set may be made of two pins and still have one left: the others are past their `not_after`."""
    living = {pin.source.identity for pin in pins if pin.not_after is None or pin.not_after >= now}
    if not living:
        yield Remark("warning", place, "every pin is past its not_after: no chain can match; add the pins in use")
    elif len(living) == 1:
        what = "a single pin" if len(pins) == 1 else "only one pin is left"
        text = f"{what}, without a backup: its key lost or renewed is an outage; add the pin of a key that is kept offline"
        yield Remark("warning", place, text)


def _expiry(place: Place, section: PinSetSection, now: datetime) -> Iterator[Remark]:
    effect = {
        "enforce": "mismatches are denied all the same",
        "report-only": "mismatches pass and are reported",
        "disabled": "mismatches pass",
    }[section.on_expiry]
    where = (*place, "expires")
    if section.expires is None:
        return
    if section.expires < now:
        yield Remark("warning", where, f"the set expired on {_day(section.expires)}: {effect}; review the pins and extend it")
    elif section.expires - now < _SOON:
        text = f"the set expires on {_day(section.expires)}, {_left(section.expires, now)}; then {effect}"
        yield Remark("warning", where, text)
    elif section.on_expiry != "enforce":
        yield Remark("note", (*place, "on_expiry"), f"after {_day(section.expires)} {effect}")


# --- hosts ----------------------------------------------------------------------------------------------------------


def _host(settings: Settings, index: int, host: HostSection, now: datetime) -> Iterator[Remark]:
    place = ("hosts", index)
    options = settings.options_of(host)
    if options.mode == "report-only":
        yield Remark("note", (*place, "mode"), f"{host.host} is report-only: a pin mismatch passes and is reported")
    elif options.mode == "disabled":
        yield Remark("note", (*place, "mode"), f"{host.host} is not pinned; chain, name and dates are verified")
    yield from (Remark(*found) for found in trust_remarks(settings, index, host))
    if host.pins is not None:
        yield from _pins((*place, "pins"), host.pins, now)
    if options.ports:
        yield from _other_ports(settings, index, host)


def _other_ports(settings: Settings, index: int, host: HostSection) -> Iterator[Remark]:
    """An entry for some ports leaves the others to a wider pattern, which may ask for less without anybody having meant it."""
    own = settings.options_of(host)
    same = [settings.options_of(other).ports for other in settings.hosts if other.host == host.host]
    if () in same:
        return
    listed = {port for ports in same for port in ports}
    for number, other in enumerate(settings.hosts):
        options = settings.options_of(other)
        serves_others = not options.ports or set(options.ports) - listed
        if serves_others and _is_wider(other.host, host.host) and _STRENGTH[options.mode] < _STRENGTH[own.mode]:
            text = (
                f"on other ports {host.host} meets hosts[{number}] ({other.host}, {options.mode}), which asks for less; "
                f"leave `ports` out, or list those ports too"
            )
            yield Remark("warning", ("hosts", index, "ports"), text)


def _is_wider(wide: HostPattern, narrow: HostPattern) -> bool:
    """Tell whether a pattern covers hosts of another one and is not that one."""
    if wide == narrow or wide.kind == "exact":
        return False
    # What stands for the star is nobody's name, so that it only ever meets a wildcard.
    example = narrow.base if narrow.kind == "exact" else f"any.{narrow.base}"
    return wide.covers(example) and not (wide.kind == "one_label" and narrow.kind == "any_depth")


def _day(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d}"


def _left(instant: datetime, now: datetime) -> str:
    days = (instant - now).days
    return "in less than a day" if days == 0 else f"in {days} day{'s' * (days != 1)}"
