"""What is known of one host beyond one connection: its last good chain, the paths it showed, and each day's counts. No clock.

Rules of this file:
- Bounded whatever peers do: so many paths, so many days; the oldest go first.
- Counts are of connections and requests as they end, on the UTC day they end on, under whatever pins were in force.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date, datetime

from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.known_chain import KnownChain
from pinproxy.policy.rule import HostRule, Mode
from pinproxy.policy.verdict import ALLOW_AND_REPORT, DENY, MATCHED, Judgement

PATHS_KEPT = 8  # an RSA and an ECDSA chain, before and after two renewals
DAYS_KEPT = 90  # the longest certificates of today live 398 days, most renew within these


@dataclass(slots=True)
class Counts:
    """Connections and requests by what the pins made of them.

    Attributes:
        matched: A pin was met.
        would_deny: None was, and report-only let it pass.
        denied: None was, or a forbidden one, and it was denied.
        unpinned: No pin was asked for: `mode: disabled`, or a set that expired into `on_expiry: disabled`.
    """

    matched: int = 0
    would_deny: int = 0
    denied: int = 0
    unpinned: int = 0

    def add(self, judgement: Judgement) -> None:
        """Count one."""
        if judgement.verdict is MATCHED:
            self.matched += 1
        elif judgement.decision is DENY:
            self.denied += 1
        elif judgement.decision is ALLOW_AND_REPORT:
            self.would_deny += 1
        else:
            self.unpinned += 1

    def __add__(self, other: Counts) -> Counts:
        """Sum up."""
        return Counts(
            self.matched + other.matched,
            self.would_deny + other.would_deny,
            self.denied + other.denied,
            self.unpinned + other.unpinned,
        )

    @property
    def total(self) -> int:
        """All of them."""
        return self.matched + self.would_deny + self.denied + self.unpinned


@dataclass(slots=True)
class PathSeen:
    """A path of keys that a host showed; a renewal that keeps all its keys is the same path.

    Attributes:
        chain: Its verified chain, of the newest certificates.
        first_at: When it was first seen, UTC.
        last_at: When a connection or request over it last ended, UTC.
        days: On how many days that happened.
        counts: How often, by what the pins made of it.
    """

    chain: KnownChain
    first_at: datetime
    last_at: datetime
    days: int = 1
    counts: Counts = field(default_factory=Counts)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys as pins, leaf first."""
        return tuple(item.spki for item in self.chain.certificates)

    def add(self, judgement: Judgement, at: datetime) -> None:
        """Count one connection or request over this path."""
        self.counts.add(judgement)
        if at > self.last_at:
            self.days += at.date() != self.last_at.date()
            self.last_at = at


@dataclass(slots=True)
class HostObservation:
    """What is known of one authority.

    Attributes:
        authority: `host:port`, canonical.
        rule: Label of the host rule it met last.
        mode: The mode of that rule.
        pins: Digest of that rule's pins (`digest_of_pins`); empty: it has none.
        pins_since: Since when these very pins were met, UTC: what was counted before was counted under others.
        first_at: When it was first seen, UTC.
        last_at: When it was last seen, UTC.
        good: The last good chain (`policy.mismatch`); None: none yet.
        is_good_pinned: Whether a pin was met by it; else it validated under a rule that compared none.
        paths: The paths it showed, in the order of their first coming.
        days: Counts by UTC day, oldest first.
    """

    authority: str
    rule: str
    mode: Mode
    pins: str
    pins_since: datetime
    first_at: datetime
    last_at: datetime
    good: KnownChain | None = None
    is_good_pinned: bool = False
    paths: list[PathSeen] = field(default_factory=list)
    days: dict[date, Counts] = field(default_factory=dict)

    def follow(self, rule: HostRule, at: datetime) -> None:
        """Note the rule that is in force for this authority now."""
        self.rule, self.mode = rule.label, rule.mode
        pins = digest_of_pins(rule.pin_set)
        if pins != self.pins:
            self.pins, self.pins_since = pins, at

    def meet(self, chain: KnownChain, at: datetime) -> PathSeen:
        """Find the path of a chain, or begin it."""
        keys = tuple(item.spki for item in chain.certificates)
        for path in self.paths:
            if path.keys == keys:
                path.chain = chain
                return path
        if len(self.paths) >= PATHS_KEPT:
            # What was never let pass goes first: somebody who is denied must not push out what is known of the host.
            self.paths.remove(min(self.paths, key=lambda path: (path.counts.total > path.counts.denied, path.last_at)))
        self.paths.append(PathSeen(chain, at, at))
        return self.paths[-1]

    def add(self, judgement: Judgement, at: datetime) -> None:
        """Count one connection or request on its day."""
        day = at.date()
        counts = self.days.get(day)
        if counts is None:
            counts = self.days[day] = Counts()
            for old in sorted(self.days)[:-DAYS_KEPT]:
                del self.days[old]
        counts.add(judgement)
        self.last_at = max(self.last_at, at)


def digest_of_pins(pin_set: PinSet | None) -> str:
    """Name what a pin set asks for: equal for equal pins at equal positions and dates, whatever their order and notes."""
    if pin_set is None:
        return ""
    asked = [f"{pin} {pin.position} {pin.not_before} {pin.not_after}" for pin in pin_set.pins]
    forbidden = [f"forbidden {pin}" for pin in pin_set.forbidden]
    return hashlib.sha256("\n".join(sorted({*asked, *forbidden})).encode()).hexdigest()[:32]
