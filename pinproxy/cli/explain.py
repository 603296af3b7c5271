"""`explain`: why, in words: of a host beforehand, of a connection afterwards."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from pinproxy.authority import Authority, parse_authority
from pinproxy.cli.admin_client import find_target
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.foresight import Asked, Section, foresee
from pinproxy.cli.hindsight import find_line, of_refusal, retell
from pinproxy.cli.hosts_api import ask_for_hosts
from pinproxy.cli.options import STDIN, admin_option, config_option
from pinproxy.errors import BadRequest
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import printable
from pinproxy.settings.document import read_document
from pinproxy.settings.load import load_settings
from pinproxy.settings.policy import table_for_reading
from pinproxy.settings.upstream_proxy_model import make_upstream_proxy

_ID = re.compile(r"[0-9a-f]{10}-[0-9a-f]+")
_URL = re.compile(r"(https?)://([^/?#@]*)(?:[/?#].*)?", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}
_SECONDS = 5.0


@click.command()
@click.argument("what", metavar="URL|HOST[:PORT]|ID")
@config_option(required=False)
@click.option("--at", metavar="DATE", help="With a host: as of this day (its first second, UTC) or time, such as 2027-02-01.")
@click.option(
    "--log",
    "logs",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="With an ID: look in this log, JSON lines; - is standard input. May be given several times.",
)
@admin_option()
def explain(what: str, config: Path | None, at: str | None, logs: tuple[Path, ...], admin: str | None) -> int:
    """Explain what would happen to a host, or what happened to a connection.

    For a URL or host, offline: which rule counts and why no other, which pins and until when, and what each way of asking would
    meet. The server is not asked; `pinproxy verify` does that.

    For an ID, as in X-Pinproxy-Id and the log: what was asked, what was decided and why, and what to do. It is looked for in
    the logs given, else among the refusals that the running proxy remembers. Exits with 1 if it is nowhere.

    \b
      pinproxy explain https://api.example.com -c pinproxy.yaml --at 2027-02-01
      pinproxy explain 41ca647ceb-1 --log pinproxy.log
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    if _ID.fullmatch(what):
        if at is not None:
            raise click.UsageError("--at is about a host; what happened to a connection has happened")
        return _explain_connection(what, logs, config, admin)
    if logs or admin is not None:
        raise click.UsageError(f"--log and --admin are about an ID; {what!r} is none")
    if config is None:
        raise click.UsageError("a host is explained by a configuration: name it with --config, or in PINPROXY_CONFIG")
    _explain_host(what, config, _read_time(at))
    return ExitCode.OK


def _explain_host(what: str, config: Path, at: datetime) -> None:
    asked = _read_asked(what)
    settings = load_settings(config, os.environ, {})
    proxy = make_upstream_proxy(settings.upstream_proxy, settings.upstream_proxy_password_file, settings.no_proxy)
    table, document = table_for_reading(settings), read_document(config)
    places = {id(rule): document.position(("hosts", index)) for index, rule in enumerate(table.rules)}

    def entry_of(rule: HostRule) -> str:
        line, _ = places[id(rule)]
        return f"{rule.label} in line {line}"

    click.secho(f"{asked.secured} on {at:%Y-%m-%d %H:%M} UTC, by {config}", bold=True)
    _print(foresee(asked, table, at, settings.limits, proxy, entry_of))


def _read_asked(what: str) -> Asked:
    match = _URL.fullmatch(what)
    scheme, host = (match[1].lower(), match[2]) if match else ("", what)
    try:
        secured = parse_authority(host, default_port=443)
        plain = parse_authority(host, default_port=80)
    except BadRequest as error:
        raise click.UsageError(f"{error.detail}; expected a URL, HOST, HOST:PORT or the id of a connection") from error
    if scheme == "http" and plain.port == _PORTS["http"]:
        # As origination does: http:// without a port, or with 80, means https:// on 443.
        secured = Authority(secured.host, _PORTS["https"])
    return Asked(plain, secured)


def _read_time(at: str | None) -> datetime:
    if at is None:
        return datetime.now(UTC)
    try:
        read = datetime.fromisoformat(at)
    except ValueError as error:
        raise click.UsageError(
            f"--at is {at!r}; expected a day such as 2027-02-01, or a time such as 2027-02-01T12:00Z"
        ) from error
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def _explain_connection(connection_id: str, logs: tuple[Path, ...], config: Path | None, admin: str | None) -> int:
    if logs:
        found = find_line(connection_id, logs)
        if found is None:
            looked = ", ".join("standard input" if file == STDIN else str(file) for file in logs)
            click.echo(f"no connection {connection_id} in {looked}; expected JSON lines, as pinproxy logs them", err=True)
            return ExitCode.FAILURE
        where, line = found
    else:
        target = find_target(config, None, admin)
        refusals = ask_for_hosts(target, _SECONDS).get("refusals", [])
        refusal = next((item for item in refusals if item.get("id") == connection_id), None)
        if refusal is None:
            click.echo(
                f"no connection {connection_id} among the refusals that {target.host}:{target.port} remembers ({len(refusals)}). "
                "It remembers no allowed ones, and of equal refusals the last: name the log with --log FILE",
                err=True,
            )
            return ExitCode.FAILURE
        where, line = f"{target.host}:{target.port}", of_refusal(refusal)
    click.secho(f"{connection_id} at {printable(str(line.get('timestamp')))}, told by {where}", bold=True)
    _print(retell(line))
    return ExitCode.OK


def _print(sections: Sequence[Section]) -> None:
    width = max(len(section.label) for section in sections)
    for section in sections:
        for number, line in enumerate(section.lines):
            label = "" if number else section.label
            click.echo(f"  {click.style(label, dim=True)}{' ' * (width - len(label))}  {line}")
