"""Pins that observations propose for a host: the leaf and the CA that issued it, of every path that was let pass. No clock.

1. Paths that were denied each time are named and not proposed: whoever they belong to, somebody kept them out.
2. So are paths whose certificate has ended, and rare ones: what makes one connection in a hundred may be somebody else.
3. Of a path, the leaf and the issuing CA are proposed, each at its position, and never the root alone: it would pass every
   certificate of every intermediate below it.
4. No proposal has a backup pin: a key that is in a safe was in no chain that could be observed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pinproxy.authority import Authority
from pinproxy.pins.chain import Position
from pinproxy.policy.known_chain import KnownCertificate
from pinproxy.report.observation import Counts, HostObservation, PathSeen

_RARE = 0.01


@dataclass(slots=True)
class ProposedPin:
    """A key that a host showed.

    Attributes:
        pin: Its SPKI pin.
        position: Where it stood, and where it is to count.
        subject: Of the newest certificate seen with it.
        not_after: End of that certificate, UTC.
        is_root: Whether it is the trust anchor itself.
        connections: Connections and requests that stand behind it.
        days: On how many days, at least.
        doubt: Why it is named and not proposed; None: it is proposed.
    """

    pin: str
    position: Position
    subject: str
    not_after: datetime
    is_root: bool
    connections: int
    days: int
    doubt: str | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """The pins proposed for one host, over all its ports.

    Attributes:
        host: Canonical.
        ports: Those it was observed on.
        rules: Labels of the rules it met.
        first_at: When it was first seen, UTC.
        last_at: When it was last seen, UTC.
        counts: Connections and requests, by what the pins made of them.
        pins: Leaf pins first; those in doubt last.
    """

    host: str
    ports: tuple[int, ...]
    rules: tuple[str, ...]
    first_at: datetime
    last_at: datetime
    counts: Counts
    pins: tuple[ProposedPin, ...]

    @property
    def proposed(self) -> tuple[ProposedPin, ...]:
        """The pins without doubt."""
        return tuple(pin for pin in self.pins if pin.doubt is None)


def propose(observed: Iterable[tuple[Authority, HostObservation]], now: datetime) -> tuple[Proposal, ...]:
    """Propose pins for every host that showed a path.

    Args:
        observed: Observations with their authorities.
        now: The wall clock, UTC.

    Returns:
        One proposal for each host, by name.
    """
    by_host: dict[str, list[tuple[Authority, HostObservation]]] = {}
    for authority, host in observed:
        if host.paths:
            by_host.setdefault(authority.host, []).append((authority, host))
    return tuple(_propose(name, observations, now) for name, observations in sorted(by_host.items()))


def _propose(name: str, observations: list[tuple[Authority, HostObservation]], now: datetime) -> Proposal:
    hosts = [host for _, host in observations]
    paths = [path for host in hosts for path in host.paths]
    total = sum((path.counts for path in paths), Counts())
    return Proposal(
        host=name,
        ports=tuple(sorted({authority.port for authority, _ in observations})),
        rules=tuple(dict.fromkeys(host.rule for host in hosts)),
        first_at=min(host.first_at for host in hosts),
        last_at=max(host.last_at for host in hosts),
        counts=total,
        pins=_pins(paths, total.total, now),
    )


def _pins(paths: list[PathSeen], total: int, now: datetime) -> tuple[ProposedPin, ...]:
    found: dict[tuple[str, Position], ProposedPin] = {}
    for path in paths:
        chain, doubt = path.chain, _doubt(path, total, now)
        positioned: list[tuple[Position, KnownCertificate]] = [("leaf", chain.leaf)]
        if len(chain.certificates) > 1:
            positioned.append(("ca", chain.issuer))
        for position, item in positioned:
            pin = found.get((item.spki, position))
            if pin is None:
                is_root = item is chain.anchor
                pin = ProposedPin(item.spki, position, item.subject, item.not_after, is_root, 0, 0, doubt)
                found[item.spki, position] = pin
            elif doubt is None:
                pin.doubt = None
            if item.not_after >= pin.not_after:
                pin.subject, pin.not_after = item.subject, item.not_after
            pin.connections += path.counts.total
            pin.days = max(pin.days, path.days)
    return tuple(sorted(found.values(), key=lambda pin: (pin.doubt is not None, pin.position != "leaf", -pin.connections)))


def _doubt(path: PathSeen, total: int, now: datetime) -> str | None:
    # 1.
    if path.counts.denied == path.counts.total:
        return "denied each time; pin it only if the server's owner names it"
    # 2.
    if path.chain.leaf.not_after < now:
        return f"its certificate ended on {path.chain.leaf.not_after:%Y-%m-%d}"
    if path.counts.total < _RARE * total:
        return "rare; ask the server's owner before you pin it"
    return None
