"""What the Connection field of a head says: whether the connection lives on, and which fields end here."""

from __future__ import annotations

import re
from typing import Final

from pinproxy.errors import BadRequest, Refused, UpstreamClosed
from pinproxy.http1.grammar import TOKEN
from pinproxy.http1.head import Head, RequestHead, ResponseHead

_TOKEN: Final = re.compile(TOKEN)
_NONE: Final[frozenset[bytes]] = frozenset()
_COMMON: Final = {
    b"keep-alive": frozenset({b"keep-alive"}),
    b"Keep-Alive": frozenset({b"keep-alive"}),
    b"close": frozenset({b"close"}),
}
_ESSENTIAL: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})


def connection_options(head: Head) -> frozenset[bytes]:
    """Return the options of the Connection field in lower case (RFC 9110 §7.6.1).

    Args:
        head: Either kind of head.

    Raises:
        BadRequest: In a request, an option is no token, or names a field that framing or routing rests on: to drop that
            field would change the message, to keep it would ignore the client.
        UpstreamClosed: The same in a response.
    """
    return head.once(_read_options)


def _read_options(head: Head) -> frozenset[bytes]:
    values = head.get_all(b"connection")
    if not values:
        return _NONE
    if len(values) == 1 and values[0] in _COMMON:
        return _COMMON[values[0]]
    # > Connection = #connection-option
    # > connection-option = token
    options = frozenset(option.strip(b" \t") for value in values for option in value.lower().split(b",")) - {b""}
    if not all(map(_TOKEN.fullmatch, options)):
        raise _malformed(head)("the Connection field is not a list of tokens")
    # > A sender MUST NOT send a connection option corresponding to a field that is intended for all recipients of the
    # > content.
    if not options.isdisjoint(_ESSENTIAL):
        raise _malformed(head)("the Connection field names Host, Content-Length or Transfer-Encoding")
    return options


def keeps_alive(head: Head) -> bool:
    """Say whether the sender of a head wants the connection to live on (RFC 9112 §9.3).

    A response whose body ends with the connection does not leave one to keep, whatever this says.
    """
    # > If the "close" connection option is present, the connection will not persist after the current response; else,
    # > If the received protocol is HTTP/1.1 (or later), the connection will persist after the current response; else,
    # > If the received protocol is HTTP/1.0, the "keep-alive" connection option is present, […] the connection will
    # > persist after the current response
    options = connection_options(head)
    if b"close" in options:
        return False
    return head.minor == 1 or b"keep-alive" in options


def asks_upgrade(head: Head) -> bool:
    """Say whether a head asks for, or in a 101 announces, another protocol (RFC 9110 §7.8)."""
    # > A sender of Upgrade MUST also send an "Upgrade" connection option
    # > A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request
    return head.minor == 1 and head.get(b"upgrade") is not None and b"upgrade" in connection_options(head)


# Negotiate (RFC 4559) and NTLM authenticate a connection and not, as RFC 9110 §11.1 has it, each request.
_CONNECTION_BOUND: Final = re.compile(rb"\s*(?:ntlm|negotiate)\b", re.IGNORECASE)


def logs_in_connection(request: RequestHead, response: ResponseHead) -> bool:
    """Say whether an exchange may have tied somebody's identity to its connection: another client must never get that one."""
    values = (*request.get_all(b"authorization"), *response.get_all(b"www-authenticate"))
    return bool(values) and any(map(_CONNECTION_BOUND.match, values))


def _malformed(head: Head) -> type[Refused]:
    return BadRequest if isinstance(head, RequestHead) else UpstreamClosed
