"""`backup-key`: the key that a pin set falls back on, made before it is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pinproxy.authority import canonical_host
from pinproxy.cli.pin_sources import read_key
from pinproxy.errors import BadRequest


@click.command("backup-key")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("backup"),
    show_default=True,
    metavar="PREFIX",
    help="PREFIX.key and PREFIX.csr are written; an existing directory gets backup.key and backup.csr.",
)
@click.option("--host", metavar="NAME", help="The name that the signing request asks a certificate for.")
def backup_key(out: Path, host: str | None) -> None:
    """Make a backup key, its signing request and its pin, offline.

    An EC P-256 key, readable by its owner alone, and never over a file that is there. Move it to where no server is, and add
    the pin, which goes to stdout, to the pin set.

    \b
      pinproxy backup-key --host api.example.com --out safe/api
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    prefix = out / "backup" if out.is_dir() else out
    key_file, request_file = prefix.with_name(f"{prefix.name}.key"), prefix.with_name(f"{prefix.name}.csr")
    request = _request_for(host)
    for file in (key_file, request_file):
        if os.path.lexists(file):
            raise click.UsageError(f"{file} is there already and is not overwritten; choose another --out")
    key = ec.generate_private_key(ec.SECP256R1())
    _create(
        {
            key_file: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            request_file: request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM),
        }
    )
    # The pin is read back from what was written, so that it is of the key in the safe and of no other.
    (found,) = read_key(key_file, "key")
    click.echo(f"{key_file}: the key, 0600; keep it offline\n{request_file}: its signing request", err=True)
    click.echo(f"- {{pin: {found.pin}, note: offline backup}}")


def _request_for(host: str | None) -> x509.CertificateSigningRequestBuilder:
    builder = x509.CertificateSigningRequestBuilder()
    if host is None:
        return builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "backup key")]))
    try:
        name = canonical_host(host)
    except BadRequest as error:
        raise click.UsageError(f"{error.detail}; expected a host name") from error
    # > RFC 5280 App. A.1: ub-common-name INTEGER ::= 64. The name that counts is the subjectAltName.
    builder = builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])]))
    return builder.add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _create(contents: Mapping[Path, bytes]) -> None:
    """Write files that nobody else can read, and that were not there: O_EXCL follows no link and loses no race. All, or none."""
    created: list[Path] = []
    for file, content in contents.items():
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            created.append(file)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(descriptor)
        except OSError as error:
            for made in created:
                made.unlink()
            raise click.ClickException(f"{file} cannot be written ({error.strerror}); nothing was made") from error
