"""The admin HTTP server, on aiohttp. Imported only where `admin` is on: aiohttp and prometheus-client cost a third of a second.

Rules of this file:
- Nothing changes state; anything but GET and HEAD is refused.
- A page of another site must not read this through a name that it makes resolve to us: the Host field must be an address,
  `localhost` or a name the operator gave (DNS rebinding; CVE-2025-23217).
- No page asks for anything from elsewhere, runs a script, or may be framed or cached.
- Whoever is connected has a descriptor that the data path lacks, and aiohttp waits for a head for as long as its client likes. So
  there is room for a few, and whoever has been silent the longest makes room for the next.
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
from pinproxy.admin.lean_aiohttp import web
from pinproxy.admin.status_page import STYLE, render_status_page
from pinproxy.admin.view import AdminView, check_readiness
from pinproxy.authority import Authority, parse_authority
from pinproxy.errors import BadRequest
from pinproxy.net.collector import collector_at_rest
from pinproxy.report.exposition import Exposition
from pinproxy.report.observations_file import dump_observations

_Rendered = TypeVar("_Rendered")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode("ascii")
# > CSP Level 3 §2.3.1: a hash-source allows the one inline element whose content it is the digest of.
_FIELDS = {
    "Server": "pinproxy",  # aiohttp would name its version and Python's
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_IDLE_SECONDS = 75.0
_VISITORS = 64
"""Connections at once: a scraper, some probes and a few people have one or two each."""


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
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._heard: dict[asyncio.BaseProtocol, float] = {}

    async def start(self) -> Authority:
        """Listen.

        Returns:
            The address bound, with the port the system chose.

        Raises:
            OSError: The address cannot be bound.
        """
        application = web.Application(middlewares=[self._guard])
        application.on_response_prepare.append(_add_fields)
        application.add_routes(
            [
                web.get("/", self._show_page),
                web.get("/livez", _answer_livez),
                web.get("/readyz", self._answer_readyz),
                web.get("/metrics", self._show_metrics),
                web.get("/ca.pem", self._give_ca),
                web.get("/api/hosts", self._list_hosts),
                web.get("/api/observations", self._list_observations),
            ]
        )
        runner = web.AppRunner(application, access_log=None, keepalive_timeout=_IDLE_SECONDS, shutdown_timeout=1.0)
        await runner.setup()
        server = runner.server
        assert server is not None  # noqa: S101 - `setup` made it; for the type checker
        loop = asyncio.get_running_loop()
        try:
            listening = await loop.create_server(lambda: self._welcome(server), self._address.host, self._address.port)
        except BaseException:
            await runner.cleanup()
            raise
        self._runner, self._listening = runner, listening
        host, port = listening.sockets[0].getsockname()[:2]
        return Authority(host, port)

    async def stop(self) -> None:
        """Stop listening and close what is open; does nothing where it is not running."""
        runner, self._runner = self._runner, None
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()
        if runner is not None:
            await runner.cleanup()

    def _welcome(self, server: web.Server) -> asyncio.BaseProtocol:
        """Take in a connection; at the bound, the one that has been silent the longest goes, those first that never asked."""
        transports = {visitor: visitor.transport for visitor in server.connections}
        here = {visitor: way for visitor, way in transports.items() if way is not None and not way.is_closing()}
        self._heard = {visitor: self._heard.get(visitor, 0.0) for visitor in here}
        if len(here) >= _VISITORS:
            # Cut, for one that reads nothing would keep its descriptor until it has read the rest.
            here[min(here, key=self._heard.__getitem__)].abort()
        return server()

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        self._heard[request.protocol] = asyncio.get_running_loop().time()
        # aiohttp's `request.host` invents a name where there is no field, so the field itself is read. Two are none.
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            # > RFC 9110 §15.5.20: … unable or unwilling to produce an authoritative response for the target URI.
            return web.Response(status=421, text="Host names somebody else; expected an IP address or localhost\n")
        if request.method not in {"GET", "HEAD"}:
            # > RFC 9110 §15.5.6: The origin server MUST generate an Allow header field in a 405 response
            return web.Response(status=405, text="this is for reading only\n", headers={"Allow": "GET, HEAD"})
        try:
            return await handler(request)
        except web.HTTPNotFound:
            there = "/, /livez, /readyz, /metrics, /ca.pem, /api/hosts and /api/observations"
            return web.Response(status=404, text=f"there is {there}\n")

    def _is_ours(self, host: str) -> bool:
        try:
            authority = parse_authority(host, default_port=80)
        except BadRequest:
            return False
        return authority.is_ip_address or authority.host in self._names

    async def _show_page(self, _request: web.Request) -> web.Response:
        page = await _aside(lambda: render_status_page(self._view, datetime.now(UTC)))
        return web.Response(text=page, content_type="text/html", charset="utf-8")

    async def _answer_readyz(self, _request: web.Request) -> web.Response:
        readiness = check_readiness(self._view)
        body = {"status": "ready" if readiness.is_ready else "not ready", "checks": readiness.checks}
        return web.json_response(body, status=200 if readiness.is_ready else 503)

    async def _show_metrics(self, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        body, content_type = await _aside(lambda: self._exposition.render(accept))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _give_ca(self, _request: web.Request) -> web.Response:
        pem = self._view.ca_pem()
        if pem is None:
            return web.Response(status=404, text="there is no local CA: no host is intercepted\n")
        return web.Response(body=pem, headers={"Content-Type": "application/x-pem-file"})

    async def _list_hosts(self, _request: web.Request) -> web.Response:
        return web.json_response(text=await _aside(lambda: json.dumps(describe_hosts(self._view, datetime.now(UTC)))))

    async def _list_observations(self, _request: web.Request) -> web.Response:
        body = await dump_observations(self._view.observations, datetime.now(UTC))
        return web.Response(body=body, headers={"Content-Type": "application/json; charset=utf-8"})


async def _aside(render: Callable[[], _Rendered]) -> _Rendered:
    """Render in a thread: what holds every rule takes seconds with ten thousand of them, and traffic must not wait for it."""

    def render_at_rest() -> _Rendered:
        with collector_at_rest():
            return render()

    return await asyncio.to_thread(render_at_rest)


async def _answer_livez(_request: web.Request) -> web.Response:
    # That the loop got here is the whole check: a stricter one would kill a proxy that is still carrying traffic.
    return web.json_response({"status": "live"})


async def _add_fields(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_FIELDS)
