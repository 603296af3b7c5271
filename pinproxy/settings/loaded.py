"""Loading again: what has not changed stays the very object it was, so that a reload costs what it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pinproxy.net.collector import collector_at_rest, free_one_by_one
from pinproxy.policy.rule import TrustAnchors
from pinproxy.policy.table import PolicyTable
from pinproxy.settings.checks import startup_warnings
from pinproxy.settings.model import Settings
from pinproxy.settings.policy import build_policy_table


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, with what follows from it.

    Attributes:
        settings: What was written.
        table: The rules.
        warnings: What is allowed and seldom meant, one line each.
    """

    settings: Settings
    table: PolicyTable
    warnings: tuple[str, ...]


def load(source: Callable[[], Settings], system_roots: Callable[[], TrustAnchors], before: Loaded | None = None) -> Loaded:
    """Load a configuration, for the first time or again; in a thread, where there is traffic.

    Args:
        source: Reads it.
        system_roots: Gives the roots of `trust: system`.
        before: What is in force; hosts and rules equal to its own are its own.

    Raises:
        SettingsError: Every problem there is.
    """
    with collector_at_rest():
        settings = source()
        table = build_policy_table(settings, system_roots)
        warnings = startup_warnings(settings)
        if before is None:
            return Loaded(settings, table, warnings)
        replaced = [*settings.hosts, *table.rules]
        kept = Loaded(_with_hosts_of(settings, before.settings), table.with_rules_of(before.table), warnings)
        del settings, table
        free_one_by_one(replaced)
        return kept


def _with_hosts_of(settings: Settings, before: Settings) -> Settings:
    """Take the hosts that are equal from the settings before."""
    known = {(host.host, host.ports): host for host in before.hosts}
    kept = ((known.get((host.host, host.ports)), host) for host in settings.hosts)
    return settings.model_copy(update={"hosts": tuple(old if old is not None and old == host else host for old, host in kept)})
