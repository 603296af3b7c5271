"""What a running proxy says of its hosts: `/api/hosts` of the admin server, for `status` and `explain`."""

from __future__ import annotations

import json
from typing import Any

import click

from pinproxy.cli.admin_client import Target, fetch

_MAX_BYTES = 64 * 1024 * 1024  # a thousand hosts of ten pins and a hundred refusals are some 3 MiB


def ask_for_hosts(target: Target, seconds: float) -> dict[str, Any]:
    """Ask a running proxy.

    Raises:
        click.ClickException: Nobody answers, or somebody else does.
    """
    place = target._replace(path="/api/hosts")
    try:
        answer = fetch(place, seconds, _MAX_BYTES)
    except OSError as error:
        hint = "is the proxy running, and is that its `admin` address?"
        raise click.ClickException(f"{place} does not answer ({error}); {hint}") from error
    if answer.status == "200":
        try:
            found = json.loads(answer.body)
        except ValueError:
            found = None
        if isinstance(found, dict) and isinstance(found.get("hosts"), list):
            return found
    raise click.ClickException(f"{place} answered {answer.status}, and not as pinproxy does; is that its `admin` address?")
