"""`promote`: report-only to enforce for one host, if what was observed bears it out.

1. Find the entry; only one that is report-only can be promoted.
2. Weigh the observations (`report.promotion`). Anything against it, and nothing is changed.
3. Change the one word in the text of the file (`settings.edit`).
4. Load the changed text as the proxy would. It must differ in the mode of this entry and in nothing else.
5. Replace the file whole, as it was owned and readable before.
"""

from __future__ import annotations

import difflib
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import click

from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.observed import observations_option, read_observations, rules_of
from pinproxy.cli.options import admin_option, config_option
from pinproxy.errors import PatternSyntaxError, SettingsError
from pinproxy.policy.pattern import parse_pattern
from pinproxy.report.atomic_file import replace_file
from pinproxy.report.promotion import weigh, window
from pinproxy.settings.document import dotted, parse_document
from pinproxy.settings.edit import NotEditable, with_host_mode
from pinproxy.settings.load import load_settings
from pinproxy.settings.model import Settings


@click.command()
@click.argument("host")
@config_option()
@admin_option()
@observations_option()
@click.option(
    "--days", type=click.IntRange(1, 90), default=7, show_default=True, help="How many days must be free of mismatches."
)
@click.option(
    "--min-connections",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many connections must have matched in them; a host that nobody uses proves nothing.",
)
@click.option("--dry-run", is_flag=True, help="Print the change as a diff, and make none.")
def promote(
    host: str,
    config: Path,
    admin: str | None,
    observations_file: Path | None,
    days: int,
    min_connections: int,
    dry_run: bool,
) -> int:
    """Turn a report-only host to enforce, if what was observed bears it out.

    HOST is an entry of `hosts` as it stands there, as `api.example.com` or "*.partner.example"; with its ports, as
    `api.example.com:443`, where several entries are for one name.

    Refuses, with every reason, if a connection of the last days would have been denied, was, or met no pin check, if too few
    matched, if these pins have not been observed for that long, or if the observations were made under other pins. Otherwise
    `mode` is changed in the file and nothing else; a running proxy takes it up by itself.

    Exits with 0 if the host is enforced now (or would be), and with 3 if it was refused.
    """
    # 1.
    settings = load_settings(config, os.environ, {})
    index = _find(settings, host)
    rule = rules_of(settings)[index]
    if rule.mode == "enforce":
        click.echo(f"{rule.label} is enforced already; nothing to do")
        return ExitCode.OK
    if rule.mode == "disabled":
        click.echo(f"refused: {rule.label} is `mode: disabled`, which compares no pins; make it report-only first", err=True)
        return ExitCode.MISMATCH
    # 2.
    observed = read_observations(observations_file, admin, config, settings)
    evidence = weigh(observed.document.hosts, rule, datetime.now(UTC), days, min_connections)
    if evidence.objections:
        lines = "".join(f"\n  - {objection}" for objection in evidence.objections)
        click.echo(f"refused: {rule.label} stays report-only{lines}\n  by {observed.source}", err=True)
        return ExitCode.MISMATCH
    click.echo(
        f"{rule.label}: {evidence.counts.matched:,} connections matched in {window(days)} and none would have been denied; "
        f"these pins are observed since {evidence.since:%Y-%m-%d}",
        err=True,
    )
    # 3. and 4.
    before = _read(config)
    after = _edited(config, before, settings, index)
    if dry_run:
        click.echo(_diff(config, before, after), nl=False)
        return ExitCode.OK
    # 5.
    _replace(config, after)
    click.echo(f"{config}: {dotted(('hosts', index, 'mode'))} is enforce now; a running proxy takes it up by itself")
    return ExitCode.OK


def _find(settings: Settings, name: str) -> int:
    labels = [rule.label for rule in rules_of(settings)]
    if name in labels:
        return labels.index(name)
    try:
        pattern = parse_pattern(name)
    except PatternSyntaxError as error:
        raise click.UsageError(f"{error}; the entries are {', '.join(labels) or 'none'}") from error
    found = [index for index, section in enumerate(settings.hosts) if section.host == pattern]
    if not found:
        raise click.UsageError(f"no entry of `hosts` is {name}; they are {', '.join(labels) or 'none'}")
    if len(found) > 1:
        raise click.UsageError(f"several entries are for {name}; say which: {', '.join(labels[index] for index in found)}")
    return found[0]


def _read(config: Path) -> str:
    try:
        return config.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{config} cannot be read: {error}") from error


def _edited(config: Path, before: str, settings: Settings, index: int) -> str:
    """Change the text, and make sure that the change is what it was meant to be."""
    by_hand = f"set `mode: enforce` by hand at {dotted(('hosts', index))}"
    try:
        after = with_host_mode(before, parse_document(before.encode(), str(config)), index, "enforce")
        changed = load_settings(config, os.environ, {}, content=after.encode())
    except (NotEditable, SettingsError) as error:
        raise click.ClickException(
            f"{config}: the entry is written so that only people can change it ({error}); {by_hand}"
        ) from error
    host = settings.hosts[index]
    wanted = host.model_copy(update={"mode": "enforce"})
    expected = settings.model_copy(update={"hosts": (*settings.hosts[:index], wanted, *settings.hosts[index + 1 :])})
    if changed != expected or rules_of(changed) != rules_of(expected):
        raise click.ClickException(f"{config}: the change would touch more than this entry; {by_hand}")
    return after


def _diff(config: Path, before: str, after: str) -> str:
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(
        line if line.endswith("\n") else f"{line}\n" for line in difflib.unified_diff(old, new, str(config), str(config))
    )


def _replace(config: Path, text: str) -> None:
    try:
        # What a link points to is replaced, not the link.
        file = config.resolve(strict=True)
        status = file.stat()
        owner = None if (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid()) else (status.st_uid, status.st_gid)
        replace_file(file, text.encode("utf-8"), stat.S_IMODE(status.st_mode), owner)
    except OSError as error:
        text = f"{config} cannot be replaced ({error.strerror}); `--dry-run` prints the change, for where the file comes from"
        raise click.ClickException(text) from error
