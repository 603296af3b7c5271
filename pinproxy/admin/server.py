"""The admin HTTP server. Imported only where `admin` is on: prometheus-client and the page cost start-up time.

Rules of this file:
- Nothing changes state; anything but GET and HEAD is refused.
- A page of another site must not read this through a name that it makes resolve to us: the Host field must be an address,
  `localhost` or a name the operator gave (DNS rebinding; CVE-2025-23217).
- No page asks for anything from elsewhere, runs a script, or may be framed or cached.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from pinproxy.admin.hosts_json import describe_hosts
from pinproxy.admin.http import Answer, HttpServer
from pinproxy.admin.status_page import STYLE, render_status_page
from pinproxy.admin.view import AdminView, check_readiness
from pinproxy.authority import Authority, parse_authority
from pinproxy.errors import BadRequest
from pinproxy.http1.head import RequestHead
from pinproxy.http1.target import request_target
from pinproxy.net.quiet import collector_at_rest
from pinproxy.report.exposition import Exposition
from pinproxy.report.observations_file import dump_observations

_Rendered = TypeVar("_Rendered")
_Handler = Callable[[RequestHead], Awaitable[Answer]]
_JSON = "application/json; charset=utf-8"

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode("ascii")
# > CSP Level 3 §2.3.1: a hash-source allows the one inline element whose content it is the digest of.
_FIELDS = {
    "Server": "pinproxy",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class AdminServer:
    """Serves `/livez`, `/readyz`, `/metrics`, `/ca.pem`, `/api/hosts`, `/api/observations` and, at `/`, the status page."""

    def __init__(self, address: Authority, view: AdminView, names: frozenset[str] = frozenset()) -> None:
        """Lay out the routes; nothing listens yet.

        Args:
            address: Where to listen; port 0 asks the system for one.
            view: What may be seen.
            names: Canonical host names, besides `localhost`, that a request may be addressed to, such as a Kubernetes service's.
        """
        self._address = address
        self._view = view
        self._names = names | {"localhost"}
        self._exposition = Exposition(view.metrics, view.book)
        self._pages: dict[bytes, _Handler] = {
            b"/": self._show_page,
            b"/livez": _answer_livez,
            b"/readyz": self._answer_readyz,
            b"/metrics": self._show_metrics,
            b"/ca.pem": self._give_ca,
            b"/api/hosts": self._list_hosts,
            b"/api/observations": self._list_observations,
        }
        self._http = HttpServer(self._answer, _FIELDS)

    async def start(self) -> Authority:
        """Listen.

        Returns:
            The address bound, with the port the system chose.

        Raises:
            OSError: The address cannot be bound.
        """
        return await self._http.start(self._address)

    async def stop(self) -> None:
        """Stop listening and close what is open; does nothing where it is not running."""
        await self._http.stop()

    async def _answer(self, request: RequestHead) -> Answer:
        if not self._is_ours(request.get(b"host") or b""):
            # > RFC 9110 §15.5.20: … unable or unwilling to produce an authoritative response for the target URI.
            return Answer(b"Host names somebody else; expected an IP address or localhost\n", status=421)
        if request.method not in {b"GET", b"HEAD"}:
            # > RFC 9110 §15.5.6: The origin server MUST generate an Allow header field in a 405 response
            return Answer(b"this is for reading only\n", status=405, allow="GET, HEAD")
        try:
            path = request_target(request).path.partition(b"?")[0]
        except BadRequest as refusal:
            return Answer(f"{refusal.detail}\n".encode(), status=refusal.status)
        page = self._pages.get(path)
        if page is None:
            there = "/, /livez, /readyz, /metrics, /ca.pem, /api/hosts and /api/observations"
            return Answer(f"there is {there}\n".encode(), status=404)
        return await page(request)

    def _is_ours(self, host: bytes) -> bool:
        try:
            authority = parse_authority(host.decode("ascii"), default_port=80)
        except (BadRequest, UnicodeDecodeError):
            return False
        return authority.is_ip_address or authority.host in self._names

    async def _show_page(self, _request: RequestHead) -> Answer:
        page = await _aside(lambda: render_status_page(self._view, datetime.now(UTC)))
        return Answer(page.encode("utf-8"), "text/html; charset=utf-8")

    async def _answer_readyz(self, _request: RequestHead) -> Answer:
        readiness = check_readiness(self._view)
        body = {"status": "ready" if readiness.is_ready else "not ready", "checks": readiness.checks}
        return _json(body, 200 if readiness.is_ready else 503)

    async def _show_metrics(self, request: RequestHead) -> Answer:
        accept = b", ".join(request.get_all(b"accept")).decode("latin-1")
        body, content_type = await _aside(lambda: self._exposition.render(accept))
        return Answer(body, content_type)

    async def _give_ca(self, _request: RequestHead) -> Answer:
        pem = self._view.ca_pem()
        if pem is None:
            return Answer(b"there is no local CA: no host is intercepted\n", status=404)
        return Answer(pem, "application/x-pem-file")

    async def _list_hosts(self, _request: RequestHead) -> Answer:
        text = await _aside(lambda: json.dumps(describe_hosts(self._view, datetime.now(UTC))))
        return Answer(text.encode("ascii"), _JSON)

    async def _list_observations(self, _request: RequestHead) -> Answer:
        return Answer(await dump_observations(self._view.observations, datetime.now(UTC)), _JSON)


async def _aside(render: Callable[[], _Rendered]) -> _Rendered:
    """Render in a thread: what holds every rule takes seconds with ten thousand of them, and traffic must not wait for it."""

    def render_at_rest() -> _Rendered:
        with collector_at_rest():
            return render()

    return await asyncio.to_thread(render_at_rest)


def _json(value: object, status: int = 200) -> Answer:
    return Answer(json.dumps(value).encode("ascii"), _JSON, status)


async def _answer_livez(_request: RequestHead) -> Answer:
    # That the loop got here is the whole check: a stricter one would kill a proxy that is still carrying traffic.
    return _json({"status": "live"})
