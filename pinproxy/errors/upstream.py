"""The origin's fault, that of the way to it, and what the pins say of its chain."""

from __future__ import annotations

from pinproxy.errors.base import PinError, UpstreamError


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


class UpstreamProxyRefused(UpstreamError):
    """A proxy between us and the server that does not open the way."""

    proxy_status = "connection_refused"
    code = "upstream_proxy_refused"
    title = "The upstream proxy did not open the way"


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
