"""`pin`: the pins of what is there, ready to paste."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from pinproxy.cli.options import read_host
from pinproxy.cli.pin_formats import FORMATS, WRITERS, Listing, write_listing
from pinproxy.cli.pin_sources import Found, ask_server, read_certificates, read_key, unsafe_ask_server
from pinproxy.errors import CertificateExpired, ChainInvalid, HostnameMismatch
from pinproxy.net.system_roots import load_roots_file, load_system_roots

_FILE = click.Path(path_type=Path, dir_okay=False)
_NO_PINS = "no pins: what is not valid would be denied anyway; --unsafe-unverified prints what was sent, as comments"
_PRIVATE = """
  --ca-file FILE   verifies with the roots of a private CA
  --cert FILE      prints the pin of a certificate that its owner gave you, for `trust: pins-only`"""


@click.command()
@click.argument("host", metavar="[HOST[:PORT]]", required=False)
@click.option("--cert", type=_FILE, metavar="FILE", help="Pins of the certificates in a file, PEM or DER.")
@click.option("--key", type=_FILE, metavar="FILE", help="Pin of a public or private key, PEM or DER.")
@click.option("--csr", type=_FILE, metavar="FILE", help="Pin of the key of a signing request, PEM or DER.")
@click.option("--ca-file", type=_FILE, metavar="FILE", help="With HOST: the roots to verify it with, instead of the system's.")
@click.option(
    "--format", "form", type=click.Choice([*FORMATS, *WRITERS]), default="yaml", show_default=True, help="How to print them."
)
@click.option("--unsafe-unverified", is_flag=True, help="With HOST: if it is not valid, print what it sent, as comments.")
def pin(
    host: str | None,
    cert: Path | None,
    key: Path | None,
    csr: Path | None,
    ca_file: Path | None,
    form: str,
    unsafe_unverified: bool,
) -> None:
    """Print the pins of a server, certificate, key or signing request.

    A HOST is dialled from here, directly, and verified as the proxy does; the pins are those of the verified chain, and of each
    other one that its addresses show, for RSA and for ECDSA. Whoever could deceive these connections would be pinned: compare
    with a second network, or with the server's owner.

    \b
      pinproxy pin api.example.com
      pinproxy pin ledger.internal:8443 --ca-file internal-roots.pem
      pinproxy pin --csr backup.csr
      pinproxy pin api.example.com --format okhttp
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    given = [value for value in (host, cert, key, csr) if value is not None]
    if len(given) != 1:
        raise click.UsageError("expected exactly one of HOST, --cert, --key and --csr")
    if host is None and (ca_file is not None or unsafe_unverified):
        raise click.UsageError("--ca-file and --unsafe-unverified are about a HOST")
    if host is not None:
        listing = _listing_of_server(host, ca_file, unsafe_unverified=unsafe_unverified)
    else:
        listing = Listing(str(given[0]), _read_files(cert, key, csr))
    if form in FORMATS:
        click.echo(FORMATS[form](listing), nl=False)
        return
    try:
        written = write_listing(form, listing)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for note in written.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(written.text, nl=False)


def _read_files(cert: Path | None, key: Path | None, csr: Path | None) -> tuple[Found, ...]:
    if cert is not None:
        return read_certificates(cert)
    if key is not None:
        return read_key(key, "key")
    return read_key(csr, "request") if csr is not None else ()


def _listing_of_server(host: str, ca_file: Path | None, *, unsafe_unverified: bool) -> Listing:
    authority = read_host(host)
    trust = load_roots_file(ca_file) if ca_file is not None else load_system_roots()
    try:
        answer = asyncio.run(ask_server(authority, trust))
    except (ChainInvalid, HostnameMismatch, CertificateExpired) as error:
        if not unsafe_unverified:
            raise click.ClickException(f"{error}\n{_NO_PINS}{_PRIVATE if isinstance(error, ChainInvalid) else ''}") from error
        warning = click.style("WARNING: not verified", fg="red", bold=True)
        click.echo(f"{warning}: {error}", err=True)
        answer = asyncio.run(unsafe_ask_server(authority))
    for problem in answer.problems:
        click.echo(f"{click.style('warning', fg='yellow', bold=True)}: not valid, and not pinned: {problem}", err=True)
    return Listing(str(authority), answer.found, answer, str(ca_file.absolute()) if ca_file is not None else None)
