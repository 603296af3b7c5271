"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from pinproxy.authority import Authority, parse_authority
from pinproxy.errors import BadRequest

CONFIG = "PINPROXY_CONFIG"
"""The variable that names the configuration where no `--config` does."""

STDIN = Path("-")
"""What stands for standard input where a file is named."""

HTTPS = 443
"""The port of a host that is named without one."""

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


def config_option(*, required: bool = True) -> Callable[[_Decorated], _Decorated]:
    """Add `--config FILE`; whether the file can be read is told with the other problems of a configuration."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        envvar=CONFIG,
        show_envvar=True,
        required=required,
        metavar="FILE",
        help="The configuration, a YAML file.",
    )


def admin_option() -> Callable[[_Decorated], _Decorated]:
    """Add `--admin ADDRESS`: where a running proxy answers questions."""
    return click.option(
        "--admin",
        metavar="ADDRESS",
        help="The running proxy's admin server, instead of where PINPROXY_ADMIN, --config or the default say it is.",
    )


def read_host(text: str, default_port: int = HTTPS) -> Authority:
    """Read a HOST or HOST:PORT of the command line.

    Raises:
        click.UsageError: It is none; a URL is called so.
    """
    if "/" in text:
        raise click.UsageError(f"found {text!r}, which is a URL or a path; expected HOST or HOST:PORT")
    try:
        return parse_authority(text, default_port)
    except BadRequest as error:
        raise click.UsageError(f"{error.detail}; expected HOST or HOST:PORT") from error
