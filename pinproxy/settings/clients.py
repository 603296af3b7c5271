"""Who may use the proxy, as the configuration writes it. What stands in place of a hash may be a password: it is not repeated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema

from pinproxy.policy.password_hash import PasswordHash, parse_password_hash
from pinproxy.settings.key_files import Roots
from pinproxy.settings.own_certificate import OwnCertificateSection
from pinproxy.settings.section import Section

_NOT_IN_A_NAME = re.compile(r"[:\x00-\x1f\x7f]")


def _read_hash(value: object) -> PasswordHash:
    return parse_password_hash(value if isinstance(value, str) else "")


def _check_name(name: str) -> str:
    # > RFC 7617 §2: a user-id containing a colon character is invalid
    if not name or _NOT_IN_A_NAME.search(name):
        raise ValueError("found a user whose name is empty, or holds a colon or a control character; expected another name")
    return name


HashText = Annotated[
    PasswordHash,
    PlainValidator(_read_hash),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": r"^\$scrypt\$ln="}),
]
UserName = Annotated[str, AfterValidator(_check_name)]


class BasicAuthSection(Section):
    """Users with passwords: Basic (RFC 7617) for HTTP, username and password (RFC 1929) for SOCKS5."""

    users: dict[UserName, HashText] = Field(
        min_length=1, description="Hash of the password of each user, as `pinproxy hash-password` prints it."
    )


class ListenTlsSection(OwnCertificateSection):
    """Our certificate, and whose certificates clients have to show."""

    client_ca_file: Roots | None = Field(
        None,
        description="PEM certificates that clients' certificates must end in; every client then has to show one. null: none "
        "is asked for. Relative to this file.",
    )


class ClientAuthSection(Section):
    """What clients have to show."""

    basic: BasicAuthSection | None = Field(None, description="Users with passwords; null: nobody is asked.")

    @property
    def users(self) -> Mapping[str, PasswordHash]:
        """The hashes by user; empty: nobody is asked."""
        return self.basic.users if self.basic is not None else {}
