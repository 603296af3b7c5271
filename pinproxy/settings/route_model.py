"""The `routes` section: local ports that lead to one authority each."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema, field_validator

from pinproxy.authority import Authority, parse_authority
from pinproxy.errors import BadRequest
from pinproxy.settings.section import Many, Section
from pinproxy.settings.values import ListenAddress, unexpected


def _read_target(value: object) -> Authority:
    if not isinstance(value, str):
        raise unexpected(value, "a listed host and its port, such as api.example.com:443")
    try:
        return parse_authority(value)
    except BadRequest as error:
        raise unexpected(value, f"a listed host and its port, such as api.example.com:443 ({error.detail})") from error


RouteTarget = Annotated[
    Authority,
    PlainValidator(_read_target),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": r"^(\[[^\]]+\]|[^:\[\]*]+):[0-9]{1,5}$"}),
]
# > RFC 7301 §3.1: opaque ProtocolName<1..2^8-1>; those that IANA lists are visible ASCII.
_ALPN_NAME = r"^[!-~]{1,255}$"


def _read_alpn_name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(_ALPN_NAME, value):
        raise unexpected(value, "the name of an application protocol, such as postgresql")
    return value


AlpnName = Annotated[str, PlainValidator(_read_alpn_name), WithJsonSchema({"type": "string", "pattern": _ALPN_NAME})]


class RouteSection(Section):
    """A local port, or UNIX socket, that leads to one authority."""

    listen: ListenAddress = Field(description="Where applications connect to.", examples=["127.0.0.1:9001"])
    to: RouteTarget = Field(
        description="Host and port it leads to; the host is one of `hosts`.", examples=["api.example.com:443"]
    )
    protocol: Literal["http", "tcp"] = Field(
        description="What the application speaks. http: plain HTTP/1.1; Host, redirects and cookies are rewritten. tcp: "
        "anything; its bytes go over TLS as they are."
    )
    alpn: Many[AlpnName] = Field(
        (),
        description="With `protocol: tcp`: application protocols to offer, one of which the server must choose; empty: none.",
        examples=[["postgresql"]],
    )

    @field_validator("alpn")
    @classmethod
    def _alpn_stands_with_tcp(cls, alpn: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if alpn and info.data.get("protocol") == "http":
            raise ValueError("alpn stands here with `protocol: http`, which offers http/1.1 and nothing else; remove it")
        return alpn
