"""The proxy as its stories see it: the policy in force, the ways to an upstream, who is connected."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pinproxy.authority import Authority
from pinproxy.errors import AuthRequired, HostNotListed, LoopDetected, Refused
from pinproxy.http1.head import RequestHead
from pinproxy.http1.via import OwnName, make_own_name
from pinproxy.limits import Limits
from pinproxy.net.deadlines import Deadlines
from pinproxy.net.local_ca import LocalCa
from pinproxy.net.pipe import PipePool
from pinproxy.net.preflight import Preflights
from pinproxy.net.upstream import Upstream, UpstreamObserver, UpstreamOpener
from pinproxy.net.upstream_pool import UpstreamPool
from pinproxy.policy.rule import DialOverride, HostRule
from pinproxy.proxy.alpn_offers import AlpnOffers
from pinproxy.proxy.client_auth import ClientAuth
from pinproxy.proxy.http_upstream import HttpUpstream
from pinproxy.proxy.live import LiveConnections
from pinproxy.proxy.policy_in_force import PolicyInForce
from pinproxy.proxy.verified_sessions import VerifiedSessions
from pinproxy.report.reporter import Reporter


@dataclass(slots=True)
class Proxy:
    """What the stories share.

    Attributes:
        policy: The policy in force.
        limits: Bounds.
        opener: Opens verified upstream connections.
        pool: Idle upstream connections of origination.
        preflights: Handshakes of our own, made before tunnels.
        sessions: TLS sessions verified on the wire of tunnels.
        pipes: Lent to tunnels for bytes in flight.
        local_ca: Makes the certificates interception shows to clients.
        reporter: Hears of everything that ends.
        clock: The UTC wall clock.
        deadlines: Watches over long-lived connections.
        live: Everybody connected.
        eviction_grace_seconds: How long a tunnel that a reload denies may live on.
        own_name: What we are called in Via.
        client_auth: Knows who may use the proxy; None: nobody is asked.
        is_draining: Whether SIGTERM was seen.
        alpn_offers: What intercepted clients will offer, by what others did.
    """

    policy: PolicyInForce
    limits: Limits
    opener: UpstreamOpener
    pool: UpstreamPool[HttpUpstream]
    preflights: Preflights
    sessions: VerifiedSessions
    pipes: PipePool
    local_ca: LocalCa
    reporter: Reporter
    clock: Callable[[], datetime]
    deadlines: Deadlines
    live: LiveConnections
    eviction_grace_seconds: float = 0.0
    own_name: OwnName = field(default_factory=lambda: make_own_name(os.urandom(8)))
    client_auth: ClientAuth | None = None
    is_draining: bool = False
    alpn_offers: AlpnOffers = field(default_factory=AlpnOffers)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _id_prefix: str = field(default_factory=lambda: os.urandom(5).hex())
    _id_counter: itertools.count[int] = field(default_factory=itertools.count)

    def next_id(self) -> str:
        """Make the id of a connection or request: unique, and in the order of their beginnings within a process."""
        return f"{self._id_prefix}-{next(self._id_counter):x}"

    def refuse_loop(self, head: RequestHead) -> None:
        """Refuse a request that has passed us before: two proxies that name each other would pass it round for ever.

        Raises:
            LoopDetected: It has.
        """
        if self.own_name.has_seen(head):
            raise LoopDetected("the request has passed this proxy already, as its Via field says: another proxy led it back")

    def refuse_removed_user(self, user: str | None) -> None:
        """Refuse who came in as a user whom a reload has taken away since; None: nobody was asked.

        Raises:
            AuthRequired: It has.
        """
        if user is not None and self.client_auth is not None and not self.client_auth.knows(user):
            raise AuthRequired(f"{user} is no user of the proxy any more (`client_auth`)")

    def spawn(
        self, story: Coroutine[Any, Any, None], ended: Callable[[asyncio.Task[None]], None] | None = None
    ) -> asyncio.Task[None]:
        """Run a story as a task that is kept alive until it ends.

        Args:
            story: What to run.
            ended: Called at the end, and then to call `forget`; None: nobody is.
        """
        task = asyncio.get_running_loop().create_task(story)
        self._tasks.add(task)
        task.add_done_callback(ended or self.forget)
        return task

    def forget(self, task: asyncio.Task[None]) -> None:
        """Keep a task alive no longer."""
        self._tasks.discard(task)

    async def open_upstream(
        self,
        authority: Authority,
        rule: HostRule,
        alpn: tuple[str, ...],
        observer: UpstreamObserver,
        dial: DialOverride | None = None,
    ) -> Upstream:
        """Open a verified connection under the rule that is in force when it is ready, not when it was begun.

        Raises:
            Refused: Whatever stands in the way; `HostNotListed` where a reload has taken the host away meanwhile.
        """
        return await self._under_rule_in_force(
            authority, rule, lambda current: self.opener.open(authority, current, alpn, observer, dial)
        )

    async def preflight(
        self, authority: Authority, rule: HostRule, observer: UpstreamObserver, dial: DialOverride | None = None
    ) -> Upstream:
        """Find a preflight, or make one, likewise under the rule that is in force when it is ready.

        Raises:
            Refused: As `open_upstream`.
        """
        return await self._under_rule_in_force(
            authority, rule, lambda current: self.preflights.get(authority, current, observer, dial)
        )

    async def _under_rule_in_force(
        self, authority: Authority, rule: HostRule, verify: Callable[[HostRule], Awaitable[Upstream]]
    ) -> Upstream:
        while True:
            try:
                upstream = await verify(rule)
            except Refused:
                current = self.policy.rule_still_for(authority)
                if current is rule:
                    raise
            else:
                try:
                    current = self.policy.rule_still_for(authority)
                except HostNotListed:
                    upstream.sock.close()
                    raise
                if current is rule:
                    return upstream
                upstream.sock.close()
            # A reload came in between: what the old rule says, for or against, counts for nobody.
            rule = current

    def keep(self, connection: HttpUpstream) -> None:
        """Keep an idle connection for the next request, if it was verified under the rule now in force."""
        self.pool.put(connection, self.policy.table.lookup(connection.authority))

    async def end_stories(self) -> None:
        """Cancel every story, and wait until each has ended and every transport that was closed has said so."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(list(self._tasks))
        await self.live.wait_empty()

    def report_defect(self, what: str, error: BaseException, connection_id: str) -> None:
        """Log a defect of ours with its traceback; clients only ever see `internal_error` and the id."""
        message = f"{what} (id {connection_id})"
        asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
