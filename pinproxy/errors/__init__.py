"""The one exception tree, split by whose fault it is.

Rules of this file:
- The class carries the HTTP status, the RFC 9209 error type and our own reason code, so that nothing maps them twice.
- `detail` is shown to clients and stands in logs: it never holds a secret, a request field, a path or a query string,
  and never the text of an exception that is not ours.
- Every code has a heading of the same name in docs/errors.md (a test compares them).
- A class goes into the file of those whose fault it is; everybody imports it from here.
"""

from __future__ import annotations

from pinproxy.errors.base import (
    DownstreamError,
    OverloadError,
    PinError,
    PinproxyError,
    PolicyError,
    Refused,
    UpstreamError,
)
from pinproxy.errors.downstream import (
    AddressDenied,
    AuthRequired,
    BadRequest,
    ClientClosed,
    ClientHelloInvalid,
    DownstreamTlsFailed,
    HeadTimeout,
    HeadTooLarge,
    HostNotListed,
    LoopDetected,
    NotTls,
    SniMismatch,
    SniMissing,
    Tls13Unverifiable,
)
from pinproxy.errors.own import (
    Draining,
    InternalError,
    Overloaded,
)
from pinproxy.errors.syntax import (
    CertificateSyntaxError,
    ObservationsSyntaxError,
    PatternSyntaxError,
    PinFormatError,
    PinSyntaxError,
    Problem,
    SettingsError,
    TlsSyntaxError,
)
from pinproxy.errors.upstream import (
    CertificateExpired,
    ChainInvalid,
    ChainUnavailable,
    DialRefused,
    DialTimeout,
    DnsFailed,
    HandshakeTimeout,
    HostnameMismatch,
    PinForbidden,
    PinMismatch,
    PinSetExpired,
    TlsHandshakeFailed,
    TlsVersion,
    UpstreamClosed,
    UpstreamProxyRefused,
    UpstreamTimeout,
)

__all__ = [
    "AddressDenied",
    "AuthRequired",
    "BadRequest",
    "CertificateExpired",
    "CertificateSyntaxError",
    "ChainInvalid",
    "ChainUnavailable",
    "ClientClosed",
    "ClientHelloInvalid",
    "DialRefused",
    "DialTimeout",
    "DnsFailed",
    "DownstreamError",
    "DownstreamTlsFailed",
    "Draining",
    "HandshakeTimeout",
    "HeadTimeout",
    "HeadTooLarge",
    "HostNotListed",
    "HostnameMismatch",
    "InternalError",
    "LoopDetected",
    "NotTls",
    "ObservationsSyntaxError",
    "OverloadError",
    "Overloaded",
    "PatternSyntaxError",
    "PinError",
    "PinForbidden",
    "PinFormatError",
    "PinMismatch",
    "PinSetExpired",
    "PinSyntaxError",
    "PinproxyError",
    "PolicyError",
    "Problem",
    "Refused",
    "SettingsError",
    "SniMismatch",
    "SniMissing",
    "Tls13Unverifiable",
    "TlsHandshakeFailed",
    "TlsSyntaxError",
    "TlsVersion",
    "UpstreamClosed",
    "UpstreamError",
    "UpstreamProxyRefused",
    "UpstreamTimeout",
    "refusal_codes",
]


def refusal_codes() -> dict[str, type[Refused]]:
    """Map every reason code to its class, for the documentation test and for metrics."""
    found: dict[str, type[Refused]] = {}
    pending: list[type[Refused]] = [Refused]
    while pending:
        for kind in pending.pop().__subclasses__():
            pending.append(kind)
            if "code" in vars(kind):
                found[kind.code] = kind
    return found
