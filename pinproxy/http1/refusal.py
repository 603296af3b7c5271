"""The answer to what does not go on: a status, three fields and a problem document (RFC 9209, RFC 9457)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from pinproxy.errors import Refused

RETRY_AFTER_SECONDS: Final = 5
"""What 503 says when the caller knows no better: longer than a burst, shorter than a restart."""

_CLIENT_CLOSED: Final = 499  # nginx' code for the log; HTTPStatus has no phrase for it
_NOT_AN_ID: Final = re.compile(r"[^0-9A-Za-z._-]")


def render_refusal(
    error: Refused,
    *,
    connection_id: str,
    host: str | None,
    extra: Mapping[str, object] | None = None,
    minor: int = 1,
    head_only: bool = False,
    retry_after: int | None = None,
) -> bytes:
    """Render a refusal as a complete response that also ends the connection.

    Args:
        error: What happened; it carries status, code and detail.
        connection_id: The id that ties log line, response and report together.
        host: The authority asked for, in its canonical form; None where none was understood.
        extra: Further members of the problem document, such as `seen` and `expected`; they replace none of ours.
        minor: The client's HTTP version, 0 or 1.
        head_only: The request was a HEAD: send the head of the answer alone, its Content-Length included.
        retry_after: Seconds until another try makes sense; None for none, but 503 always says some.

    Returns:
        The bytes of the response.
    """
    problem = {
        "type": f"urn:pinproxy:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "id": connection_id,
        "host": host,
    }
    # ASCII with \u escapes: no byte of a client stands in the answer as it was sent, whatever reads it.
    body = json.dumps({**problem, **_further(extra, problem)}, indent=2, default=str).encode("ascii") + b"\n"
    lines = [
        f"HTTP/1.{minor:d} {error.status} {_phrase(error.status)}",
        f'Proxy-Status: pinproxy; error={error.proxy_status}; details="{error.code}"',
        f"X-Pinproxy-Error: {error.code}",
        f"X-Pinproxy-Id: {_NOT_AN_ID.sub('', connection_id)}",
        "Content-Type: application/problem+json",
        "X-Content-Type-Options: nosniff",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if error.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        # > The proxy MUST send a Proxy-Authenticate header field containing a challenge (RFC 9110 §15.5.8)
        lines.append('Proxy-Authenticate: Basic realm="pinproxy"')
    if retry_after is None and error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        retry_after = RETRY_AFTER_SECONDS
    if retry_after is not None:
        lines.append(f"Retry-After: {retry_after:d}")
    head = "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"
    return head if head_only else head + body


def _further(extra: Mapping[str, object] | None, problem: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in (extra or {}).items() if name not in problem}


def _phrase(status: int) -> str:
    return "Client Closed Request" if status == _CLIENT_CLOSED else HTTPStatus(status).phrase
