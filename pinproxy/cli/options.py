"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

CONFIG = "PINPROXY_CONFIG"
"""The variable that names the configuration where no `--config` does."""

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
