"""Where observations are read from, for `learn` and `promote`: the file, or a running proxy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import click

from pinproxy.cli.admin_client import fetch, find_target
from pinproxy.errors import ObservationsSyntaxError
from pinproxy.policy.rule import HostRule
from pinproxy.report.observations_file import MAX_BYTES, read_bounded
from pinproxy.report.observations_json import ObservationsDocument, read_document
from pinproxy.settings.model import Settings
from pinproxy.settings.policy import table_for_reading

_SECONDS = 10.0
_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


class Observed(NamedTuple):
    """What was observed, and where it was read."""

    document: ObservationsDocument
    source: str


def observations_option() -> Callable[[_Decorated], _Decorated]:
    """Add `--observations FILE`."""
    return click.option(
        "--observations",
        "observations_file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Read this file, instead of the one `observations.file` names, or of asking the running proxy.",
    )


def read_observations(file: Path | None, admin: str | None, config: Path | None, settings: Settings | None) -> Observed:
    """Read observations: the file that was named; else the proxy that was; else the configuration's file; else its proxy.

    Args:
        file: `--observations`.
        admin: `--admin`.
        config: `--config`.
        settings: What the configuration says; None: there is none.

    Raises:
        click.ClickException: They cannot be read; says where it was tried.
    """
    if file is not None and admin is not None:
        raise click.UsageError("--observations and --admin each say where to read; expected one of them")
    if file is None and admin is None and settings is not None:
        file = settings.observations.file
    source, data = _file(file) if file is not None else _proxy(config, admin)
    try:
        return Observed(read_document(data), source)
    except ObservationsSyntaxError as error:
        raise click.ClickException(f"{source}: {error}") from error


def rules_of(settings: Settings) -> tuple[HostRule, ...]:
    """Make the rules of a configuration, in its order, for their names and pins."""
    return table_for_reading(settings).rules


def _file(file: Path) -> tuple[str, bytes]:
    try:
        return str(file), read_bounded(file)
    except FileNotFoundError as error:
        text = f"{file} is not there; a proxy writes it within a minute of its first connection. `--admin` asks a running one"
        raise click.ClickException(text) from error
    except (OSError, ObservationsSyntaxError) as error:
        text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise click.ClickException(f"{file} cannot be read: {text}") from error


def _proxy(config: Path | None, admin: str | None) -> tuple[str, bytes]:
    target = find_target(config, None, admin)._replace(path="/api/observations")
    try:
        answer = fetch(target, _SECONDS, MAX_BYTES)
    except OSError as error:
        hint = "is the proxy running? `--observations FILE` reads what it wrote"
        raise click.ClickException(f"{target} does not answer ({error}); {hint}") from error
    if answer.status != "200":
        raise click.ClickException(f"{target} answered {answer.status}; is that the admin server of this version?")
    return str(target), answer.body
