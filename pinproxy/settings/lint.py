"""What a valid configuration allows and its author seldom means: the remarks of `pinproxy check`. Pure: "now" is an argument.

What can never be meant is an error of the load (`checks.py`). A warning is something to act on; a note says what is so.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from pinproxy.pins.pin import Pin
from pinproxy.policy.public_suffix import PublicSuffixes
from pinproxy.settings.document import Place, dotted
from pinproxy.settings.findings import Remark, day, days_left
from pinproxy.settings.lint_hosts import lint_hosts
from pinproxy.settings.model import Settings
from pinproxy.settings.pin_model import PinSection, PinSetSection

PythonVersion = tuple[int, int, int]
SOON = timedelta(days=30)
# By minor version, the first micro version that has the fix.
_CVE_2026_19445 = {(3, 11): 17, (3, 12): 15, (3, 13): 16, (3, 14): 8}


def lint(
    settings: Settings,
    now: datetime,
    soon: timedelta = SOON,
    suffixes: PublicSuffixes = PublicSuffixes(),  # noqa: B008 - frozen
    python: PythonVersion | None = None,
) -> tuple[Remark, ...]:
    """Look for what is allowed and seldom meant.

    Args:
        settings: A configuration that loaded.
        now: The wall clock, UTC.
        soon: How far ahead an expiry is near.
        suffixes: Names below which everybody can have a name.
        python: The Python that runs the proxy; None: not looked at.

    Returns:
        The remarks, in no particular order.
    """
    return (
        *_reach(settings),
        *_python(settings, python),
        *_pin_sets(settings, now, soon),
        *lint_hosts(settings, suffixes),
        *(
            remark
            for index, host in enumerate(settings.hosts)
            if host.pins is not None
            for remark in _pins(("hosts", index, "pins"), host.pins, now, soon)
        ),
    )


def _reach(settings: Settings) -> Iterator[Remark]:
    if not settings.hosts:
        effect = "nothing is pinned" if settings.unlisted == "allow" else "every request is refused"
        yield Remark("warning", ("hosts",), f"no host is listed, so {effect}")
    if settings.unlisted == "allow":
        yield Remark("note", ("unlisted",), "hosts without an entry pass without pins")
    if settings.unsafe_listen:
        yield Remark("note", ("unsafe_listen",), "whoever reaches a `listen` address may send through this proxy")


def _python(settings: Settings, python: PythonVersion | None) -> Iterator[Remark]:
    is_intercepting = any(settings.options_of(host).connect == "intercept" for host in settings.hosts)
    if python is None or not is_intercepting:
        return
    major, minor, micro = python
    fixed_in = _CVE_2026_19445.get((major, minor), 0)
    if micro < fixed_in:
        what = "a client can end a process that changes TLS contexts in a callback. Interception here does not"
        text = (
            f"Python {major}.{minor}.{micro} lacks the fix of CVE-2026-19445 (in {major}.{minor}.{fixed_in}): {what}; update all "
            f"the same, unless your distribution has the fix"
        )
        yield Remark("note", ("hosts",), text)


# --- pins -----------------------------------------------------------------------------------------------------------


def _pin_sets(settings: Settings, now: datetime, soon: timedelta) -> Iterator[Remark]:
    used = {settings.options_of(host).pin_set for host in settings.hosts if host.pins is None}
    for name, section in settings.pin_sets.items():
        place = ("pin_sets", name)
        if name not in used:
            yield Remark("warning", place, "no host uses this pin set; remove it, or name it in the `pin_set` of its hosts")
        yield from _pins((*place, "pins"), section.pins, now, soon)
        yield from _expiry(place, section, now, soon)


def _pins(place: Place, pins: tuple[PinSection, ...], now: datetime, soon: timedelta) -> Iterator[Remark]:
    before: list[Pin] = []
    for index, section in enumerate(pins):
        pin = section.to_pin()
        first = next((number for number, other in enumerate(before) if _is_twice(pin, other)), None)
        if first is not None:
            where = f"{dotted(place)}[{first}]"
            is_equal = before[first].position == pin.position
            which = where if is_equal else f"{where}, and one of them is for every position"
            yield Remark("warning", (*place, index), f"{pin} is already {which}; remove one of them")
        before.append(pin)
        if pin.not_after is not None and pin.not_after < now:
            yield Remark("warning", (*place, index), f"the pin has not counted since {day(pin.not_after)}; remove it")
        elif pin.not_after is not None and pin.not_after - now < soon:
            text = f"the pin counts until {day(pin.not_after)}, {days_left(pin.not_after, now)}; see that its successor is listed"
            yield Remark("warning", (*place, index), text)
    yield from _backup(place, pins, now)


def _is_twice(pin: Pin, other: Pin) -> bool:
    """Tell whether one of two pins adds nothing: `leaf` and `ca` of one key are two things, and `any` is both."""
    return pin.identity == other.identity and (pin.position == other.position or "any" in (pin.position, other.position))


def _backup(place: Place, pins: tuple[PinSection, ...], now: datetime) -> Iterator[Remark]:
    """A set may be made of two pins and still have one left: the others are past their `not_after`."""
    living = {pin.source.identity for pin in pins if pin.not_after is None or pin.not_after >= now}
    if not living:
        yield Remark("warning", place, "every pin is past its not_after: no chain can match; add the pins in use")
    elif len(living) == 1:
        what = "a single pin" if len(pins) == 1 else "only one pin is left"
        text = f"{what}, without a backup: its key lost or renewed is an outage; add the pin of a key that is kept offline"
        yield Remark("warning", place, text)


def _expiry(place: Place, section: PinSetSection, now: datetime, soon: timedelta) -> Iterator[Remark]:
    effect = {
        "enforce": "mismatches are denied all the same",
        "report-only": "mismatches pass and are reported",
        "disabled": "mismatches pass",
    }[section.on_expiry]
    where = (*place, "expires")
    if section.expires is None:
        return
    if section.expires < now:
        yield Remark("warning", where, f"the set expired on {day(section.expires)}: {effect}; review the pins and extend it")
    elif section.expires - now < soon:
        text = f"the set expires on {day(section.expires)}, {days_left(section.expires, now)}; then {effect}"
        yield Remark("warning", where, text)
    elif section.on_expiry != "enforce":
        yield Remark("note", (*place, "on_expiry"), f"after {day(section.expires)} {effect}")
