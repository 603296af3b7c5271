"""`hash-password`: what the configuration keeps of a password."""

from __future__ import annotations

import os
import sys

import click

from pinproxy.policy.password_hash import hash_password as make_hash

_SALT_BYTES = 16


@click.command("hash-password")
def hash_password() -> None:
    """Print the hash of a password, for `client_auth`.

    Asks for it on a terminal, twice and unseen; otherwise reads it from standard input, up to the end of the line.

    \b
      pinproxy hash-password
      openssl rand -base64 24 | tee password | pinproxy hash-password
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("the password is empty; expected one on the terminal or on standard input")
    click.echo(str(make_hash(password.encode("utf-8"), os.urandom(_SALT_BYTES))))
