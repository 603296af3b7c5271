"""`demo`: tells the story. Real commands, real output, nothing made up; a promise that is not kept makes the exit code 1."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from pinproxy.cli.demo.clients import Answer
from pinproxy.cli.demo.stage import CA_VARIABLES, Stage, set_stage
from pinproxy.cli.demo.story import SCENES, WAYS, Outcome, Scene, Server, is_all_kept, is_kept
from pinproxy.cli.exit_code import ExitCode

_COLOURS = {"allow": "green", "deny": "red", "allow_and_report": "yellow"}
_KEPT = {True: "green", False: "red"}
_MARKS = {True: "✓", False: "✗"}
_LABELS: dict[Server, str] = {"real": "the real server", "impostor": "the impostor"}
_SHOWN_FIELDS = ("http/", "x-pinproxy-", "proxy-status:")
_LOGGED = ("id", "mode", "verdict", "assurance", "decision", "would_deny", "code")


@click.command()
def demo() -> int:
    """Show a pin held, broken and reported; needs no network.

    Starts two HTTPS servers on loopback with certificates of one CA, pins the key of the first, and lets curl (or Python) ask for
    both through a real proxy. Everything lives in a temporary directory. Exits with 1 if anything is not as promised.
    """
    return asyncio.run(_perform())


async def _perform() -> int:
    outcomes: dict[tuple[str, str], Outcome] = {}
    async with set_stage() as stage:
        _introduce(stage)
        for number, scene in enumerate(SCENES, start=1):
            click.secho(f"\n{number}. {scene.title}", bold=True)
            for way in WAYS:
                answer, line, outcome = await stage.play(scene, way)
                outcomes[scene.name, way.name] = outcome
                click.secho(f"\n   {way.name}{f': {way.says}' if scene is SCENES[0] else ''}", dim=True)
                # The text of a refusal is the same whichever way: once is enough.
                _tell(scene, answer, line, outcome, is_detail_shown=way is WAYS[0])
    _conclude(outcomes)
    return ExitCode.OK if is_all_kept(outcomes) else ExitCode.FAILURE


def _introduce(stage: Stage) -> None:
    click.secho("pinproxy demo: real connections on this machine; nothing leaves it", bold=True)
    click.echo("\nOne CA, trusted by everybody here, has issued certificates to two servers:")
    for server, label in _LABELS.items():
        click.echo(f"   {label:<15}  127.0.0.1:{stage.origins[server].port:<5}  {stage.pins[server]}")
    click.echo("\nThe configuration pins the key of the first:")
    click.secho(_indented(stage.configuration), fg="cyan")
    _command(f"pinproxy run --config {stage.config_file}")
    click.echo("\nAn application is given these variables (`pinproxy env` prints them), and is not changed otherwise:")
    environment = stage.environment(WAYS[0])
    for name in ("http_proxy", "https_proxy", *CA_VARIABLES):
        click.secho(_indented(f"{name}={environment[name]}"), fg="cyan")


def _tell(scene: Scene, answer: Answer, line: dict[str, Any], outcome: Outcome, *, is_detail_shown: bool) -> None:
    _command(answer.command)
    fields, body = answer.heads_and_body
    for field in fields:
        if field.lower().startswith(_SHOWN_FIELDS):
            is_status = field.startswith("HTTP/")
            click.secho(_indented(field), fg=_COLOURS.get(outcome.decision or "") if is_status else None, bold=is_status)
    # A refusal's body is a problem document (RFC 9457); its `detail` stands in the log too, and is shown from there.
    is_problem = body.startswith("{")
    detail = line.get("detail", "") if is_detail_shown else ""
    for text in (detail if is_problem else body, answer.complaint):
        if text:
            click.echo(_indented(text))
    click.secho(_indented(f"log: {_logged(line)}"), dim=True)
    if detail and not is_problem:
        click.secho(_indented(_indented(detail)), dim=True)
    kept = is_kept(scene, outcome)
    click.secho(
        _indented(f"{_MARKS[kept]} {_LABELS[scene.server]} received {outcome.bytes_reached} bytes of the request"), fg=_KEPT[kept]
    )


def _logged(line: dict[str, Any]) -> str:
    shown = {name: line[name] for name in _LOGGED if line.get(name)}
    return " ".join(f"{name}={str(value).lower() if value is True else value}" for name, value in shown.items())


def _conclude(outcomes: dict[tuple[str, str], Outcome]) -> None:
    is_good = is_all_kept(outcomes)
    click.secho("\nPromised, and kept" if is_good else "\nPROMISED, AND NOT KEPT", bold=True, fg=_KEPT[is_good])
    table = [["", *(way.name for way in WAYS)]]
    for scene in SCENES:
        shown = [outcomes[scene.name, way.name] for way in WAYS]
        table.append([scene.promise, *(f"{_MARKS[is_kept(scene, outcome)]} {outcome}" for outcome in shown)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("   " + "   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo("\nNext: `pinproxy pin YOUR.HOST` prints its pins, config/minimal.yaml is ten lines to put them in.")


def _command(text: str) -> None:
    click.echo(f"   {click.style('$', dim=True)} {click.style(text, bold=True)}")


def _indented(text: str) -> str:
    return "\n".join(f"     {line}" for line in text.rstrip().splitlines())
