"""The one exception tree, split by whose fault it is.

Rules of this file:
- The class carries the HTTP status, the RFC 9209 error type and our own reason code, so that nothing maps them twice.
- `detail` is shown to clients and stands in logs: it never holds a secret, a request field, a path or a query string,
  and never the text of an exception that is not ours.
- Every code has a heading of the same name in docs/errors.md (a test compares them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class PinproxyError(Exception):
    """Root of everything this package raises on purpose."""


# --- the operator's: settings -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a configuration.

    Attributes:
        file: Path of the file as the operator named it, or the flag or variable the value came from.
        line: Line, counted from 1; 0 where the value did not come from a file.
        column: Column, counted from 1; 0 where the value did not come from a file.
        path: Where in the document, as `hosts[0].mode`; empty for the document itself.
        message: What was found, what was expected and what to do.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        """Format as `file:line:col: path: message`, the form editors jump to."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class SettingsError(PinproxyError):
    """A configuration that must not start; holds every problem found, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        """Keep the problems; the text is one line each."""
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PinSyntaxError(PinproxyError, ValueError):
    """A pin that cannot be read; the text says what was found and what was expected."""


class PatternSyntaxError(PinproxyError, ValueError):
    """A host pattern that cannot be read; the text says what was found and what was expected."""


# --- bytes on the wire ----------------------------------------------------------------------------------------------


class TlsSyntaxError(PinproxyError, ValueError):
    """Bytes that are no TLS; the reader that knows whose they are turns it into a refusal."""


# --- everything that ends in a refusal ----------------------------------------------------------------------------


class Refused(PinproxyError):
    """A request or connection that does not go on, with the reason a client may read.

    Attributes:
        status: HTTP status of the refusal (RFC 9110 §15).
        proxy_status: `error` parameter of the Proxy-Status field (RFC 9209 §2.3).
        code: Our reason code, stable, one heading in docs/errors.md.
        title: The code in words, the `title` of the problem document (RFC 9457 §3.1.3).
        detail: What happened to this very request.
    """

    status: ClassVar[int]
    proxy_status: ClassVar[str]
    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str) -> None:
        """Keep what happened to this request; the rest is the class's."""
        self.detail = detail
        super().__init__(f"{self.code}: {detail}")


class DownstreamError(Refused):
    """The client's fault."""

    status = 400
    proxy_status = "http_request_error"


class PolicyError(Refused):
    """What the operator decided."""

    status = 403
    proxy_status = "http_request_denied"


class UpstreamError(Refused):
    """The origin's fault, or that of the way to it."""

    status = 502


class PinError(Refused):
    """A chain that validates but does not meet the pins: a decision of ours about a server that may be an impostor."""

    status = 403
    proxy_status = "tls_certificate_error"

    def __init__(self, detail: str, seen: tuple[str, ...] = (), expected: tuple[str, ...] = ()) -> None:
        """Keep the pins besides the text.

        Args:
            detail: The whole text, pins included.
            seen: Pins of the verified chain, leaf first.
            expected: Pins of the set, in the order of the configuration.
        """
        super().__init__(detail)
        self.seen = seen
        self.expected = expected


class OverloadError(Refused):
    """Ours: no room, or no longer."""

    status = 503
    proxy_status = "connection_limit_reached"


# downstream


class BadRequest(DownstreamError):
    """Bytes that are no request, or one whose meaning two readers could disagree about."""

    code = "bad_request"
    title = "The request is not valid"


class HeadTooLarge(DownstreamError):
    """A request head over `limits.head_bytes`."""

    status = 431
    code = "head_too_large"
    title = "The request head is too large"


class HeadTimeout(DownstreamError):
    """A head or ClientHello that did not arrive within `limits.head_seconds`."""

    status = 408
    code = "head_timeout"
    title = "The request did not arrive in time"


class AuthRequired(DownstreamError):
    """A listener that asks for client authentication, and a client that gave none or the wrong one."""

    status = 407
    proxy_status = "http_request_denied"
    code = "auth_required"
    title = "The proxy asks for authentication"


class SniMismatch(DownstreamError):
    """A ClientHello whose server name is not the host the client asked the proxy for."""

    status = 403
    proxy_status = "http_request_denied"
    code = "sni_mismatch"
    title = "The TLS server name is not the requested host"


class SniMissing(DownstreamError):
    """A ClientHello without a server name where one is needed."""

    status = 403
    proxy_status = "http_request_denied"
    code = "sni_missing"
    title = "The TLS ClientHello names no server"


class NotTls(DownstreamError):
    """Something other than TLS towards a host that is to be verified."""

    status = 403
    proxy_status = "http_request_denied"
    code = "not_tls"
    title = "The connection does not speak TLS"


class ClientHelloInvalid(DownstreamError):
    """A ClientHello that two readers could understand differently: it must not pass even where non-TLS may."""

    code = "client_hello_invalid"
    title = "The TLS ClientHello is not valid"


class DownstreamTlsFailed(DownstreamError):
    """The client broke off its TLS handshake with us, most often because it does not trust the local CA."""

    status = 400
    proxy_status = "tls_alert_received"
    code = "client_tls_failed"
    title = "The client's TLS handshake with the proxy failed"


class ClientClosed(DownstreamError):
    """The client went away before its answer was complete; only the log will read this."""

    status = 499
    code = "client_closed"
    title = "The client closed the connection"


# policy


class HostNotListed(PolicyError):
    """A host without an entry, under `unlisted: deny`."""

    code = "host_not_listed"
    title = "The host is not listed"


class AddressDenied(PolicyError):
    """A destination that is not globally routable, for an unlisted host."""

    proxy_status = "destination_ip_prohibited"
    code = "address_denied"
    title = "The destination address is not allowed"


class LoopDetected(PolicyError):
    """A destination that is this proxy itself."""

    proxy_status = "proxy_loop_detected"
    code = "loop_detected"
    title = "The proxy will not connect to itself"


class Tls13Unverifiable(PolicyError):
    """TLS 1.3 in a tunnel whose host says `tls13: refuse`."""

    code = "tls13_unverifiable"
    title = "A TLS 1.3 tunnel cannot be verified"


# pins


class PinMismatch(PinError):
    """No pin of the set is in the verified chain."""

    code = "pin_mismatch"
    title = "No pin matched the verified chain"


class PinForbidden(PinError):
    """A forbidden pin is in the verified chain."""

    code = "pin_forbidden"
    title = "The verified chain holds a forbidden key"


class PinSetExpired(PinError):
    """The chain matches no pin, and the pin set is past its expiry besides."""

    code = "pin_set_expired"
    title = "The pin set has expired"


class ChainUnavailable(PinError):
    """A handshake that gave no chain to verify, as a resumed session does: nothing to compare is not a match."""

    status = 502
    code = "chain_unavailable"
    title = "The server's certificate chain is unavailable"


# upstream


class ChainInvalid(UpstreamError):
    """A certificate chain that path validation refuses (RFC 5280 §6)."""

    proxy_status = "tls_certificate_error"
    code = "chain_invalid"
    title = "The server's certificate chain is not valid"


class HostnameMismatch(UpstreamError):
    """A certificate for another name (RFC 9525 §6)."""

    proxy_status = "tls_certificate_error"
    code = "hostname_mismatch"
    title = "The server's certificate is for another name"


class CertificateExpired(UpstreamError):
    """A certificate of the chain that is past its end, or not yet valid."""

    proxy_status = "tls_certificate_error"
    code = "certificate_expired"
    title = "The server's certificate is outside its validity"


class TlsVersion(UpstreamError):
    """A server below the host's `min_tls`."""

    proxy_status = "tls_protocol_error"
    code = "tls_version"
    title = "The server's TLS version is too old"


class TlsHandshakeFailed(UpstreamError):
    """Any other failure of the upstream handshake."""

    proxy_status = "tls_protocol_error"
    code = "tls_handshake_failed"
    title = "The TLS handshake with the server failed"


class DnsFailed(UpstreamError):
    """A name that does not resolve."""

    proxy_status = "dns_error"
    code = "dns_failed"
    title = "The server's name does not resolve"


class DialRefused(UpstreamError):
    """A server that refuses the connection or cannot be reached."""

    proxy_status = "connection_refused"
    code = "dial_refused"
    title = "The server refused the connection"


class DialTimeout(UpstreamError):
    """A server that does not answer the connection attempt within `limits.connect_seconds`."""

    status = 504
    proxy_status = "connection_timeout"
    code = "dial_timeout"
    title = "Connecting to the server took too long"


class HandshakeTimeout(UpstreamError):
    """An upstream handshake that took longer than `limits.handshake_seconds`."""

    status = 504
    proxy_status = "connection_timeout"
    code = "handshake_timeout"
    title = "The TLS handshake with the server took too long"


class UpstreamTimeout(UpstreamError):
    """No response head within `limits.response_head_seconds`."""

    status = 504
    proxy_status = "http_response_timeout"
    code = "upstream_timeout"
    title = "The server did not answer in time"


class UpstreamClosed(UpstreamError):
    """A server that closed, reset or answered with something that is no response."""

    proxy_status = "http_response_incomplete"
    code = "upstream_closed"
    title = "The server ended the connection without a valid response"


# ours


class Overloaded(OverloadError):
    """More connections than `limits.connections`."""

    code = "overloaded"
    title = "The proxy has no free connection"


class Draining(OverloadError):
    """Asked for new work after SIGTERM."""

    proxy_status = "destination_unavailable"
    code = "draining"
    title = "The proxy is shutting down"


class InternalError(Refused):
    """A defect of ours: fails closed, and the log has the traceback the client must not see."""

    status = 500
    proxy_status = "proxy_internal_error"
    code = "internal_error"
    title = "The proxy failed"


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
