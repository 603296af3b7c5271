"""How numbers with units, addresses and dates are spelled. Every reader takes what YAML gives and says what it expected."""

from __future__ import annotations

import math
import os
import re
from datetime import UTC, date, datetime, time
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from pinproxy.authority import Authority, canonical_host, is_ip_address
from pinproxy.errors import BadRequest
from pinproxy.net.listener import ListenAddress as AnyAddress
from pinproxy.net.named_file import kind_of
from pinproxy.net.unix_socket import MAX_PATH_BYTES, UnixAddress
from pinproxy.policy.pattern import HostPattern, parse_pattern

_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_LISTEN = re.compile(r"(\[[^\]]*\]|[^:\[\]]*):([0-9]{1,5})")
_MAX_PORT = 65535
_UNIX = "unix:"
_TCP_EXPECTED = "an IP address and a port such as 127.0.0.1:3128 or '[::1]:3128'"
_UNIX_EXPECTED = "unix:/run/pinproxy/proxy.sock"
_USERINFO = re.compile(r"://[^\s]*@")


def shown(value: object) -> str:
    """Format a value as it might stand in the file, cut to a length that fits a message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    # A URL that stands in the wrong place may hold a password.
    text = str(value) if isinstance(value, int | float | date) else _USERINFO.sub("://…@", repr(value))
    return text if len(text) <= 80 else text[:77] + "…"


def unexpected(value: object, expected: str) -> ValueError:
    """Make the error that names what was found and what was expected; pydantic collects it with its place."""
    return ValueError(f"found {shown(value)}; expected {expected}")


def _read_duration(value: object) -> float:
    seconds = _amount(value, _SECONDS)
    if seconds is None or not math.isfinite(seconds):
        raise unexpected(value, "a duration such as 250ms, 10s, 5m, 1h or a number of seconds")
    return seconds


def _read_positive_duration(value: object) -> float:
    seconds = _read_duration(value)
    if seconds <= 0:
        raise unexpected(value, "a duration above zero, such as 250ms, 10s or 5m")
    return seconds


def _read_size(value: object) -> int:
    size = _amount(value, _BYTES)
    if size is None or size != int(size) or size <= 0:
        raise unexpected(value, "a size above zero such as 64KiB, 1MiB or a number of bytes")
    return int(size)


def _amount(value: object, units: dict[str, float] | dict[str, int]) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if value >= 0 else None
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    unit = units.get(match[2]) if match else None
    return float(match[1]) * unit if match and unit is not None else None


def _read_listen_address(value: object) -> AnyAddress:
    if not isinstance(value, str) or not value.startswith(_UNIX):
        return _read_tcp_address(value, f"{_TCP_EXPECTED}, or {_UNIX_EXPECTED}")
    path = Path(value.removeprefix(_UNIX))
    # Not even relative to the file: an application is told the same text, and reads it from somewhere else.
    if not path.is_absolute() or "\0" in value:
        raise unexpected(value, f"an absolute path, as in {_UNIX_EXPECTED}")
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise unexpected(value, f"a path of {MAX_PATH_BYTES} bytes or less: the kernel allows no more (unix(7))")
    return UnixAddress(path)


def _read_tcp_address(value: object, expected: str = _TCP_EXPECTED) -> Authority:
    match = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if match is None or not match[1]:
        raise unexpected(value, expected)
    host, port = match[1], int(match[2])
    try:
        host = canonical_host(host)
    except BadRequest as error:
        raise unexpected(value, expected) from error
    if port > _MAX_PORT or not (is_ip_address(host) or host == "localhost"):
        raise unexpected(value, expected)
    return Authority(host, port)


def is_loopback(address: AnyAddress) -> bool:
    """Tell whether only this machine (or pod) can reach a listening address."""
    return isinstance(address, UnixAddress) or address.host == "localhost" or ip_address(address.host).is_loopback


def _read_dial_host(value: object) -> str:
    if not isinstance(value, str):
        raise unexpected(value, "an address or a host name such as 10.0.0.7")
    bare_ipv6 = value.count(":") > 1 and not value.startswith("[")
    try:
        return canonical_host(f"[{value}]" if bare_ipv6 else value)
    except BadRequest as error:
        raise ValueError(error.detail) from error


def _read_pattern(value: object) -> HostPattern:
    if not isinstance(value, str):
        raise unexpected(value, "a host such as api.example.com or '*.example.com'")
    return parse_pattern(value)


def _read_port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_PORT:
        quotes = ", without quotes" if isinstance(value, str) else ""
        raise unexpected(value, f"a port from 1 to {_MAX_PORT}{quotes}")
    return value


def _read_end(value: object) -> datetime:
    return _moment(value, time.max)


def _read_start(value: object) -> datetime:
    return _moment(value, time.min)


def _moment(value: object, time_of_day: time) -> datetime:
    """Read a day as its first or last instant, and an instant as it is; UTC where no zone is said."""
    found = value
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value) if "T" in value or ":" in value else date.fromisoformat(value)
        except ValueError:
            found = None
    if isinstance(found, datetime):
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    if isinstance(found, date):
        return datetime.combine(found, time_of_day, UTC)
    raise unexpected(value, "a date such as 2027-01-31, or 2027-01-31T12:00:00Z")


def _read_tls_version(value: object) -> object:
    """Take `1.2` without quotes for the text it was meant as."""
    return str(value) if isinstance(value, float) else value


def base_directory(info: ValidationInfo) -> Path:
    """Tell what relative paths are relative to: the directory of the configuration file."""
    return info.context if isinstance(info.context, Path) else Path.cwd()


def read_path(value: object, info: ValidationInfo) -> Path:
    """Read a path and make it absolute, without following links."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise unexpected(value, "a path")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise unexpected(value, "a path; half a surrogate pair is in the name of no file") from error
    return base_directory(info) / value


def _read_place_of_file(value: object, info: ValidationInfo) -> Path:
    """Read the path of a file that is written; what is there already must be one."""
    path = read_path(value, info)
    try:
        kind = kind_of(path.stat().st_mode)
    except OSError:
        return path  # it is made later, or its absence told of
    if kind is not None:
        raise ValueError(f"{shown(value)} is {kind}; expected a file, or the path where one is to be made")
    return path


Duration = Annotated[
    float,
    BeforeValidator(_read_positive_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? *(ms|s|m|h|d)?$"},
            ]
        }
    ),
]
DurationOrZero = Annotated[
    float,
    BeforeValidator(_read_duration),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? *(ms|s|m|h|d)?$"}]}
    ),
]
Size = Annotated[
    int,
    BeforeValidator(_read_size),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? *(B|KiB|MiB|GiB)?$"}]}
    ),
]
TcpAddress = Annotated[
    Authority,
    PlainValidator(_read_tcp_address),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": r"^(\[[^\]]+\]|[^:\[\]]+):[0-9]{1,5}$"}),
]
ListenAddress = Annotated[
    AnyAddress,
    PlainValidator(_read_listen_address),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": r"^(unix:/.+|(\[[^\]]+\]|[^:\[\]]+):[0-9]{1,5})$"}),
]
DialHost = Annotated[str, PlainValidator(_read_dial_host), WithJsonSchema({"type": "string", "minLength": 1})]
Pattern = Annotated[
    HostPattern, PlainValidator(_read_pattern), WithJsonSchema({"type": "string", "pattern": r"^(\*\*?\.)?[^*]+$"})
]
Port = Annotated[int, PlainValidator(_read_port), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": _MAX_PORT})]
EndOfDay = Annotated[datetime, PlainValidator(_read_end), WithJsonSchema({"type": "string"})]
StartOfDay = Annotated[datetime, PlainValidator(_read_start), WithJsonSchema({"type": "string"})]
TlsVersion = Annotated[
    Literal["1.2", "1.3"], BeforeValidator(_read_tls_version), WithJsonSchema({"enum": ["1.2", "1.3", 1.2, 1.3]})
]
PATH_SCHEMA = WithJsonSchema({"type": "string", "format": "path", "minLength": 1})
FilePath = Annotated[Path, PlainValidator(read_path), PATH_SCHEMA]
PlaceOfFile = Annotated[Path, PlainValidator(_read_place_of_file), PATH_SCHEMA]
