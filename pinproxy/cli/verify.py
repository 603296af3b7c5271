"""`verify`: what the proxy would say of every server today, asked before anybody's traffic is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from pinproxy.cli.columns import columns
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.options import config_option
from pinproxy.cli.survey_json import WHY_NOT_TRIED, describe_surveys
from pinproxy.cli.surveying import choose, survey_all, table_of, why_skipped
from pinproxy.net.survey import Handshake, Outcome, Survey
from pinproxy.policy.rule import HostRule
from pinproxy.settings.load import load_settings

_COLOURS = {
    Outcome.MISMATCH: "red",
    Outcome.UNREACHABLE: "yellow",
    Outcome.OK: "green",
    Outcome.NOT_OFFERED: "bright_black",
    Outcome.NO_ROUTE: "bright_black",
}
_NO_VERDICT = {Outcome.NOT_OFFERED: "not offered", Outcome.NO_ROUTE: "no route"}
_HEAD = ("HOST", "ADDRESS", "TLS", "KEY", "VERDICT", "MATCHED PIN", "EXPIRES", "BACKUP")


@click.command()
@click.argument("hosts", metavar="[HOST[:PORT]]...", nargs=-1)
@config_option()
@click.option("--json", "is_json", is_flag=True, help="Print JSON, for machines; docs/commands.md has its keys.")
def verify(hosts: tuple[str, ...], config: Path, is_json: bool) -> int:
    """Verify every listed host as the proxy would, at each of its addresses.

    Shakes hands with TLS 1.2, for the RSA and for the ECDSA certificate, and with TLS 1.3, for the one that the server prefers
    (no supported Python can ask for one kind there), and sends nothing. Upstream address, roots, client certificate, upstream
    proxy and limits are those of the configuration. Wildcards need a name: `pinproxy verify name.under.wildcard`.

    Exits with 3 if a pin, chain, name or date is not as it must be, in report-only too; else with 1 if an address could
    not be asked, or nothing was; else with 0. An address that this machine has no route to, as to IPv6, does not count.

    \b
      pinproxy verify -c pinproxy.yaml
      pinproxy verify -c pinproxy.yaml api.example.com:8443 --json
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    settings = load_settings(config, os.environ, {})
    chosen = choose(table_of(settings), hosts)
    surveys = survey_all(settings, chosen.targets)
    code = exit_code_of(surveys)
    if is_json:
        click.echo(json.dumps(describe_surveys(surveys, chosen.skipped, code), indent=2))
    else:
        _show(surveys, chosen.skipped)
    return code


def exit_code_of(surveys: Sequence[Survey]) -> ExitCode:
    """Choose the exit code: the worst that was found; nothing asked is no success."""
    if any(survey.outcome is Outcome.MISMATCH for survey in surveys):
        return ExitCode.MISMATCH
    return ExitCode.OK if surveys and all(survey.is_complete for survey in surveys) else ExitCode.FAILURE


def _show(surveys: Sequence[Survey], skipped: Sequence[HostRule]) -> None:
    if surveys:
        click.echo(columns(_HEAD, [row for survey in surveys for row in _rows(survey)]))
    for text in dict.fromkeys(_texts(surveys)):
        click.echo(f"\n{text}")
    for note in _notes(surveys, skipped):
        click.echo(f"{click.style('note', fg='cyan', bold=True)}: {note}", err=True)


def _notes(surveys: Sequence[Survey], skipped: Sequence[HostRule]) -> Iterator[str]:
    for survey in surveys:
        if survey.backup_pins == ():
            what = "every pin is in the chains it serves; add the pin of a key that is kept offline (`pinproxy backup-key`)"
            yield f"{survey.authority} has no backup pin: {what}"
        if survey.chains and not any(handshake.tls_version == "TLSv1.2" for handshake in survey.handshakes):
            yield f"{survey.authority} may have a second certificate: {WHY_NOT_TRIED}"
    for rule in skipped:
        yield f"{rule.label} was not asked: {why_skipped(rule)}"


def _rows(survey: Survey) -> list[tuple[str, ...]]:
    name = str(survey.authority)
    if not survey.handshakes:
        return [(name, "-", "-", "-", _styled(survey.error.code if survey.error else "-", Outcome.UNREACHABLE), "-", "-", "-")]
    backup = survey.backup_pins
    said = "-" if backup is None else "yes" if backup else click.style("none", fg="yellow")
    return [(name, *_cells(handshake, is_behind_proxy=survey.is_behind_proxy), said) for handshake in survey.handshakes]


def _cells(handshake: Handshake, *, is_behind_proxy: bool) -> tuple[str, ...]:
    chain, judgement, way = handshake.chain, handshake.judgement, handshake.way
    if handshake.outcome in _NO_VERDICT:
        verdict = _NO_VERDICT[handshake.outcome]
    elif judgement is not None:
        verdict = str(judgement.verdict)
    else:
        verdict = handshake.error.code if handshake.error else "-"
    return (
        f"proxy {handshake.address}" if is_behind_proxy else handshake.address,
        handshake.tls_version or (f"TLSv{way.tls}" if way else "-"),
        chain.leaf.key_name if chain else (way.key if way and way.key else "-"),
        _styled(verdict, handshake.outcome),
        str(judgement.matched_pin) if judgement and judgement.matched_pin else "-",
        f"{chain.leaf.not_after:%Y-%m-%d}" if chain else "-",
    )


def _styled(text: str, outcome: Outcome) -> str:
    return click.style(text, fg=_COLOURS[outcome])


def _texts(surveys: Sequence[Survey]) -> list[str]:
    """List what stood in the way."""
    return [
        *(str(survey.error) for survey in surveys if survey.error is not None),
        *(
            handshake.error.detail if handshake.judgement else str(handshake.error)
            for survey in surveys
            for handshake in survey.handshakes
            if handshake.error is not None and handshake.outcome in (Outcome.MISMATCH, Outcome.UNREACHABLE)
        ),
    ]
