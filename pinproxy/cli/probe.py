"""`healthcheck` and `wait`: is the proxy ready? Container runtimes ask every few seconds, so this imports next to nothing."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pinproxy.cli.admin_client import Target, fetch, find_target
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.options import admin_option, config_option

_PAUSE_SECONDS = 0.1

_url_option = click.option(
    "--url", metavar="URL", help="Ask this URL, where readiness is told under another name than the admin server's /readyz."
)


@click.command()
@config_option(required=False)
@admin_option()
@_url_option
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=2.0, show_default=True, metavar="SECONDS")
def healthcheck(config: Path | None, admin: str | None, url: str | None, timeout: float) -> int:
    """Tell whether the proxy is ready.

    Asks the admin server for /readyz and exits with 0 or 1. It says yes while the configuration in force is valid and the
    listeners are bound, and no while draining.
    """
    problem = ask(find_target(config, url, admin), timeout)
    click.echo(problem or "ready", err=bool(problem))
    return ExitCode.FAILURE if problem else ExitCode.OK


@click.command()
@config_option(required=False)
@admin_option()
@_url_option
@click.option("--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="SECONDS")
def wait(config: Path | None, admin: str | None, url: str | None, timeout: float) -> int:
    """Wait until the proxy is ready.

    For a program that must not start before it: `pinproxy wait && exec app`. Exits with 1 if that takes too long.
    """
    target = find_target(config, url, admin)
    deadline = time.monotonic() + timeout
    while problem := ask(target, max(deadline - time.monotonic(), _PAUSE_SECONDS)):
        if time.monotonic() >= deadline:
            click.echo(f"{problem}; gave up after {timeout:g} s", err=True)
            return ExitCode.FAILURE
        time.sleep(_PAUSE_SECONDS)
    return ExitCode.OK


def ask(target: Target, seconds: float) -> str | None:
    """Ask once; one line of the answer is all that counts.

    Returns:
        What is wrong; None: ready.
    """
    try:
        answer = fetch(target, seconds)
    except OSError as error:
        return f"not ready: {target} does not answer ({error})"
    if answer.status == "200":
        return None
    said = " ".join(answer.body.decode("utf-8", "replace").split())[:200]
    return f"not ready: {target} answered {answer.status}{f': {said}' if said else ''}"
