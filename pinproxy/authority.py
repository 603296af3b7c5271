"""The one canonical form of host and port that policy, DNS, SNI, verification and log all use.

Rules of this file:
- Whatever cannot be brought to exactly one form is refused; nothing is guessed. Two spellings of one host must never be
  two hosts to two readers (CVE-2022-24825, CVE-2022-29188).
- Bytes from the wire stop being bytes here.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple

import idna

from pinproxy.errors import BadRequest

# > RFC 1123 §2.1: a segment of a host domain name may begin with a digit; RFC 1035 §2.3.4: labels 63 octets or less.
# Stricter than the DNS: letters, digits and hyphens; wider than RFC 1123: the underscore, which real service names use.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# > WHATWG URL §3.5: a host whose last label is numeric is an IPv4 address, or nothing.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
# > RFC 6943 §3.1.1: the strict form is dotted decimal without leading zeros; `127.1`, `0177.0.0.1` and `2130706433` are
# > not it.
_DOTTED_QUAD = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
# > RFC 3986 §3.2.3: port = *DIGIT. Stricter: one to five digits, no leading zero, 1 to 65535.
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_MAX_NAME_LENGTH = 253  # RFC 1035 §2.3.4: 255 octets on the wire
_MAX_PORT = 65535


class Authority(NamedTuple):
    """Host and port in canonical form; a tuple, for it is a dictionary key several times in each request.

    Attributes:
        host: A-label name in lower case without trailing dot, or an IP address in its canonical text form, unbracketed.
        port: 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """Format as `host:port`, IPv6 in brackets (RFC 3986 §3.2.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_ip_address(self) -> bool:
        """Whether the host is an address literal and not a name."""
        return is_ip_address(self.host)


def is_ip_address(host: str) -> bool:
    """Tell an address literal from a name, for a host in canonical form."""
    return ":" in host or _DOTTED_QUAD.fullmatch(host) is not None


def canonical_host(text: str) -> str:
    """Bring a host to its one canonical form.

    Args:
        text: A name (U-labels or A-labels, any case, at most one trailing dot), a dotted quad, or IPv6 in brackets.

    Returns:
        The `host` of `Authority`.

    Raises:
        BadRequest: The text is no host, or could be read as more than one.
    """
    if "@" in text:
        raise BadRequest("host holds userinfo ('@'); remove it")  # it may be a secret: unsaid, as in an authority
    if text.startswith("[") and text.endswith("]"):
        return _canonical_ipv6(text[1:-1])
    name = text.removesuffix(".")
    if not name.isascii():
        name = _to_a_labels(name)
    name = name.lower()
    if not name or len(name) > _MAX_NAME_LENGTH:
        raise BadRequest(f"host {text[:80]!r} has {len(name)} characters; expected 1 to {_MAX_NAME_LENGTH}")
    labels = name.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        return _canonical_ipv4(name)
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise BadRequest(f"host {text[:80]!r} has the label {label[:70]!r}; expected letters, digits, '-' or '_'")
        if label.startswith("xn--"):
            _check_a_label(label)
    return name


def _to_a_labels(name: str) -> str:
    """Apply UTS 46 non-transitional processing, STD3 rules; full-width dots and digits end up as what they look like."""
    try:
        return idna.encode(name, uts46=True, std3_rules=True, transitional=False).decode("ascii")
    except idna.IDNAError as error:
        raise BadRequest(f"host {name[:80]!r} is not an internationalised name (UTS 46)") from error


def _check_a_label(label: str) -> None:
    # > RFC 5891 §4.4: a string that starts with "xn--" must be a valid A-label.
    try:
        if idna.encode(idna.decode(label)).decode("ascii") != label:
            raise BadRequest(f"host label {label!r} is not a canonical A-label (RFC 5891)")
    except idna.IDNAError as error:
        raise BadRequest(f"host label {label!r} is not a valid A-label (RFC 5891)") from error


def _canonical_ipv4(name: str) -> str:
    if not _DOTTED_QUAD.fullmatch(name):
        raise BadRequest(f"host {name[:80]!r} looks like an IPv4 address; expected four decimal numbers without leading zeros")
    try:
        return str(ipaddress.IPv4Address(name))
    except ValueError as error:
        raise BadRequest(f"host {name[:80]!r} is not an IPv4 address") from error


def _canonical_ipv6(literal: str) -> str:
    if "%" in literal:
        raise BadRequest(f"host {literal[:80]!r} has a zone id; a zone means nothing beyond this machine")
    try:
        address = ipaddress.IPv6Address(literal)
    except ValueError as error:
        raise BadRequest(f"host {literal[:80]!r} is not an IPv6 address") from error
    # > RFC 4291 §2.5.5.2: the "IPv4-mapped IPv6 address" represents the address of an IPv4 node as an IPv6 address.
    # A second spelling of that node, so it becomes the first; Python also writes it differently from 3.13 on.
    return str(address.ipv4_mapped or address)


def parse_port(text: str) -> int:
    """Read a port number.

    Raises:
        BadRequest: Anything but 1 to 65535 in plain decimal digits.
    """
    if not _PORT.fullmatch(text) or int(text) > _MAX_PORT:
        raise BadRequest(f"port {text[:20]!r} is not a number from 1 to {_MAX_PORT}")
    return int(text)


@lru_cache(maxsize=4096)
def parse_authority(text: str, default_port: int | None = None) -> Authority:
    """Read `host[:port]` (RFC 3986 §3.2, without userinfo).

    Args:
        text: The authority as a client or an operator wrote it.
        default_port: What a missing port means; None: the port must be there (as in CONNECT, RFC 9112 §3.2.3).

    Returns:
        The canonical authority.

    Raises:
        BadRequest: No valid authority, userinfo, or no port where one is needed.
    """
    if "@" in text:
        # > RFC 9110 §4.2.4: a recipient ought to treat userinfo in an http(s) URI as an error.
        # The text may be a secret: unsaid.
        raise BadRequest("the authority holds userinfo ('@'); remove it")
    if text.startswith("["):
        literal, bracket, rest = text.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise BadRequest(f"authority {text[:80]!r} has an unfinished '[…]' literal")
        host, port = literal + bracket, rest[1:] if rest else None
    else:
        host, colon, after = text.partition(":")
        port = after if colon else None
        if port is not None and ":" in port:
            raise BadRequest(f"authority {text[:80]!r} has more than one ':'; an IPv6 address stands in brackets")
    if port is None:
        if default_port is None:
            raise BadRequest(f"authority {text[:80]!r} has no port; expected host:port")
        return Authority(canonical_host(host), default_port)
    return Authority(canonical_host(host), parse_port(port))
