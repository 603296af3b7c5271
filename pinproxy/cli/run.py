"""`run`: the proxy itself. Every scalar of the configuration is an option here; they are made from the model, none is listed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from pinproxy.app import run_app
from pinproxy.cli.options import config_option
from pinproxy.settings.options import ScalarOption, scalar_options
from pinproxy.settings.source import SettingsSource


class _ScalarParameter(click.Option):
    """A scalar of the configuration. Its text goes to the loader as it is, which says what was expected."""

    def __init__(self, option: ScalarOption) -> None:
        self.section, _, _ = option.path.rpartition(".")
        self.flag = option.flag
        # A boolean may stand alone, and may say `=false` where the file says true.
        alone: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if isinstance(option.default, bool) else {}
        super().__init__([option.flag], help=_help(option), metavar=_metavar(option), **alone)


class _RunCommand(click.Command):
    """A command whose many options are listed by the section of the file they stand in."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                section = getattr(parameter, "section", None)
                title = "Options" if section is None else f"Keys of {section}" if section else "Keys at the top of the file"
                sections.setdefault(title, []).append(record)
        sections["Options"] += sections.pop("help", [])
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _metavar(option: ScalarOption) -> str:
    if option.choices:
        return f"[{'|'.join(option.choices)}]"
    if isinstance(option.default, bool):
        return "[=true|false]"
    return "A,B,…" if option.is_list else "VALUE"


def _help(option: ScalarOption) -> str:
    if option.default is None or option.default in ([], ()):
        return option.help
    return f"{option.help} Default: {_default(option)}."


def _default(option: ScalarOption) -> str:
    """Write a default as it would stand in the file, with its unit."""
    match option.default:
        case list() | tuple() as values:
            return ",".join(map(str, values))
        case bool() as is_on:
            return str(is_on).lower()
        case float() as seconds:
            return f"{seconds:g}s"
        case int() as size if option.path.endswith("_bytes"):
            return f"{size >> 10}KiB"
        case value:
            return str(value)


@config_option()
@click.pass_context
def _run(ctx: click.Context, /, config: Path, **texts: str | None) -> None:
    """Start the proxy.

    Runs until SIGTERM or SIGINT, then drains; a second one ends it at once. SIGHUP, or a change of the file, reloads it.
    Nothing starts with a problem in the configuration: all of them are told, as file:line:column, and the exit code is 2.

    The options below stand for keys of the file: flag > environment > file > default. The variable of `--limits-head-bytes`
    is PINPROXY_LIMITS_HEAD_BYTES, and so on.
    """
    flag_of = {parameter.name: parameter.flag for parameter in ctx.command.params if isinstance(parameter, _ScalarParameter)}
    flags = {flag_of[name]: text for name, text in texts.items() if text is not None}
    run_app(SettingsSource(config, os.environ, flags))


run = click.command("run", cls=_RunCommand)(_run)
run.params += [_ScalarParameter(option) for option in scalar_options()]
