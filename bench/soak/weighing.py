"""What counts as growth: the state of the proxy at quiet moments, when no client is there and every grace period is over."""

from __future__ import annotations

from dataclasses import dataclass

TOLERATED = {
    "descriptors": 0,
    "tasks": 0,
    "tls_connections": 2,  # a kept preflight holds its closed one, and there are two pin sets that take turns
    "tls_sessions": 8,  # each host has a few or none at a given moment, as its last connections ended
    "resident_kib": 1024,  # an allocator keeps pages it may use again; a leak on each of thousands of connections is far more
}
"""By how much each may differ without having grown."""

FEWEST_FOR_MEMORY = 8


@dataclass(frozen=True, slots=True)
class Weight:
    """The proxy at one quiet moment.

    Attributes:
        visits: Visits served so far.
        resident_kib: Its resident memory.
        descriptors: Its open descriptors.
        tasks: Its asyncio tasks.
        types: Its objects by type.
    """

    visits: int
    resident_kib: int
    descriptors: int
    tasks: int
    types: dict[str, int]

    @property
    def tls_connections(self) -> int:
        """Established TLS connections, or what is left of them."""
        return sum(number for name, number in self.types.items() if name in ("ssl.SSLSocket", "ssl.SSLObject"))

    @property
    def tls_sessions(self) -> int:
        """TLS sessions kept for resumption."""
        return self.types.get("_ssl.SSLSession", 0)


def growth(weights: list[Weight]) -> list[str]:
    """Say what has grown between the first weight, taken after the warm-up, and the last; nothing, if all is well.

    What may change at random is compared by the least of both halves: what leaks has a rising floor. Memory is judged in long
    soaks alone, and from their second quarter on: an allocator takes thousands of visits to settle.
    """
    found = []
    for name, tolerance in TOLERATED.items():
        if name == "resident_kib" and len(weights) < FEWEST_FOR_MEMORY:
            continue
        counted = weights[len(weights) // 4 :] if name == "resident_kib" else weights
        half = max(1, len(counted) // 2)
        before, after = (min(getattr(weight, name) for weight in part) for part in (counted[:half], counted[half:]))
        if after > before + tolerance:
            found.append(f"{name} grew from {before} to {after} (tolerated: {tolerance})")
    return found


def grown_types(weights: list[Weight], most: int = 8) -> list[str]:
    """Name the types of which there are more at the end than at the beginning, the largest growth first."""
    before, after = weights[0].types, weights[-1].types
    grown = sorted(((after[name] - before.get(name, 0), name) for name in after), reverse=True)
    return [f"{name} +{number}" for number, name in grown[:most] if number > 0]
