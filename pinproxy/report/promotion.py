"""Whether observations bear out that a report-only host can be enforced. No clock.

Every reason against it is told, not only the first:

1. There are observations under this rule, and they were made under the very pins that would be enforced.
2. They cover the window: these pins have been in force since before it began.
3. Within it no connection would have been denied, none was, and none went unchecked. Days to come, by a clock that was put back
   since, count as well.
4. Within it enough connections matched: a host that nobody uses proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pinproxy.policy.rule import HostRule
from pinproxy.report.observation import Counts, HostObservation, digest_of_pins

# By the field of `Counts`.
_AGAINST = {
    "would_deny": "would have been denied",
    "denied": "met a forbidden pin or none",
    "unpinned": "met no pin check (`mode: disabled`, or an expired set)",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a promotion, and what against it.

    Attributes:
        since: Since when the pins in the configuration are observed, UTC; None: they never were.
        counts: Within the window, over all authorities of the rule.
        objections: What speaks against it, one line each; empty: nothing does.
    """

    since: datetime | None
    counts: Counts
    objections: tuple[str, ...]


def weigh(hosts: Iterable[HostObservation], rule: HostRule, now: datetime, days: int, min_connections: int) -> Evidence:
    """Weigh the observations of a rule.

    Args:
        hosts: All observations there are.
        rule: The rule that would be enforced, with the pins of the configuration.
        now: The wall clock, UTC.
        days: Length of the window; today is its last day.
        min_connections: How many connections and requests must have matched within it.
    """
    # 1.
    observed = [host for host in hosts if host.rule == rule.label]
    if not observed:
        return Evidence(None, Counts(), (f"there are no observations of {rule.label}: no connection to it was seen",))
    under_these = [host for host in observed if host.pins == digest_of_pins(rule.pin_set)]
    if not under_these:
        seen = max(host.last_at for host in observed)
        text = f"no connection was seen under the pins of the configuration; the last one, under others, was on {_day(seen)}"
        return Evidence(None, Counts(), (text,))
    # 2.
    objections = []
    # A new host behind a wildcard is no change of pins; pins that are younger than their host are one.
    changes = [host.pins_since for host in under_these if host.pins_since > host.first_at]
    since = max([min(host.pins_since for host in under_these), *changes])
    if since > now - timedelta(days=days):
        ripe = since + timedelta(days=days)
        over = "a day is" if days == 1 else f"{days} days are"
        objections.append(f"these pins are observed since {_day(since)} only; {over} over on {_day(ripe)}")
    # 3.
    before = now.date() - timedelta(days=days)
    by_day: dict[date, Counts] = {}
    for host in observed:
        for day, counts in host.days.items():
            if day > before:
                by_day[day] = by_day.get(day, Counts()) + counts
    total = sum(by_day.values(), Counts())
    objections += _against(by_day, days)
    # 4.
    if total.matched < min_connections:
        last = max(host.last_at for host in observed)
        objections.append(
            f"{_connections(total.matched)} matched in {window(days)}, expected {min_connections} or more; "
            f"the last one seen was on {_day(last)}"
        )
    return Evidence(since, total, tuple(objections))


def _against(by_day: dict[date, Counts], days: int) -> Iterator[str]:
    for kind, what in _AGAINST.items():
        counts = {day: getattr(counts, kind) for day, counts in by_day.items()}
        if total := sum(counts.values()):
            yield f"{_connections(total)} {what} in {window(days)}: {_per_day(counts)}"


def window(days: int) -> str:
    """Name the days that count."""
    return "the last day" if days == 1 else f"the last {days} days"


def _per_day(counts: dict[date, int]) -> str:
    return ", ".join(f"{count} on {day}" for day, count in sorted(counts.items()) if count)


def _connections(count: int) -> str:
    return f"{count:,} connection{'' if count == 1 else 's'}"


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
