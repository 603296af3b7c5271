"""`learn`: pins from what a proxy has observed, ready to paste."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import click

from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.observed import observations_option, read_observations, rules_of
from pinproxy.cli.options import admin_option, config_option
from pinproxy.pins.formats.values import set_name
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import printable
from pinproxy.report.proposal import Proposal, ProposedPin, propose
from pinproxy.settings.load import load_settings

_BEFORE_USE = (
    "# What was observed is what answered, whoever that was: compare the leaf lines with the server's owner.",
    "# No backup pin is among these, and none can be: a key in a safe is in no chain. `pinproxy backup-key` makes one;",
    "# best, its pin takes the place of the issuer's.",
)


@click.command()
@click.argument("hosts", metavar="[HOST]...", nargs=-1)
@config_option(required=False)
@admin_option()
@observations_option()
@click.option("--json", "is_json", is_flag=True, help="Print everything that stands behind the proposal, for machines.")
def learn(hosts: tuple[str, ...], config: Path | None, admin: str | None, observations_file: Path | None, is_json: bool) -> int:
    """Propose pins from what the proxy has observed.

    Reads the file that `observations.file` names, or asks a running proxy, and prints a pin set for each HOST, or for every
    host seen: its leaf and the CA that issued it, each at its position, with how many connections on how many days stand
    behind it. Keys that were denied, are rare, or have ended are named as comments. Hosts of the configuration that were
    never seen are named too.

    What was observed is what answered, whoever that was: compare with the server's owner before you enforce it.

    Exits with 1 if there is nothing to propose, or a HOST was never seen.
    """
    settings = load_settings(config, os.environ, {}) if config is not None else None
    rules = rules_of(settings) if settings is not None else None
    observed = read_observations(observations_file, admin, config, settings)
    found = propose(observed.document.by_authority(), datetime.now(UTC))
    shown = [proposal for proposal in found if not hosts or _is_any_of(proposal, hosts)]
    expected = hosts or [rule.label for rule in rules or ()]
    unseen = [host for host in expected if not any(_is_any_of(proposal, (host,)) for proposal in found)]
    if is_json:
        click.echo(json.dumps({"source": observed.source, "hosts": list(map(_described, shown)), "never_seen": unseen}, indent=2))
    else:
        began = f"{observed.document.began_at:%Y-%m-%d}"
        lines = (*_yaml(shown, rules), *map(_never_seen, unseen))
        click.echo("\n".join((f"# From {observed.source}, observed since {began}.", *lines)))
    is_short = not any(proposal.proposed for proposal in shown) or (hosts and unseen)
    return ExitCode.FAILURE if is_short else ExitCode.OK


def _is_any_of(proposal: Proposal, names: Sequence[str]) -> bool:
    """Tell whether a host is meant by any of these names: its own, or that of a rule it met."""
    return any(name.lower() == proposal.host or name in proposal.rules for name in names)


def _never_seen(host: str) -> str:
    return f"# never seen: {printable(host)}; no connection to it has ended yet, or none got as far as a valid chain"


def _yaml(proposals: Sequence[Proposal], rules: Sequence[HostRule] | None) -> list[str]:
    if not proposals:
        return ["# Nothing was observed of these hosts."]
    names = _names(proposals)
    lines = [*_BEFORE_USE, "pin_sets:" if any(item.proposed for item in proposals) else "# pin_sets:"]
    for proposal in proposals:
        lines += _pin_set(proposal, names[proposal.host])
    lines.append("# hosts:")
    lines += [f"#   - {_host(item, names[item.host], rules)}" for item in proposals if item.proposed]
    return lines


def _host(proposal: Proposal, name: str, rules: Sequence[HostRule] | None) -> str:
    """Write the entry of a host, as it would load; without a configuration, `rules` is None."""
    entry = f"host: {_text(proposal.host)}, pin_set: {name}"
    own = [rule for rule in rules or () if rule.label in proposal.rules]
    # Where the pins are all that tells the server from an impostor, a configuration with report-only does not load.
    if any(rule.is_pins_only for rule in own):
        return f"{{{entry}, trust: pins-only}}"
    if own and all(rule.mode == "enforce" for rule in own):
        return f"{{{entry}}}   # enforced, and to stay so"
    if rules is None and all(pin.is_root for pin in proposal.proposed):
        return f"{{{entry}}}   # nothing stands above its certificate: keep the `trust` it has"
    return f"{{{entry}, mode: report-only}}"


def _names(proposals: Sequence[Proposal]) -> dict[str, str]:
    """Name the pin set of each host after it, each differently."""
    names: dict[str, str] = {}
    for proposal in proposals:
        name = set_name(proposal.host)
        taken = set(names.values())
        names[proposal.host] = next(
            free for number in count(1) if (free := f"{name}-{number}" if number > 1 else name) not in taken
        )
    return names


def _pin_set(proposal: Proposal, name: str) -> list[str]:
    counts, mark = proposal.counts, "" if proposal.proposed else "# "
    first, last = (f"{at:%Y-%m-%d}" for at in (proposal.first_at, proposal.last_at))
    when = f"on {first}" if first == last else f"from {first} to {last}"
    outcomes = f"{counts.matched:,} matched, {counts.would_deny:,} would be denied, {counts.denied:,} denied"
    lines = [
        f"  {mark}{name}:",
        f"    # {printable(proposal.host)}: {_connections(counts.total)} {when}; {outcomes}, {counts.unpinned:,} unpinned",
    ]
    if len(proposal.proposed) == 1:
        lines.append("    # A set needs two pins: add the one of a backup key.")
    lines.append(f"    {mark}pins:")
    for pin in proposal.pins:
        note = _text(f"{printable(pin.subject, 60)} until {pin.not_after:%Y-%m-%d}")
        lines.append(f"      # {_basis(pin)}")
        lines.append(f"      {'# ' if pin.doubt else ''}- {{pin: {pin.pin}, position: {pin.position}, note: {note}}}")
    return lines


def _basis(pin: ProposedPin) -> str:
    stands = f"{_connections(pin.connections)} on {pin.days} day{'s' * (pin.days != 1)}"
    if pin.doubt is not None:
        return f"{stands}; {pin.doubt}"
    if pin.position == "leaf":
        return f"{stands}; holds while the server keeps its key"
    return f"{stands}; any certificate this {'root' if pin.is_root else 'CA'} issues for the host passes"


def _text(text: str) -> str:
    """Write a text so that YAML takes it for one."""
    return json.dumps(text, ensure_ascii=False)


def _connections(count: int) -> str:
    return f"{count:,} connection{'s' * (count != 1)}"


def _described(proposal: Proposal) -> dict[str, Any]:
    described = asdict(proposal)
    for times in (described, *described["pins"]):
        times.update({key: value.isoformat() for key, value in times.items() if isinstance(value, datetime)})
    return described
