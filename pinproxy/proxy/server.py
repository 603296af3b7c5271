"""The proxy on its ports: bound, accepting, its policy swapped, drained."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from pinproxy.authority import Authority
from pinproxy.limits import Limits
from pinproxy.net.deadlines import Deadlines
from pinproxy.net.dial import Dialler, Resolver, resolve_with_system
from pinproxy.net.listener import ListenAddress, Listener
from pinproxy.net.local_ca import LocalCa
from pinproxy.net.own_addresses import OwnAddresses
from pinproxy.net.pipe import PipePool
from pinproxy.net.preflight import Preflights
from pinproxy.net.unix_socket import UnixAddress
from pinproxy.net.upstream import UpstreamOpener
from pinproxy.net.upstream_pool import UpstreamPool
from pinproxy.net.upstream_proxy import UpstreamProxy
from pinproxy.policy.password_hash import PasswordHash
from pinproxy.policy.table import PolicyTable
from pinproxy.proxy.client_auth import ClientAuth
from pinproxy.proxy.connection import serve_proxy_client
from pinproxy.proxy.http_reply import HTTP
from pinproxy.proxy.live import LiveConnections
from pinproxy.proxy.policy_in_force import PolicyInForce
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.route import NO_WORDS, Route, serve_http_route, serve_tcp_route
from pinproxy.proxy.tls_front import ALERT, behind_tls
from pinproxy.proxy.verified_sessions import VerifiedSessions
from pinproxy.proxy.visit import Story, accept
from pinproxy.report.reporter import Reporter


class Server:
    """Everything between the listeners and the upstreams. Belongs to the running event loop.

    Attributes:
        addresses: The TCP addresses bound, in the order of `listen`.
        sockets: The UNIX sockets bound, in the order of `listen`.
        route_addresses: What is bound for each route, in their order.
    """

    def __init__(
        self,
        *,
        listen: tuple[ListenAddress, ...],
        routes: tuple[Route, ...] = (),
        table: PolicyTable,
        limits: Limits,
        local_ca: LocalCa,
        reporter: Reporter,
        clock: Callable[[], datetime],
        eviction_grace_seconds: float = 0.0,
        preflight_ttl_seconds: float = 60.0,
        resolver: Resolver = resolve_with_system,
        upstream_proxy: UpstreamProxy | None = None,
    ) -> None:
        """Put the parts together; nothing is bound yet.

        Args:
            listen: Addresses to accept on; port 0 lets the kernel choose.
            routes: Ports of their own that lead to one authority each.
            table: The rules to begin with.
            limits: Bounds, for the life of the server.
            local_ca: For interception.
            reporter: Hears of everything that ends.
            clock: The UTC wall clock.
            eviction_grace_seconds: How long a tunnel that a reload denies may live on.
            preflight_ttl_seconds: How long a tunnel may rest on a preflight made for another.
            resolver: How names become addresses.
            upstream_proxy: The proxy between us and the world; None: there is none.
        """
        self.addresses: tuple[Authority, ...] = ()
        self.sockets: tuple[UnixAddress, ...] = ()
        self.route_addresses: tuple[ListenAddress, ...] = ()
        self._own_addresses = OwnAddresses()
        deadlines = Deadlines()
        dialler = Dialler(limits, self._own_addresses, resolver, upstream_proxy)
        opener = UpstreamOpener(dialler, limits, clock, reporter.last_good)
        self._proxy = Proxy(
            policy=PolicyInForce(table),
            limits=limits,
            opener=opener,
            pool=UpstreamPool(limits, deadlines),
            preflights=Preflights(opener, preflight_ttl_seconds),
            sessions=VerifiedSessions(),
            pipes=PipePool(),
            local_ca=local_ca,
            reporter=reporter,
            clock=clock,
            deadlines=deadlines,
            live=LiveConnections(reporter.connection_opened, reporter.connection_closed),
            eviction_grace_seconds=eviction_grace_seconds,
        )
        self._listeners = tuple(Listener(address, self._accepted) for address in listen)
        self._route_listeners = tuple(Listener(route.listen, partial(self._accepted_on_route, route)) for route in routes)
        self._is_listening = False
        self._tls_story: Story | None = None

    @property
    def is_listening(self) -> bool:
        """Whether clients are accepted."""
        return self._is_listening

    @property
    def is_draining(self) -> bool:
        """Whether the end has begun."""
        return self._proxy.is_draining

    def start(self) -> None:
        """Bind every address, then accept on all of them.

        Raises:
            SettingsError: An address cannot be bound; none is left open.
        """
        try:
            bound = [listener.bind() for listener in self._listeners]
            self.route_addresses = tuple(listener.bind() for listener in self._route_listeners)
        except BaseException:
            self._stop_listening()
            raise
        self.addresses = tuple(address for address in bound if isinstance(address, Authority))
        self.sockets = tuple(address for address in bound if isinstance(address, UnixAddress))
        for address in (*bound, *self.route_addresses):
            if isinstance(address, Authority):
                self.never_dial(address)
        for listener in (*self._listeners, *self._route_listeners):
            listener.start()
        self._is_listening = True

    def never_dial(self, address: Authority) -> None:
        """Add an address of this process that no client may be led to, such as the admin server's."""
        self._own_addresses.add(address.host, address.port)

    def speak_tls(self, context: ssl.SSLContext | None) -> None:
        """Speak TLS with the clients of the TCP addresses of `listen`, from their next connection on.

        Args:
            context: From `tls_front.front_context`; None: they are in clear.
        """
        self._tls_story = behind_tls(context, HTTP, serve_proxy_client) if context is not None else None

    def ask_clients(self, users: Mapping[str, PasswordHash]) -> None:
        """Ask clients who they are, from their next request on; tunnels of users who are gone are closed after the grace.

        Args:
            users: Hashes of passwords by user; empty: nobody is asked.
        """
        self._proxy.client_auth = ClientAuth(users) if users else None
        self._proxy.live.review()

    def swap(self, table: PolicyTable) -> None:
        """Put a new table in force, whole and at once.

        Requests that begin from now on meet the new rules; TLS sessions are forgotten; idle connections that were verified under
        replaced rules are closed; open tunnels that the new ones would deny are closed after the eviction grace.
        """
        self._proxy.policy.table = table
        self._proxy.opener.forget_sessions()
        self._proxy.pool.retire(table)
        self._proxy.live.review()

    async def drain(self) -> None:
        """Stop accepting, let what is in flight finish, and end the rest at the deadline (`limits.drain_seconds`)."""
        self._stop_listening()
        self._proxy.is_draining = True
        self._proxy.pool.close()
        self._proxy.live.drain()
        try:
            async with asyncio.timeout(self._proxy.limits.drain_seconds):
                await self._proxy.live.wait_empty()
        except TimeoutError:
            pass
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End everything now, and wait until it has ended."""
        self._stop_listening()
        self._proxy.is_draining = True
        self._proxy.live.abort()
        await self._proxy.end_stories()
        self._proxy.pool.close()
        await self._proxy.preflights.stop()
        self._proxy.pipes.close()
        self._proxy.deadlines.close()

    def _stop_listening(self) -> None:
        self._is_listening = False
        for listener in (*self._listeners, *self._route_listeners):
            listener.close()

    def _accepted(self, client: socket.socket, name: str) -> None:
        if self._tls_story is not None and client.family != socket.AF_UNIX:
            accept(client, name, self._proxy, ALERT, self._tls_story)
        else:
            accept(client, name, self._proxy, HTTP, serve_proxy_client)

    def _accepted_on_route(self, route: Route, client: socket.socket, name: str) -> None:
        if route.protocol == "http":
            accept(client, name, self._proxy, HTTP, partial(serve_http_route, route=route))
        else:
            accept(client, name, self._proxy, NO_WORDS, partial(serve_tcp_route, route=route))
