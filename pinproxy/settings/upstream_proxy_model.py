"""The way out as the configuration writes it: `upstream_proxy`, its password, and what goes without it.

What stands in the URL may be a password, so no message repeats it.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import unquote_to_bytes

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from pinproxy.authority import Authority, parse_authority
from pinproxy.errors import BadRequest, PatternSyntaxError
from pinproxy.net.upstream_proxy import UpstreamProxy
from pinproxy.policy.no_proxy import parse_no_proxy
from pinproxy.settings.small_files import read_secret
from pinproxy.settings.values import read_path, shown, unexpected

_URL = re.compile(r"http://(?:(?P<user>[^:@/?#\s]*)(?::(?P<password>[^@/?#\s]*))?@)?(?P<authority>[^@/?#\s]+)/?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_EXPECTED = "http://[user:password@]host:port, special characters percent-encoded"
_NOT_IN_CREDENTIALS = re.compile(rb"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Secret:
    """Bytes that no text repeats."""

    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProxyUrl:
    """A proxy's URL, taken apart.

    Attributes:
        authority: Where it listens.
        user: Percent-decoded; None: no credentials.
        password: Percent-decoded; None: none is written there.
    """

    authority: Authority
    user: bytes | None = None
    password: bytes | None = field(default=None, repr=False)


def _read_url(value: object) -> ProxyUrl:
    match = _URL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        scheme = _SCHEME.match(value) if isinstance(value, str) else None
        if scheme and scheme[1].lower() == "https":
            raise ValueError(
                "found an https:// URL; TLS to the proxy itself is not spoken. TLS to each host runs inside all the same: "
                "expected http://host:port"
            )
        found = f"found a {scheme[1]}:// URL" if scheme and scheme[1] != "http" else "found something else"
        raise ValueError(f"{found}; expected {_EXPECTED}")
    try:
        authority = parse_authority(match["authority"])
    except BadRequest as error:
        # Without userinfo nothing secret can be in it.
        raise ValueError(f"the host and port after the `@`, or the `//`, cannot be read; expected {_EXPECTED}") from error
    user, password = match["user"], match["password"]
    if user is None:
        return ProxyUrl(authority)
    decoded = unquote_to_bytes(user)
    secret = unquote_to_bytes(password) if password is not None else None
    # > RFC 7617 §2: … a user-id containing a colon character is invalid … The user-id and password MUST NOT contain any control
    # > characters
    if not decoded or b":" in decoded or _NOT_IN_CREDENTIALS.search(decoded + (secret or b"")):
        raise ValueError("the user is empty, or user or password hold a colon or control character where none may be")
    return ProxyUrl(authority, decoded, secret)


def _shown_url(url: ProxyUrl) -> str:
    return f"http://{url.authority}"


def _read_password_file(value: object, info: ValidationInfo) -> Secret:
    path, name = read_path(value, info), shown(value)
    content = read_secret(path, name, "a file that holds the password").rstrip(b"\r\n")
    if not content or _NOT_IN_CREDENTIALS.search(content):
        raise ValueError(f"{name} holds no password of one line; expected the password and nothing else")
    return Secret(content)


def _read_no_proxy_entry(value: object) -> str:
    if not isinstance(value, str):
        raise unexpected(value, "a name such as cluster.local, an address, or a network such as 10.0.0.0/8")
    try:
        parse_no_proxy((value,))
    except PatternSyntaxError as error:
        raise ValueError(str(error)) from error
    return value


UpstreamProxyUrl = Annotated[
    ProxyUrl,
    PlainValidator(_read_url),
    PlainSerializer(_shown_url),
    WithJsonSchema({"type": "string", "pattern": r"^http://[^/?#\s]+:[0-9]+/?$"}),
]
PasswordFile = Annotated[
    Secret, PlainValidator(_read_password_file), WithJsonSchema({"type": "string", "format": "path", "minLength": 1})
]
NoProxyEntry = Annotated[str, PlainValidator(_read_no_proxy_entry), WithJsonSchema({"type": "string", "minLength": 1})]


def make_upstream_proxy(url: ProxyUrl | None, password: Secret | None, no_proxy: tuple[str, ...]) -> UpstreamProxy | None:
    """Make what the dialler uses; None: there is no proxy on the way."""
    if url is None:
        return None
    authorization = None
    if url.user is not None:
        secret = password.value if password is not None else url.password or b""
        # > RFC 7617 §2: … obtains the basic-credentials by encoding this octet sequence using Base64
        authorization = b"Basic " + base64.b64encode(url.user + b":" + secret)
    return UpstreamProxy(url.authority, authorization, parse_no_proxy(no_proxy))
