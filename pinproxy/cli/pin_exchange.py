"""`import` and `export`: pins from the files of other programs, and back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.options import STDIN, config_option
from pinproxy.cli.pin_formats import WRITERS
from pinproxy.cli.pin_snippet import snippet
from pinproxy.errors import PinFormatError
from pinproxy.pins.formats import android, apple, chromium, curl, okhttp, rfc7469, tlsa, trustkit
from pinproxy.pins.formats.values import ImportedPins, PinnedHost, Wildcard
from pinproxy.policy.pattern import Kind
from pinproxy.settings.load import load_settings
from pinproxy.settings.model import HostSection, Settings

_FILE = click.Path(path_type=Path, dir_okay=False)
_MAX_BYTES = 64 * 1024 * 1024  # Chromium's list has some 10 MiB, everything else some KiB
_PROBLEMS_SHOWN = 50
_WILDCARDS: dict[Kind, Wildcard] = {"exact": "", "one_label": "*.", "any_depth": "**."}

READERS: dict[str, Callable[[bytes, str], ImportedPins]] = {
    "android": android.read,
    "trustkit": trustkit.read,
    "apple": apple.read,
    "okhttp": okhttp.read,
    "tlsa": tlsa.read,
}
HOSTLESS: dict[str, Callable[[bytes, str, str | None], ImportedPins]] = {"curl": curl.read, "rfc7469": rfc7469.read}


@click.command("import")
@click.argument("form", metavar="FORMAT", type=click.Choice([*READERS, *HOSTLESS, "chromium"]))
@click.argument("file", metavar="FILE", type=_FILE)
@click.option("--host", metavar="NAME", help="With curl and rfc7469, which name no host: whom the pins are for.")
@click.option("--pins", type=_FILE, metavar="FILE", help="With chromium: the file of keys that the list names.")
def import_pins(form: str, file: Path, host: str | None, pins: Path | None) -> int:
    """Turn the pin file of another program into a piece of configuration.

    FORMAT is android, trustkit, apple, okhttp, curl, rfc7469, chromium or tlsa; `-` for FILE is standard input. `pin_sets` and
    `hosts` go to stdout; what the file says that they do not, or say in another way, to stderr. A file with a problem gives
    nothing and exits with 2.

    \b
      pinproxy import android res/xml/network_security_config.xml
      pinproxy import rfc7469 response-head.txt --host api.example.com
      pinproxy import chromium transport_security_state_static.json --pins transport_security_state_static.pins
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    if host is not None and form not in HOSTLESS:
        raise click.UsageError(f"--host is for {' and '.join(HOSTLESS)}; {form} names its hosts itself")
    if (pins is not None) != (form == "chromium"):
        raise click.UsageError("--pins goes with chromium, whose list names keys that stand in a second file")
    try:
        imported = _imported(form, file, host, pins)
    except PinFormatError as error:
        shown = error.problems[:_PROBLEMS_SHOWN]
        click.echo("\n".join(map(str, shown)), err=True)
        if further := len(error.problems) - len(shown):
            click.echo(f"… and {further:,} more; is {file} in the format {form}?", err=True)
        return ExitCode.USAGE
    _say(imported.notes)
    click.echo(snippet(imported), nl=False)
    return ExitCode.OK


def _imported(form: str, file: Path, host: str | None, pins: Path | None) -> ImportedPins:
    if pins is not None:
        return chromium.read(_content(file), str(file), _content(pins), str(pins))
    if form in HOSTLESS:
        return HOSTLESS[form](_content(file), str(file), host)
    return READERS[form](_content(file), str(file))


def _content(file: Path) -> bytes:
    try:
        with sys.stdin.buffer if file == STDIN else file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read ({error.strerror})") from error
    if len(content) > _MAX_BYTES:
        raise click.UsageError(f"{file} is larger than {_MAX_BYTES // 1024**2} MiB; expected a file of pins")
    return content


@click.command("export")
@click.argument("form", metavar="FORMAT", type=click.Choice(list(WRITERS)))
@config_option()
def export_pins(form: str, config: Path) -> int:
    """Write the pins of a configuration as another program's pin file.

    FORMAT is android, trustkit, apple, okhttp, curl, rfc7469 or tlsa. What the format cannot hold goes to stderr, line by line.
    """
    settings = load_settings(config, os.environ, {})
    written = WRITERS[form](pinned_hosts(settings))
    _say([*written.notes, *_trusts(settings)])
    click.echo(written.text, nl=False)
    return ExitCode.OK


def _trusts(settings: Settings) -> Iterator[str]:
    """Say which hosts rest on roots of their own, or on none: chains are verified elsewhere, and pin files hold none."""
    for host in settings.hosts:
        options = settings.options_of(host)
        if options.mode != "disabled" and options.trust.is_pins_only:
            yield f"{host.host}: `trust: pins-only` is not written: whoever reads this will ask for a valid chain besides"
        elif options.mode != "disabled" and options.trust.ca_file is not None:
            yield f"{host.host}: its roots are not written: whoever reads this must trust them as well"


def pinned_hosts(settings: Settings) -> tuple[PinnedHost, ...]:
    """List the hosts of a configuration with what is asked of their pins, in its order."""
    return tuple(_pinned_host(settings, host) for host in settings.hosts)


def _pinned_host(settings: Settings, host: HostSection) -> PinnedHost:
    options = settings.options_of(host)
    pin_set = host.own_pin_set()
    if pin_set is None and options.pin_set is not None:
        pin_set = settings.pin_sets[options.pin_set].to_pin_set(options.pin_set)
    return PinnedHost(host.host.base, pin_set, _WILDCARDS[host.host.kind], tuple(options.ports), options.mode)


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"{click.style('note', fg='cyan', bold=True)}: {note}", err=True)
