"""Alerts: how a TLS client is told why its connection ends (RFC 8446 §6, RFC 5246 §7.2).

An alert is the only reason a tunnel's client can read, so every reason code of ours has one. Here the alert travels in
plaintext: the client has not yet agreed on keys with anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from pinproxy import errors
from pinproxy.errors import TlsSyntaxError
from pinproxy.tls.records import TLS12, ContentType

_WARNING = 1
_FATAL = 2


class AlertDescription(IntEnum):
    """Why (RFC 8446 §6); the names are the standard's."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    INAPPROPRIATE_FALLBACK = 86
    USER_CANCELED = 90
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110
    UNRECOGNIZED_NAME = 112
    BAD_CERTIFICATE_STATUS_RESPONSE = 113
    UNKNOWN_PSK_IDENTITY = 115
    CERTIFICATE_REQUIRED = 116
    NO_APPLICATION_PROTOCOL = 120


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as received; `description` is a bare number where RFC 8446 has no name for it."""

    is_fatal: bool
    description: AlertDescription | int

    def __str__(self) -> str:
        """Name it as the standard does, `unknown_ca (48)`."""
        if isinstance(self.description, AlertDescription):
            return f"{self.description.name.lower()} ({self.description:d})"
        return f"alert {self.description}"


def alert(description: AlertDescription, version: int = TLS12) -> bytes:
    """Write a fatal alert.

    Args:
        description: Why.
        version: Version of the record; every TLS client reads a record of TLS 1.2.

    Returns:
        One whole record in plaintext, seven bytes.
    """
    return bytes((ContentType.ALERT, version >> 8, version & 0xFF, 0, 2, _FATAL, description))


def parse_alert(fragment: bytes) -> Alert:
    """Read an alert.

    Args:
        fragment: The content of an alert record in plaintext, without the record header.

    Returns:
        The alert.

    Raises:
        TlsSyntaxError: Not exactly one alert, or a level that does not exist.
    """
    # > RFC 8446 §5.1: a record with an Alert type MUST contain exactly one message.
    if len(fragment) != 2:
        raise TlsSyntaxError(f"an alert of {len(fragment)} bytes, expected 2")
    level, number = fragment
    if level not in {_WARNING, _FATAL}:
        raise TlsSyntaxError(f"an alert of level {level}, expected 1 or 2")
    known = number in _KNOWN
    return Alert(is_fatal=level == _FATAL, description=AlertDescription(number) if known else number)


_KNOWN = frozenset(AlertDescription)

_BY_REFUSAL: dict[type[errors.Refused], AlertDescription] = {
    errors.NotTls: AlertDescription.UNEXPECTED_MESSAGE,
    errors.ClientHelloInvalid: AlertDescription.DECODE_ERROR,
    errors.SniMismatch: AlertDescription.UNRECOGNIZED_NAME,
    errors.SniMissing: AlertDescription.UNRECOGNIZED_NAME,
    errors.Tls13Unverifiable: AlertDescription.PROTOCOL_VERSION,
    errors.TlsVersion: AlertDescription.PROTOCOL_VERSION,
    errors.HostNotListed: AlertDescription.ACCESS_DENIED,
    errors.AddressDenied: AlertDescription.ACCESS_DENIED,
    errors.LoopDetected: AlertDescription.ACCESS_DENIED,
    errors.AuthRequired: AlertDescription.ACCESS_DENIED,
    errors.PinMismatch: AlertDescription.BAD_CERTIFICATE,
    errors.PinForbidden: AlertDescription.BAD_CERTIFICATE,
    errors.PinSetExpired: AlertDescription.BAD_CERTIFICATE,
    errors.ChainUnavailable: AlertDescription.CERTIFICATE_UNKNOWN,
    errors.ChainInvalid: AlertDescription.CERTIFICATE_UNKNOWN,
    errors.HostnameMismatch: AlertDescription.CERTIFICATE_UNKNOWN,
    errors.CertificateExpired: AlertDescription.CERTIFICATE_EXPIRED,
    errors.TlsHandshakeFailed: AlertDescription.HANDSHAKE_FAILURE,
}
_BY_CODE = {kind.code: description for kind, description in _BY_REFUSAL.items()}


def alert_for(code: str) -> AlertDescription:
    """Choose the alert that says a reason code best.

    Args:
        code: A `Refused.code`.

    Returns:
        The description; codes that TLS has no word for (timeouts, overload, an unreachable server) are internal_error.
    """
    # > RFC 8446 §6.2: internal_error: an internal error unrelated to the peer makes it impossible to continue.
    return _BY_CODE.get(code, AlertDescription.INTERNAL_ERROR)
