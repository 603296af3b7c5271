"""`schema`: what editors need to complete and check a configuration."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from pinproxy.settings.schema import schema_text


@click.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write there, not to stdout."
)
def schema(output: Path | None) -> None:
    """Print the JSON schema of the configuration, for editors.

    An editor that finds `# yaml-language-server: $schema=…` in the first line of a file completes its keys and marks what
    is wrong while it is typed.
    """
    if output is None:
        click.echo(schema_text(), nl=False)
        return
    if output.exists() and not output.is_file():
        # What replaces a device takes it away from everybody else.
        raise click.UsageError(f"{output} is no file; without --output, the schema goes to stdout")
    output = output.resolve()  # what a link points to is replaced, not the link
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(schema_text(), "utf-8")
        temporary.replace(output)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise click.FileError(str(output), error.strerror) from error
