"""`check`: whether a configuration would start, and what in it is allowed and seldom meant."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.options import config_option
from pinproxy.settings.document import Document, dotted, read_document
from pinproxy.settings.lint import Remark, lint
from pinproxy.settings.load import load_settings
from pinproxy.settings.model import Settings

_COLOURS = {"warning": "yellow", "note": "cyan"}


@click.command()
@config_option()
@click.option("--strict", is_flag=True, help="Exit with 1 if there is a warning.")
def check(config: Path, strict: bool) -> int:
    """Validate a configuration and point out what is seldom meant.

    Problems are all told at once, as file:line:column, and exit with 2. Warnings (a backup pin that is missing, an expiry that
    is near, pins that nobody uses, ports that a weaker entry serves) exit with 0, or with 1 under --strict. PINPROXY_…
    variables count as they do for `run`. Nothing is dialled.
    """
    settings = load_settings(config, os.environ, {})
    document = read_document(config)
    remarks = sorted(lint(settings, datetime.now(UTC)), key=lambda remark: document.position(remark.place))
    for remark in remarks:
        click.echo(_line(document, remark), err=True)
    warnings = sum(remark.severity == "warning" for remark in remarks)
    click.echo(f"ok: {_contents(settings)}" + (f"; {_count(warnings, 'warning')}" if warnings else ""))
    return ExitCode.FAILURE if strict and warnings else ExitCode.OK


def _line(document: Document, remark: Remark) -> str:
    line, column = document.position(remark.place)
    severity = click.style(remark.severity, fg=_COLOURS[remark.severity], bold=True)
    return f"{document.file}:{line}:{column}: {severity}: {dotted(remark.place)}: {remark.message}"


def _contents(settings: Settings) -> str:
    sets = [section.pins for section in settings.pin_sets.values()] + [host.pins for host in settings.hosts if host.pins]
    return f"{_count(len(settings.hosts), 'host')}, {_count(sum(map(len, sets)), 'pin')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
