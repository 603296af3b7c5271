"""`status`: what a running proxy has seen, for a terminal; the status page without a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pinproxy.cli.admin_client import find_target
from pinproxy.cli.columns import columns
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.hosts_api import ask_for_hosts
from pinproxy.cli.options import admin_option, config_option
from pinproxy.policy.verdict import printable

_MISMATCHES = ("no_match", "expired", "chain_unavailable")
_COLOURS = {"matched": "green", **dict.fromkeys(_MISMATCHES, "red")}
_HEAD = ("RULE", "MODE", "VERDICT", "AT", "LAST CODE", "ALLOWED", "WOULD DENY", "DENIED", "CERTIFICATE", "PINS UNTIL", "BACKUP")
_REFUSALS_SHOWN = 5
_REFUSAL_HEAD = ("AT", "ID", "AUTHORITY", "CODE", "CLASS", "TIMES")
_REFUSAL_KEYS = ("last_at", "id", "authority", "code", "mismatch_class", "count")


@click.command()
@config_option(required=False)
@admin_option()
@click.option("--json", "is_json", is_flag=True, help="Print what /api/hosts says, for machines.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=5.0, show_default=True, metavar="SECONDS")
def status(config: Path | None, admin: str | None, is_json: bool, timeout: float) -> int:
    """Show what a running proxy has seen of each host.

    Asks its admin server: the last verdict of each rule, how many connections ended how, when certificates and pin sets end,
    whether there is a backup pin, and the refusals of late. Counts are since its start.

    Exits with 1 if it does not answer, and with 3 if the last pin check of a rule found no match, in report-only too.
    """
    found = ask_for_hosts(find_target(config, None, admin), timeout)
    if is_json:
        click.echo(json.dumps(found, indent=2))
    else:
        try:
            click.echo(_described(found))
        except (KeyError, TypeError) as error:
            text = f"the proxy answers as another version does ({found.get('version')}); `--json` prints what it says"
            raise click.ClickException(text) from error
    is_mismatch = any(host.get("last_verdict") in _MISMATCHES for host in found["hosts"])
    return ExitCode.MISMATCH if is_mismatch else ExitCode.OK


def _described(found: dict[str, Any]) -> str:
    configuration, unlisted, refusals = found["configuration"], found["unlisted"], found["refusals"]
    rows = [_row(host) for host in found["hosts"]]
    rows.append(("(unlisted)", _text(unlisted["policy"]), *["-"] * 3, *_counts(unlisted["counts"]), *["-"] * 3))
    parts = [columns(_HEAD, rows)]
    if configuration["is_stale"]:
        stale = click.style("stale", fg="red", bold=True)
        since, loaded = _text(configuration["failed_at"]), _text(configuration["loaded_at"])
        problems = "".join(f"\n  {_text(problem)}" for problem in configuration["problems"])
        parts.append(f"configuration: {stale} since {since}; that of {loaded} is in force{problems}")
    if refusals:
        shown = refusals[:_REFUSALS_SHOWN]
        lines = [tuple(_text(item[key]) for key in _REFUSAL_KEYS) for item in shown]
        head = f"refusals, newest first ({len(shown)} of {len(refusals)}; `pinproxy explain ID` tells the story):"
        parts.append(f"{head}\n{columns(_REFUSAL_HEAD, lines)}")
    return "\n\n".join(parts)


def _row(host: dict[str, Any]) -> tuple[str, ...]:
    verdict, pin_set = _text(host["last_verdict"]), host["pin_set"]
    return (
        _text(host["rule"]),
        _text(host["mode"]),
        click.style(verdict, fg=_COLOURS.get(verdict)),
        _text(host["last_verdict_at"]),
        _text(host["last_code"]),
        *_counts(host["counts"]),
        _text(host["certificate_expires"])[:10],
        _text(pin_set["expires"] if pin_set else None)[:10],
        {True: click.style("none", fg="yellow"), False: "yes"}.get(host["backup_pin_missing"], "-"),
    )


def _counts(counts: dict[str, int]) -> tuple[str, str, str]:
    return _text(counts["allowed"]), _text(counts["would_deny"]), _text(counts["denied"])


def _text(value: object) -> str:
    """Show a value that came over a socket: no sign in it may move the cursor."""
    return "-" if value is None else printable(str(value))
