"""A response rewritten as if the local port had been its origin: what a route's client reads must lead it back to the route.

Rules of this file:
- A reference to the upstream's own origin becomes one to the local port: the client would otherwise follow it past the pins,
  and, where it says `http://`, in clear. A reference to anybody else stays as it is, and so does a relative one.
- A cookie loses what would keep a client of plain HTTP from sending it back: `Secure`, and a `Domain` that covers the origin.
- What an origin says of itself alone is dropped: HSTS and Alt-Svc would turn the client away from the local port.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from pinproxy.authority import Authority, parse_authority
from pinproxy.errors import BadRequest
from pinproxy.http1.head import ResponseHead

# > RFC 3986 §4.2: relative-ref with "//" authority: a network-path reference, which takes the scheme of its page.
_ABSOLUTE: Final = re.compile(rb"(?:(https?):)?//([^/?#\\]+)((?:[/?#].*)?)", re.IGNORECASE)
# Refresh is the HTML standard's, not the RFC's: a number of seconds, then `url=` and a URL, in quotes or not. Possessive
# throughout: a value of blanks must not be tried in every way to cut it up.
_REFRESH: Final = re.compile(rb"""([0-9.]*+\s*+[;,]?\s*+url\s*+=\s*+)(['"]?)(.*?)(\2)""", re.IGNORECASE)
_REFERENCES: Final = frozenset({b"location", b"content-location"})
_DROPPED: Final = frozenset({b"strict-transport-security", b"alt-svc"})
_REWRITTEN: Final = _REFERENCES | _DROPPED | {b"refresh", b"set-cookie"}
_HTTP_PORT, _HTTPS_PORT = 80, 443


def rewrite_for_route(head: ResponseHead, origin: Authority, local: bytes | None) -> ResponseHead:
    """Rewrite a response head for a client that knows the local port as its origin (nginx: proxy_redirect, proxy_cookie_domain).

    Args:
        head: As the origin sent it.
        origin: The origin: `https` on this host and port.
        local: The Host field by which the client knows the local port; None: it sent none, and gets relative references.

    Returns:
        The head; the same one where nothing had to be changed.
    """
    if not any(map(head.get, _REWRITTEN)):
        return head
    fields = []
    for name, value in head.fields:
        match name.lower():
            case lower if lower in _DROPPED:
                continue
            case lower if lower in _REFERENCES:
                fields.append((name, _reference(value, origin, local)))
            case b"refresh":
                fields.append((name, _refresh(value, origin, local)))
            case b"set-cookie":
                fields.append((name, _cookie(value, origin.host)))
            case _:
                fields.append((name, value))
    return dataclasses.replace(head, fields=tuple(fields))


def _reference(value: bytes, origin: Authority, local: bytes | None) -> bytes:
    match = _ABSOLUTE.fullmatch(value)
    if match is None:
        return value
    scheme, authority, rest = match.groups()
    if not _is_origin((scheme or b"https").lower(), authority, origin):
        return value
    if local is not None:
        return b"http://" + local + rest
    # > RFC 3986 §3.3: If a URI does not contain an authority component, then the path cannot begin with two slash characters.
    path = rest if rest.startswith(b"/") else b"/" + rest
    return b"/." + path if path.startswith(b"//") else path


def _is_origin(scheme: bytes, authority: bytes, origin: Authority) -> bool:
    """Tell whether a URI names the origin; as everywhere here, `http://` on port 80 means `https://` on 443."""
    try:
        named = parse_authority(authority.decode("ascii"), _HTTP_PORT if scheme == b"http" else _HTTPS_PORT)
    except (BadRequest, UnicodeDecodeError):
        return False
    if scheme == b"http":
        return named.port == _HTTP_PORT and origin == Authority(named.host, _HTTPS_PORT)
    return named == origin


def _refresh(value: bytes, origin: Authority, local: bytes | None) -> bytes:
    match = _REFRESH.fullmatch(value)
    return value if match is None else match[1] + match[2] + _reference(match[3], origin, local) + match[4]


def _cookie(value: bytes, host: str) -> bytes:
    # > RFC 6265 §5.2: If the set-cookie-string contains a %x3B (";") character: The name-value-pair string consists of the
    # > characters up to, but not including, the first %x3B … the unparsed-attributes … the remainder
    pair, *attributes = value.split(b";")
    kept = [attribute for attribute in attributes if not _is_in_the_way(attribute, host.encode("ascii"))]
    return b";".join([pair, *kept])


def _is_in_the_way(attribute: bytes, host: bytes) -> bool:
    name, _, value = attribute.partition(b"=")
    match name.strip().lower():
        case b"secure":
            return True
        case b"domain":
            # > RFC 6265 §5.2.3: If the first character of the attribute-value string is %x2E ("."): Let cookie-domain be the
            # > attribute-value without the leading %x2E (".") character.
            domain = value.strip().lower().removeprefix(b".")
            return host == domain or host.endswith(b"." + domain)
        case _:
            return False
