"""The root of the tree, and what every refusal carries."""

from __future__ import annotations

from typing import ClassVar


class PinproxyError(Exception):
    """Root of everything this package raises on purpose."""


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

    def __init__(
        self, detail: str, seen: tuple[str, ...] = (), expected: tuple[str, ...] = (), mismatch_class: str | None = None
    ) -> None:
        """Keep the pins besides the text.

        Args:
            detail: The whole text, pins included.
            seen: Pins of the verified chain, leaf first.
            expected: Pins of the set, in the order of the configuration.
            mismatch_class: How far from the last good chain this one is (`policy.mismatch`); None: there was no chain.
        """
        super().__init__(detail)
        self.seen = seen
        self.expected = expected
        self.mismatch_class = mismatch_class


class OverloadError(Refused):
    """Ours: no room, or no longer."""

    status = 503
    proxy_status = "connection_limit_reached"
