"""`check`: whether a configuration would start, and what in it is allowed and seldom meant; `--live` asks servers as well."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from pinproxy.cli.check_files import read_public_suffixes, remark_on_files
from pinproxy.cli.check_live import remark_on_surveys
from pinproxy.cli.check_observed import remark_on_observations
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.options import config_option
from pinproxy.cli.surveying import choose, survey_all, table_of
from pinproxy.net.survey import Survey
from pinproxy.settings.document import Document, dotted, read_document
from pinproxy.settings.findings import Remark
from pinproxy.settings.lint import SOON, lint
from pinproxy.settings.load import load_settings
from pinproxy.settings.model import Settings
from pinproxy.settings.policy import table_for_reading

_COLOURS = {"mismatch": "red", "warning": "yellow", "note": "cyan"}


@click.command()
@config_option()
@click.option("--live", is_flag=True, help="Shake hands with every listed host as well, as `verify` does.")
@click.option(
    "--expiring-days",
    type=click.IntRange(min=0),
    default=SOON.days,
    show_default=True,
    metavar="DAYS",
    help="How far ahead an expiry is warned of.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 if there is a warning.")
def check(config: Path, live: bool, expiring_days: int, strict: bool) -> int:
    """Validate a configuration and point out what is seldom meant.

    Problems are all told at once, as file:line:column, and exit with 2. Warnings (a backup pin that is missing, an expiry that
    is near, pins that nobody uses, a wildcard over a public suffix, ports that a weaker entry serves) exit with 0, or with 1
    under --strict. PINPROXY_… variables count as they do for `run`. Nothing is dialled without --live.

    With --live, every listed host is asked as by `verify`: exits with 3 if a server would be denied, else with 1 if one could
    not be asked; and warns of hosts without a backup pin and of certificates that end soon.
    """
    settings = load_settings(config, os.environ, {})
    document = read_document(config)
    now, soon = datetime.now(UTC), timedelta(days=expiring_days)
    remarks = [*lint(settings, now, soon, read_public_suffixes(), sys.version_info[:3]), *remark_on_files(document)]
    surveys: tuple[Survey, ...] = ()
    if live:
        table = table_of(settings)
        chosen = choose(table)
        surveys = survey_all(settings, chosen.targets)
        remarks += remark_on_surveys(surveys, chosen.skipped, settings, table, now, soon)
    else:
        table = table_for_reading(settings)
    remarks += remark_on_observations(settings, table, are_pins_asked=not live)
    remarks = list(dict.fromkeys(remarks))  # an address may fail alike in every way it is asked
    for remark in sorted(remarks, key=lambda remark: document.position(remark.place)):
        click.echo(_line(document, remark), err=True)
    mismatches, warnings = (sum(remark.severity == severity for remark in remarks) for severity in ("mismatch", "warning"))
    counts = [_count(number, noun) for number, noun in ((mismatches, "mismatch"), (warnings, "warning")) if number]
    click.echo(f"{'not ok' if mismatches else 'ok'}: {_contents(settings)}{'; ' if counts else ''}{', '.join(counts)}")
    if mismatches:
        return ExitCode.MISMATCH
    is_complete = all(survey.is_complete for survey in surveys)
    return ExitCode.OK if is_complete and not (strict and warnings) else ExitCode.FAILURE


def _line(document: Document, remark: Remark) -> str:
    line, column = document.position(remark.place)
    severity = click.style(remark.severity, fg=_COLOURS[remark.severity], bold=True)
    return f"{document.file}:{line}:{column}: {severity}: {dotted(remark.place)}: {remark.message}"


def _contents(settings: Settings) -> str:
    sets = [section.pins for section in settings.pin_sets.values()] + [host.pins for host in settings.hosts if host.pins]
    return f"{_count(len(settings.hosts), 'host')}, {_count(sum(map(len, sets)), 'pin')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('ch') else 's'}"
