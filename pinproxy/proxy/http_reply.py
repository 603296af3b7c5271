"""What an HTTP client is told: that its way is open, or in a problem document why a request or a way is refused."""

from __future__ import annotations

from pinproxy.errors import PinError, Refused
from pinproxy.http1.refusal import render_refusal
from pinproxy.proxy.record import Record


class HttpReply:
    """Answers to CONNECT (`proxy.connect.Reply`)."""

    established = b"HTTP/1.1 200 Connection established\r\n\r\n"

    def refusal(self, refusal: Refused, record: Record) -> bytes:
        """Answer with a status, a reason and a problem document."""
        return refusal_bytes(refusal, record)


HTTP = HttpReply()


def refusal_bytes(refusal: Refused, record: Record, *, minor: int = 1, head_only: bool = False) -> bytes:
    """Render a refusal for the client of a record.

    Args:
        refusal: What happened.
        record: Whose id and authority the answer names.
        minor: The client's HTTP version, 0 or 1.
        head_only: The request was a HEAD.
    """
    extra: dict[str, object] = {}
    if isinstance(refusal, PinError) and refusal.expected:
        extra = {"seen": refusal.seen, "expected": refusal.expected, "mismatch_class": refusal.mismatch_class}
    host = str(record.authority) if record.authority is not None else None
    return render_refusal(refusal, connection_id=record.id, host=host, extra=extra, minor=minor, head_only=head_only)
