"""Ours: no room, no longer, or a defect."""

from __future__ import annotations

from pinproxy.errors.base import OverloadError, Refused


class Overloaded(OverloadError):
    """More connections than `limits.connections`, or than there are descriptors for."""

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
