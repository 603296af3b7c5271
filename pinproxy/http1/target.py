"""The four forms of a request target (RFC 9112 §3.2) taken apart, and the Host field held against them.

Which host an authority names is not decided here: `pinproxy.authority` brings it into its one canonical form. Here is
only where it begins and ends, and that the client does not name two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from pinproxy.errors import BadRequest
from pinproxy.http1.head import RequestHead


class TargetForm(Enum):
    """The form of a request target."""

    ORIGIN = "origin-form"
    ABSOLUTE = "absolute-form"
    AUTHORITY = "authority-form"
    ASTERISK = "asterisk-form"


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """A request target in its parts.

    Attributes:
        form: Which of the four forms the client sent.
        scheme: `http` or `https` for the absolute form, in lower case; else empty.
        authority: Host with optional port for the absolute form, host and port for CONNECT, as sent; else empty.
        path: What to send an origin as target: path and query, or `*`; empty for CONNECT.
    """

    form: TargetForm
    scheme: bytes
    authority: bytes
    path: bytes = field(repr=False)


# > authority-form = uri-host ":" port
# Only delimited here: no userinfo, no path, digits as port.
_AUTHORITY_FORM: Final = re.compile(rb"(?:\[[^\[\]@/\\?]+\]|[^\[\]@/\\?:]+):[0-9]{1,5}")
# > absolute-form = absolute-URI
# > http-URI = "http" "://" authority path-abempty [ "?" query ]
_ABSOLUTE_FORM: Final = re.compile(rb"(https?)://([^/?\\]*)((?:/[^?]*)?)((?:\?.*)?)", re.IGNORECASE)
_AUTHORITY: Final = re.compile(rb"(?:\[[^\[\]@]+\]|[^\[\]@:]+)(?::[0-9]{0,5})?")

_DEFAULT_PORT: Final = {b"http": b"80", b"https": b"443"}


def request_target(head: RequestHead) -> RequestTarget:
    """Take the target of a request apart, and refuse a Host field that names somebody else.

    Args:
        head: A parsed request head.

    Returns:
        The parts; for the origin form the caller has the Host field, which is the only authority there.

    Raises:
        BadRequest: The target has none of the four forms for its method, carries userinfo or a scheme other than http
            and https, or the Host field differs from it.
    """
    return head.once(_take_apart)


def _take_apart(head: RequestHead) -> RequestTarget:
    target = head.target
    if head.method == b"CONNECT":
        return _authority_form(head)
    if target.startswith(b"/"):
        return RequestTarget(TargetForm.ORIGIN, b"", b"", target)
    if target == b"*":
        # > The "asterisk-form" of request-target is only used for a server-wide OPTIONS request
        _require(head.method == b"OPTIONS", "the target `*` is for OPTIONS only")
        return RequestTarget(TargetForm.ASTERISK, b"", b"", target)
    return _absolute_form(head)


def _authority_form(head: RequestHead) -> RequestTarget:
    # > A client MUST send the port number even if the CONNECT request is based on a URI reference that contains an
    # > authority component with an elided port (RFC 9110 §9.3.6)
    authority = head.target
    _require(b"@" not in authority, "the target of CONNECT carries userinfo")
    _require(_AUTHORITY_FORM.fullmatch(authority), "the target of CONNECT is not `host:port`")
    name, _, port = authority.lower().rpartition(b":")
    host = head.get(b"host")
    # Java and Node leave the port out of Host where it is the default of the scheme they are about to speak.
    tolerated = {authority.lower(), name} if port in {b"80", b"443"} else {authority.lower()}
    _require(host is None or host.lower() in tolerated, "the Host field is not the authority that CONNECT asks for")
    return RequestTarget(TargetForm.AUTHORITY, b"", authority, b"")


def _absolute_form(head: RequestHead) -> RequestTarget:
    match = _ABSOLUTE_FORM.fullmatch(head.target)
    if match is None:
        raise BadRequest("the target is neither a path nor an http:// or https:// URI; this is a forward proxy")
    scheme, authority, path, query = match.groups()
    scheme = scheme.lower()
    # > A sender MUST NOT generate the userinfo subcomponent (and its "@" delimiter) when an "http" or "https" URI
    # > reference is generated within a message (RFC 9110 §4.2.4)
    _require(b"@" not in authority, "the target carries userinfo")
    _require(_AUTHORITY.fullmatch(authority), "the target's authority is not a host with an optional port")
    # > When a proxy receives a request with an absolute-form of request-target, the proxy MUST ignore the received Host
    # > header field (if any) and instead replace it (RFC 9112 §3.2.2)
    # Stricter: a Host that differs is refused, for somebody between may already have believed it.
    host = head.get(b"host")
    if host is not None and host != authority and _with_port(host, scheme) != _with_port(authority, scheme):
        raise BadRequest("the Host field is not the authority of the target")
    if not path and not query and head.method == b"OPTIONS":
        # > If a proxy receives an OPTIONS request with an absolute-form of request-target in which the URI has an empty
        # > path and no query component, then the last proxy on the request chain MUST send a request-target of "*"
        return RequestTarget(TargetForm.ABSOLUTE, scheme, authority, b"*")
    return RequestTarget(TargetForm.ABSOLUTE, scheme, authority, (path or b"/") + query)


def _with_port(authority: bytes, scheme: bytes) -> bytes:
    """Bring an authority into a form in which equal ones compare equal: lower case, the port written out."""
    host, colon, port = authority.lower().rpartition(b":")
    if not colon or b"]" in port:
        host, port = authority.lower(), b""
    return host + b":" + (port or _DEFAULT_PORT[scheme])


def _require(condition: object, otherwise: str) -> None:
    if not condition:
        raise BadRequest(otherwise)
