"""All host rules, and which of them a host meets. Look-up costs one dictionary access for each label of the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pinproxy.authority import Authority, is_ip_address
from pinproxy.policy.pattern import HostPattern, Kind
from pinproxy.policy.rule import HostRule

Unlisted = Literal["deny", "allow"]


@dataclass(frozen=True, slots=True)
class Collision:
    """Two rules that one host and port would meet in the same place of the order."""

    first: HostRule
    second: HostRule


_REMEMBERED_ANSWERS = 4096


class PolicyTable:
    """The rules in force. Immutable: a reload makes a new one and swaps it in whole."""

    def __init__(self, rules: tuple[HostRule, ...], unlisted: Unlisted = "deny") -> None:
        """Index the rules.

        Args:
            rules: In the order of the configuration, without collisions (see `find_collisions`).
            unlisted: What happens to hosts that meet no rule.
        """
        self.rules = rules
        self.unlisted = unlisted
        self._found: dict[Authority, HostRule | None] = {}
        self._by_pattern: dict[tuple[Kind, str], tuple[HostRule, ...]] = {}
        for rule in rules:
            key = (rule.pattern.kind, rule.pattern.base)
            self._by_pattern[key] = (*self._by_pattern.get(key, ()), rule)

    def lookup(self, authority: Authority) -> HostRule | None:
        """Find the rule of an authority: exact beats `*.` beats `**.`, and the longest wins; None: the host is not listed.

        A rule whose `ports` leave the port out is passed over, so a wider pattern may still cover it. Of two rules with the
        same pattern, the one that names the port beats the one for every port.
        """
        # The table never changes, so an answer never does; a request asks several times for one authority.
        try:
            return self._found[authority]
        except KeyError:
            if len(self._found) >= _REMEMBERED_ANSWERS:
                self._found.clear()
            rule = self._found[authority] = self._search(authority)
            return rule

    def _search(self, authority: Authority) -> HostRule | None:
        for pattern in _candidates(authority.host):
            rules = self._by_pattern.get(pattern, ())
            for rule in rules:
                if authority.port in rule.ports:
                    return rule
            for rule in rules:
                if not rule.ports:
                    return rule
        return None

    def rules_for(self, host: str) -> tuple[HostRule, ...]:
        """List every rule that covers a host, for whatever port, in the order in which they are asked."""
        found = (self._by_pattern.get(pattern, ()) for pattern in _candidates(host))
        return tuple(rule for rules in found for rule in sorted(rules, key=lambda rule: not rule.ports))

    def with_rules_of(self, before: PolicyTable) -> PolicyTable:
        """Return this table with the rules that have not changed taken from the table before.

        Rules are compared by value everywhere, so this decides nothing; what follows a reload only sees sooner what is the same.
        """
        known = {rule.label: rule for rule in before.rules}
        kept = ((known.get(rule.label), rule) for rule in self.rules)
        return PolicyTable(tuple(old if old is not None and old == rule else rule for old, rule in kept), self.unlisted)

    def names_host(self, host: str) -> bool:
        """Tell whether any rule covers a host, for whatever port."""
        return any(pattern in self._by_pattern for pattern in _candidates(host))


def _candidates(host: str) -> Iterator[tuple[Kind, str]]:
    """Yield the patterns that cover a host, most specific first."""
    yield ("exact", host)
    if is_ip_address(host):
        return
    parent = host.partition(".")[2]
    if parent:
        yield ("one_label", parent)
    base = host
    while base:
        yield ("any_depth", base)
        base = base.partition(".")[2]


def find_collisions(rules: tuple[HostRule, ...]) -> tuple[Collision, ...]:
    """Find pairs of rules with one pattern that share a port, or that both stand for every port."""
    found = []
    seen: dict[HostPattern, list[HostRule]] = {}
    for rule in rules:
        for other in seen.setdefault(rule.pattern, []):
            if rule.ports & other.ports or (not rule.ports and not other.ports):
                found.append(Collision(other, rule))
                break
        seen[rule.pattern].append(rule)
    return tuple(found)
