"""Write the heads that go on to the other side: hop-by-hop fields out, framing and `Via` in, everything else untouched.

Rules of this file:
- What comes from a parsed head is valid already. What our own code adds is checked, and a fault there is ours
  (`InternalError`), so that no path from a configuration or a target to the wire can split a message.
- Framing fields are written from the `Framing` that was decided, never copied.
- The request and response lines always say HTTP/1.1: the version is ours, not the sender's (RFC 9110 §2.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from pinproxy.errors import BadRequest, InternalError
from pinproxy.http1.connection import connection_options
from pinproxy.http1.framing import CHUNKED, UNTIL_CLOSE, BodyKind, Framing
from pinproxy.http1.grammar import DIGITS, HOST, REQUEST_TARGET, TOKEN
from pinproxy.http1.head import Fields, Head, RequestHead, ResponseHead
from pinproxy.http1.via import PSEUDONYM, OwnName

# > Intermediaries MUST parse a received Connection header field before a message is forwarded and, for each
# > connection-option in this field, remove any header or trailer field(s) from the message with the same name […]
# > Intermediaries SHOULD remove or replace fields that are known to require removal before forwarding (RFC 9110 §7.6.1)
_HOP_BY_HOP: Final = frozenset(
    {
        b"close",  # an option and no field: so that the common options are a subset, and no new set is made
        b"connection",
        b"content-length",  # ours to write
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
_REQUEST_DROPS: Final = _HOP_BY_HOP | {b"host"}
_NO_EXPECT: Final = frozenset({b"expect"})

_PATH: Final = re.compile(REQUEST_TARGET)
_EXTRA: Final = re.compile(TOKEN + rb": [\t\x20-\x7e]*+")
# Of responses: nobody sends one round in a circle, and a client that compares two should find them equal.
_NAMELESS: Final = OwnName(PSEUDONYM)
_END_OF_HEAD: Final = b"\r\n"  # joined to the last line by another
_DEFAULT_PORT: Final = {b"http": b":80", b"https": b":443"}


def host_field(authority: bytes, scheme: bytes) -> bytes:
    """Return the Host value for an authority: the default port of the scheme left out (RFC 9110 §7.2, §4.2.3)."""
    return authority.removesuffix(_DEFAULT_PORT[scheme])


def forward_request_head(
    head: RequestHead,
    framing: Framing,
    *,
    path: bytes,
    host: bytes,
    own_name: OwnName = _NAMELESS,
    keep_upgrade: bool = False,
    extra: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """Write the head of a request as it goes to the origin.

    Args:
        head: The request as the client sent it.
        framing: How its body is delimited; the body goes on the same way.
        path: The request target for the origin: `target.RequestTarget.path`, or an absolute URI for a further proxy.
        host: The Host value, as `host_field` makes it.
        own_name: What we are called in Via.
        keep_upgrade: Carry Upgrade on, because the caller can carry what follows a 101.
        extra: Fields to add at the end, such as Proxy-Authorization for a further proxy.

    Returns:
        The head, its empty line included.

    Raises:
        BadRequest: The Connection or Max-Forwards field is malformed, or Max-Forwards forbids another hop.
    """
    via = own_name.lines[head.minor]
    return head.once(_write_request_head, framing, path, host, via, keep_upgrade, tuple(extra))


def _write_request_head(
    head: RequestHead,
    framing: Framing,
    path: bytes,
    host: bytes,
    via: bytes,
    keep_upgrade: bool,
    extra: Fields,
) -> bytes:
    if not _PATH.fullmatch(path) or not HOST.fullmatch(host):
        raise InternalError("a request line or Host of ours would not be valid HTTP")
    options = connection_options(head)
    drops = _REQUEST_DROPS if options <= _REQUEST_DROPS else _REQUEST_DROPS | options
    if head.minor == 0:
        # > A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation.
        drops |= _NO_EXPECT
    # > a user agent that sends Host SHOULD send it as the first field in the header section of a request
    lines = [b"%b %b HTTP/1.1\r\nHost: %b" % (head.method, path, host)]
    lines += [b": ".join(line) for line in _with_hop_counted(head) if line[0].lower() not in drops]
    lines += _framing_lines(framing)
    lines += _connection_lines(head, options, b"", keep_upgrade=keep_upgrade)
    # > An intermediary […] MUST send an appropriate Via header field […] in each message that it forwards.
    lines.append(via)
    lines += map(_field_line, extra)
    lines.append(_END_OF_HEAD)
    return b"\r\n".join(lines)


def downstream_framing(framing: Framing, client_minor: int) -> Framing:
    """Choose how a response body is delimited towards the client.

    A body that ended with the origin's connection becomes chunked, so that the client sees a cut one as cut and its own
    connection lives on; HTTP/1.0 knows no chunks, so there a chunked body ends with the connection.
    """
    if client_minor == 0:
        return UNTIL_CLOSE if framing.kind is BodyKind.CHUNKED else framing
    return CHUNKED if framing.kind is BodyKind.UNTIL_CLOSE else framing


def forward_response_head(
    head: ResponseHead,
    framing: Framing,
    *,
    client_minor: int,
    keep_alive: bool,
) -> bytes:
    """Write the head of a response as it goes to the client; a 101 keeps its Upgrade.

    Args:
        head: The response as the origin sent it, interim ones included.
        framing: How its body will be delimited: `downstream_framing` of what the origin chose.
        client_minor: The client's version: 0 or 1.
        keep_alive: Whether the client connection lives on after this response; never true with `UNTIL_CLOSE`.

    Returns:
        The head, its empty line included; nothing for an interim response to an HTTP/1.0 client.

    Raises:
        UpstreamClosed: The Connection field is malformed.
    """
    if client_minor == 0 and head.is_interim:
        # > A proxy MUST forward 1xx responses unless the proxy itself requested the generation of the 1xx response.
        # > a server MUST NOT send a 1xx response to an HTTP/1.0 client (RFC 9110 §15.2)
        return b""
    options = connection_options(head)
    drops = _HOP_BY_HOP if options <= _HOP_BY_HOP else _HOP_BY_HOP | options
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.reason)]
    lines += [b": ".join(line) for line in head.fields if line[0].lower() not in drops]
    lines += _length_of_absent_body(head) if framing.kind is BodyKind.NONE else _framing_lines(framing)
    if head.status >= 200:
        # > A server that sends a 426 MUST send an Upgrade header field (RFC 9110 §15.5.22)
        persistence = b"" if keep_alive and client_minor == 1 else b"keep-alive" if keep_alive else b"close"
        lines += _connection_lines(head, options, persistence, keep_upgrade=head.status == 426)
    elif head.status == 101:
        lines += _connection_lines(head, options, b"", keep_upgrade=True)
    lines += (_NAMELESS.lines[head.minor], _END_OF_HEAD)
    return b"\r\n".join(lines)


def add_field(head: bytes, name: bytes, value: bytes) -> bytes:
    """Add a field of ours at the end of a head that was written."""
    return b"%b%b\r\n\r\n" % (head.removesuffix(b"\r\n"), _field_line((name, value)))


def encode_chunk(data: bytes) -> bytes:
    """Write one chunk; nothing for no data, for an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def encode_last_chunk(trailers: Fields = ()) -> bytes:
    """Write the end of a chunked body with its trailer fields, as the decoder gave them."""
    return b"".join([b"0\r\n", *(b"%b: %b\r\n" % line for line in trailers), b"\r\n"])


def _with_hop_counted(head: RequestHead) -> Fields:
    """Return the fields, with Max-Forwards lowered by one where this hop has to (RFC 9110 §7.6.2)."""
    if head.method not in {b"OPTIONS", b"TRACE"} or head.get(b"max-forwards") is None:
        return head.fields
    # > Each intermediary that receives a TRACE or OPTIONS request containing a Max-Forwards header field MUST check and
    # > update its value prior to forwarding the request. If the received value is zero (0), the intermediary MUST NOT
    # > forward the request
    values = head.get_all(b"max-forwards")
    if len(values) != 1 or not DIGITS.fullmatch(values[0]) or len(values[0]) > 9:
        raise BadRequest("the Max-Forwards field is not exactly one decimal number")
    if not int(values[0]):
        raise BadRequest("Max-Forwards is 0: the request may not go past this proxy")
    lowered = b"%d" % (int(values[0]) - 1)
    return tuple((name, lowered if name.lower() == b"max-forwards" else value) for name, value in head.fields)


def _framing_lines(framing: Framing) -> tuple[bytes, ...]:
    if framing.kind is BodyKind.LENGTH:
        return (b"Content-Length: %d" % framing.length,)
    return (b"Transfer-Encoding: chunked",) if framing.kind is BodyKind.CHUNKED else ()


def _length_of_absent_body(head: ResponseHead) -> tuple[bytes, ...]:
    """Keep the length that a response to HEAD, or a 304, tells of the body it does not have (RFC 9110 §8.6)."""
    # > A server MUST NOT send a Content-Length header field in any response with a status code of 1xx (Informational)
    # > or 204 (No Content).
    length = head.get(b"content-length")
    return () if length is None or head.status < 200 or head.status == 204 else (b"Content-Length: " + length,)


def _connection_lines(head: Head, options: frozenset[bytes], persistence: bytes, *, keep_upgrade: bool) -> list[bytes]:
    """Write the hop-by-hop fields of the next hop: Upgrade, TE, and the Connection field that names them."""
    lines = []
    named = [persistence] if persistence else []
    if keep_upgrade and b"upgrade" in options and (protocols := head.get_all(b"upgrade")):
        lines.append(b"Upgrade: " + b", ".join(protocols))
        named.append(b"upgrade")
    # > A sender of TE MUST also send a "TE" connection option within the Connection header field
    if isinstance(head, RequestHead) and b"trailers" in _list(head.get_all(b"te")):
        lines.append(b"TE: trailers")
        named.append(b"TE")
    if named:
        lines.append(b"Connection: " + b", ".join(named))
    return lines


def _list(values: tuple[bytes, ...]) -> list[bytes]:
    return [element.strip(b" \t") for value in values for element in value.lower().split(b",")]


def _field_line(line: tuple[bytes, bytes]) -> bytes:
    written = b": ".join(line)
    if not _EXTRA.fullmatch(written):
        raise InternalError("a field of ours would not be valid HTTP")
    return written
