"""Basic credentials of a request (RFC 7617), as a client of the proxy sends them. Their text is in no message."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from pinproxy.http1.head import RequestHead


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """User and password as sent."""

    user: bytes
    password: bytes = field(repr=False)


def proxy_credentials(head: RequestHead) -> BasicCredentials | None:
    """Read the Proxy-Authorization field.

    Returns:
        User and password; None: there is no such field, more than one, another scheme, or one that cannot be read. All of
        these are answered alike, by the challenge.
    """
    values = head.get_all(b"proxy-authorization")
    if len(values) != 1:
        return None
    # > RFC 9110 §11.1: It uses a case-insensitive token to identify the authentication scheme
    scheme, _, token = values[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = base64.b64decode(token.strip(b" "), validate=True)
    except binascii.Error:
        return None
    # > RFC 7617 §2: The first colon in a user-pass string separates user-id and password from one another
    user, colon, password = decoded.partition(b":")
    return BasicCredentials(user, password) if colon else None
