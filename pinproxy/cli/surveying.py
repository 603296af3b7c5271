"""Which hosts of a configuration are asked, and asking them: what `verify` and `check --live` share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from pinproxy.authority import Authority
from pinproxy.cli.options import HTTPS, read_host
from pinproxy.net.dial import Dialler
from pinproxy.net.own_addresses import OwnAddresses
from pinproxy.net.survey import Survey, survey
from pinproxy.net.system_roots import load_system_roots
from pinproxy.net.upstream import UpstreamOpener
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable
from pinproxy.settings.model import Settings
from pinproxy.settings.policy import build_policy_table
from pinproxy.settings.upstream_proxy_model import make_upstream_proxy

_ADDRESSES_AT_ONCE = 16  # as many sockets and handshakes; a hundred hosts are done in seconds all the same


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is asked, and what cannot be.

    Attributes:
        targets: Host and port with their rule, in the order of the configuration or the command line.
        skipped: Rules of wildcards, and rules for the ports that others leave: only the operator knows a name or a port.
    """

    targets: tuple[tuple[Authority, HostRule], ...]
    skipped: tuple[HostRule, ...] = ()


def choose(table: PolicyTable, names: Sequence[str] = ()) -> Chosen:
    """Choose what to ask.

    Args:
        table: The rules.
        names: `HOST` or `HOST:PORT`, names under a wildcard too; empty: every listed host. Without a port, the ports of the
            rules that cover the host, and 443 for a rule for every port.

    Raises:
        click.UsageError: A name that is none, or that no rule lists.
    """
    if names:
        authorities = dict.fromkeys(authority for name in names for authority in _named(table, name))
        found = ((authority, table.lookup(authority)) for authority in authorities)
        return Chosen(tuple((authority, rule) for authority, rule in found if rule is not None))
    targets: dict[Authority, HostRule] = {}
    for rule in table.rules:
        if rule.pattern.kind == "exact":
            for authority in _ports_of(table, rule.pattern.base):
                if table.lookup(authority) is rule:
                    targets[authority] = rule
    asked = set(map(id, targets.values()))
    return Chosen(tuple(targets.items()), tuple(rule for rule in table.rules if id(rule) not in asked))


def why_skipped(rule: HostRule) -> str:
    """Say what it would take to ask."""
    if rule.pattern.kind != "exact":
        return "a wildcard stands for names that only you know: name one"
    return "it is for the ports that other entries leave: name one, as HOST:PORT"


def _named(table: PolicyTable, name: str) -> tuple[Authority, ...]:
    authority = read_host(name)
    has_port = authority == read_host(name, HTTPS + 1)
    if has_port and table.lookup(authority) is None and table.names_host(authority.host):
        raise click.UsageError(f"{authority.host} is listed, and its `ports` leave {authority.port} out")
    found = (authority,) if has_port else _ports_of(table, authority.host)
    if not any(table.lookup(item) for item in found):
        raise click.UsageError(f"no entry of `hosts` lists {authority.host}; `pinproxy pin {authority.host}` shows its pins")
    return tuple(found)


def _ports_of(table: PolicyTable, host: str) -> tuple[Authority, ...]:
    """List where a host is asked: the ports of every rule that covers it, and 443 if one is for every port."""
    ports = dict.fromkeys(port for rule in table.rules_for(host) for port in (sorted(rule.ports) or (HTTPS,)))
    return tuple(Authority(host, port) for port in ports)


def survey_all(settings: Settings, targets: Sequence[tuple[Authority, HostRule]]) -> tuple[Survey, ...]:
    """Ask every target, several at once, with the bounds and the upstream proxy of the settings.

    Returns:
        What was found, in the order of the targets.
    """

    async def ask() -> list[Survey]:
        proxy = make_upstream_proxy(settings.upstream_proxy, settings.upstream_proxy_password_file, settings.no_proxy)
        dialler = Dialler(settings.limits, OwnAddresses(), upstream_proxy=proxy)
        opener = UpstreamOpener(dialler, settings.limits, _now)
        slots = asyncio.Semaphore(_ADDRESSES_AT_ONCE)
        return await asyncio.gather(*(survey(opener, authority, rule, _now, slots) for authority, rule in targets))

    return tuple(asyncio.run(ask()))


def table_of(settings: Settings) -> PolicyTable:
    """Make the rules of the settings, as the proxy does."""
    return build_policy_table(settings, load_system_roots)


def _now() -> datetime:
    return datetime.now(UTC)
