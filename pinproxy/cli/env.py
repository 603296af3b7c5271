"""`env`: the variables that lead an application through the proxy, in the spelling of whoever starts it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from pinproxy.authority import Authority
from pinproxy.cli.client_environment import FORMATS, client_environment, reachable
from pinproxy.cli.options import config_option
from pinproxy.settings.load import load_settings
from pinproxy.settings.model import Settings

_LOOPBACK = ("localhost", "127.0.0.1")
_CLUSTER = ("svc", "cluster.local")


@click.command()
@config_option(required=False)
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="sh", show_default=True, help="Who will read it.")
def env(config: Path | None, form: str) -> None:
    """Print the variables that lead an application through the proxy.

    They name the first port of `listen` and the files that `local_ca.publish` is set to; without a configuration, the
    defaults of both. `java` prints options for its command line, since Java reads no such variables.

    \b
      eval "$(pinproxy env -c pinproxy.yaml)"
      docker run --env-file <(pinproxy env --format docker) …
      java $(pinproxy env --format java) -jar app.jar
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    settings = load_settings(config, os.environ, {})
    # No runtime takes a UNIX socket from these variables.
    ports = [reachable(address) for address in settings.listen if isinstance(address, Authority)]
    if not ports:
        raise click.UsageError("`listen` has UNIX sockets only, which these variables cannot name; add a port, or use `exec`")
    proxy = ports[0]
    if not proxy.port:
        raise click.UsageError(f"`listen` is {proxy}, a port that the system chooses at start; say one, or use `exec`")
    for remark in _what_is_not_said(settings):
        click.echo(f"pinproxy: {remark}", err=True)
    direct = _LOOPBACK + (_CLUSTER if form == "k8s" else ())
    is_tls = settings.listen_tls is not None
    variables = client_environment(proxy, unproxied(settings, direct), settings.local_ca.publish, is_tls=is_tls)
    click.echo(FORMATS[form](variables), nl=False)


def _what_is_not_said(settings: Settings) -> Iterator[str]:
    """Say what clients need besides these variables."""
    if settings.local_ca.publish is None:
        yield "local_ca.publish is null, so no CA file is named; https:// needs one"
    if settings.listen_tls is not None:
        yield (
            "listen_tls: clients must trust its certificate besides, and find the host of these URLs in it; Java speaks no TLS "
            "with a proxy"
        )
    if settings.client_auth.users:
        yield "client_auth: put a user and the password into the URLs, as //user:password@, special characters percent-encoded"


def unproxied(settings: Settings, candidates: tuple[str, ...] = _LOOPBACK) -> tuple[str, ...]:
    """Leave out of the hosts that go direct those that the configuration lists: their pins would never be asked."""
    bases = [host.host.base for host in settings.hosts]
    return tuple(name for name in candidates if not any(base == name or base.endswith(f".{name}") for base in bases))
