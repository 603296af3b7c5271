"""The client's fault, or what was decided about its request before anybody was dialled."""

from __future__ import annotations

from pinproxy.errors.base import DownstreamError, PolicyError


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
    """A destination that is this proxy itself, or a request that has passed it before."""

    proxy_status = "proxy_loop_detected"
    code = "loop_detected"
    title = "The way leads back to the proxy"


class Tls13Unverifiable(PolicyError):
    """TLS 1.3 in a tunnel whose host says `tls13: refuse`."""

    code = "tls13_unverifiable"
    title = "A TLS 1.3 tunnel cannot be verified"
