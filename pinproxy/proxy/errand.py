"""Where a request of origination goes, and how its answer is rewritten: a forward proxy reads it from the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pinproxy.authority import Authority, parse_authority
from pinproxy.errors import BadRequest
from pinproxy.http1.fields import host_field
from pinproxy.http1.head import RequestHead, ResponseHead
from pinproxy.http1.target import RequestTarget, TargetForm, request_target
from pinproxy.policy.rule import HostRule
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record

_DEFAULT_PORTS = {b"http": 80, b"https": 443}


class Errand(NamedTuple):
    """Where a request goes. A tuple, for each request has one.

    Attributes:
        authority: The origin.
        rule: Its rule; None: unlisted, forwarded as plain HTTP.
        path: Request target for the origin.
        host: Host field for the origin.
        rewrite: Changes a response head before the client sees it, in fields that its framing does not rest on; None: as it is.
    """

    authority: Authority
    rule: HostRule | None
    path: bytes
    host: bytes
    rewrite: Callable[[ResponseHead], ResponseHead] | None = None


Direct = Callable[[RequestHead, Proxy, Record], Errand]
"""Decides where a request goes; notes authority, rule and mode in the record, and raises `Refused` where it goes nowhere."""


def by_target(request: RequestHead, proxy: Proxy, record: Record) -> Errand:
    """Send a request where its target says: what a forward proxy does."""
    target, secured, host = request.once(_destination)
    record.authority = secured
    rule = record.rule = proxy.policy.rule_for(secured)
    if rule is not None:
        return Errand(secured, rule, target.path, host)
    if target.scheme == b"https":
        raise BadRequest(f"{secured} is not listed, so nothing says how to verify it; list it, or use CONNECT")
    asked = asked_authority(target)
    record.authority, record.mode = asked, "plain"
    return Errand(asked, None, target.path, host_field(str(asked).encode("ascii"), b"http"))


def _destination(request: RequestHead) -> tuple[RequestTarget, Authority, bytes]:
    """Read from the target where TLS would be spoken, and the Host field for it; pure, and so done once for each head."""
    target = request_target(request)
    if target.form is TargetForm.AUTHORITY:
        raise BadRequest("CONNECT comes first on a connection, or on one of its own")
    if target.form is not TargetForm.ABSOLUTE:
        raise BadRequest("expected an absolute target, as `GET http://host/path`: this is a forward proxy, not an origin")
    secured = secured_authority(target)
    return target, secured, host_field(str(secured).encode("ascii"), b"https")


def asked_authority(target: RequestTarget) -> Authority:
    """Return the authority of an absolute target, as it was asked for."""
    return parse_authority(target.authority.decode("ascii"), _DEFAULT_PORTS[target.scheme])


def secured_authority(target: RequestTarget) -> Authority:
    """Return where TLS is spoken for an absolute target: `http://` on port 80 means `https://` on 443."""
    asked = asked_authority(target)
    if target.scheme == b"http" and asked.port == _DEFAULT_PORTS[b"http"]:
        return Authority(asked.host, _DEFAULT_PORTS[b"https"])
    return asked
