"""What `pinproxy check` remarks on entries of `hosts`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pinproxy.policy.pattern import HostPattern
from pinproxy.policy.public_suffix import PublicSuffixes
from pinproxy.settings.findings import Remark
from pinproxy.settings.model import HostOptions, Settings
from pinproxy.settings.trust_checks import trust_remarks

_STRENGTH = {"disabled": 0, "report-only": 1, "enforce": 2}


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry with its number and its options, defaults merged in."""

    index: int
    pattern: HostPattern
    options: HostOptions

    @property
    def strength(self) -> int:
        return _STRENGTH[self.options.mode]


def lint_hosts(settings: Settings, suffixes: PublicSuffixes) -> Iterator[Remark]:
    """Look at each entry, beside the others.

    Args:
        settings: The configuration.
        suffixes: Names below which everybody can have a name.
    """
    entries = [_Entry(index, host.host, settings.options_of(host)) for index, host in enumerate(settings.hosts)]
    ports: dict[HostPattern, list[tuple[int, ...]]] = {}
    for entry in entries:
        ports.setdefault(entry.pattern, []).append(entry.options.ports)
    wildcards = [entry for entry in entries if entry.pattern.kind != "exact"]
    for entry in entries:
        wider = [other for other in wildcards if _is_wider(other.pattern, entry.pattern)]
        yield from _alone(settings, entry, suffixes)
        yield from _takes_out(entry, wider)
        yield from _other_ports(entry, ports[entry.pattern], wider)


def _alone(settings: Settings, entry: _Entry, suffixes: PublicSuffixes) -> Iterator[Remark]:
    place, pattern = ("hosts", entry.index), entry.pattern
    if entry.options.mode == "report-only":
        yield Remark("note", (*place, "mode"), f"{pattern} is report-only: a pin mismatch passes and is reported")
    elif entry.options.mode == "disabled":
        yield Remark("note", (*place, "mode"), f"{pattern} is not pinned; chain, name and dates are verified")
    yield from trust_remarks(settings, entry.index, settings.hosts[entry.index])
    if pattern.kind != "exact" and suffixes.holds(pattern.base):
        text = f"{pattern.base} is a public suffix: anybody can have a name below it; list the names that you mean"
        yield Remark("warning", (*place, "host"), text)


def _takes_out(entry: _Entry, wider: Sequence[_Entry]) -> Iterator[Remark]:
    """The most specific entry counts, so that one that asks for less takes its hosts out of one that asks for more."""
    own = entry.options
    for other in wider:
        shares_ports = not own.ports or not other.options.ports or set(own.ports) & set(other.options.ports)
        if entry.strength < other.strength and shares_ports:
            shadowed = f"hosts[{other.index}] ({other.pattern}, {other.options.mode})"
            text = f"takes {entry.pattern} ({own.mode}) out of {shadowed}: the most specific entry counts alone"
            yield Remark("note", ("hosts", entry.index, "host"), text)


def _other_ports(entry: _Entry, same: Sequence[tuple[int, ...]], wider: Sequence[_Entry]) -> Iterator[Remark]:
    """An entry for some ports leaves the others to a wider pattern, which may ask for less without anybody having meant it."""
    if not entry.options.ports or () in same:
        return
    listed = {port for ports in same for port in ports}
    for other in wider:
        serves_others = not other.options.ports or set(other.options.ports) - listed
        if serves_others and other.strength < entry.strength:
            text = (
                f"on other ports {entry.pattern} meets hosts[{other.index}] ({other.pattern}, {other.options.mode}), which asks "
                f"for less; leave `ports` out, or list those ports too"
            )
            yield Remark("warning", ("hosts", entry.index, "ports"), text)


def _is_wider(wide: HostPattern, narrow: HostPattern) -> bool:
    """Tell whether a pattern covers hosts of another one and is not that one."""
    if wide == narrow or wide.kind == "exact":
        return False
    # What stands for the star is nobody's name, so that it only ever meets a wildcard.
    example = narrow.base if narrow.kind == "exact" else f"any.{narrow.base}"
    return wide.covers(example) and not (wide.kind == "one_label" and narrow.kind == "any_depth")
