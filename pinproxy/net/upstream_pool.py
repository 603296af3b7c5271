"""Idle upstream connections, kept for the next request to the same authority under the very same rule."""

from __future__ import annotations

import asyncio
from typing import Generic, Protocol, TypeVar

from pinproxy.authority import Authority
from pinproxy.limits import Limits
from pinproxy.net.deadlines import Deadlines, Expiring
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable


class Poolable(Expiring, Protocol):
    """A connection that can wait for another request.

    Attributes:
        authority: Where it leads.
        rule: The rule it was verified under; None: a plain connection to an unlisted host.
    """

    authority: Authority
    rule: HostRule | None

    def close(self) -> None:
        """Close it; nothing is in flight."""


_IN_USE = float("inf")
"""As a deadline: a connection in use has none here, and is not taken off the watch just to be put back on it."""

ConnectionT = TypeVar("ConnectionT", bound=Poolable)


class UpstreamPool(Generic[ConnectionT]):
    """The idle connections. The most recently used one is taken first, so that the others can grow old and go."""

    def __init__(self, limits: Limits, deadlines: Deadlines) -> None:
        """Start empty."""
        self._limits = limits
        self._deadlines = deadlines
        self._idle: dict[Authority, list[ConnectionT]] = {}

    def take(self, authority: Authority, rule: HostRule | None) -> ConnectionT | None:
        """Take an idle connection that was verified under this rule, or None.

        The rule is compared by identity: what was verified under replaced pins is never handed out (`retire` renews the
        identity of rules that a reload left as they were).
        """
        while idle := self._idle.get(authority):
            connection = idle.pop()
            if not idle:
                del self._idle[authority]
            if connection.rule is rule:
                connection.deadline = _IN_USE
                return connection
            self._deadlines.discard(connection)
            connection.close()
        return None

    def put(self, connection: ConnectionT, current_rule: HostRule | None) -> None:
        """Keep a connection for later, or close it: too many, or its rule is no longer the one in force."""
        idle = self._idle.get(connection.authority)
        if connection.rule is not current_rule or (len(idle) if idle else 0) >= self._limits.pool_idle_connections:
            connection.close()
            return
        connection.deadline = asyncio.get_running_loop().time() + self._limits.pool_idle_seconds
        self._deadlines.add(connection)
        if idle is None:
            self._idle[connection.authority] = [connection]
        else:
            idle.append(connection)

    def remove(self, connection: ConnectionT) -> None:
        """Forget a connection that has closed; unknown ones are fine."""
        self._deadlines.discard(connection)
        idle = self._idle.get(connection.authority)
        if idle and connection in idle:
            idle.remove(connection)
            if not idle:
                del self._idle[connection.authority]

    def retire(self, table: PolicyTable) -> None:
        """Close what the table now in force would have verified otherwise; the rest goes over to its rules."""
        for authority, idle in list(self._idle.items()):
            rule = table.lookup(authority)
            for connection in list(idle):
                if connection.rule == rule:
                    connection.rule = rule
                else:
                    self.remove(connection)
                    connection.close()

    def close(self) -> None:
        """Close every idle connection."""
        for idle in list(self._idle.values()):
            for connection in list(idle):
                self.remove(connection)
                connection.close()

    def __len__(self) -> int:
        """Count the idle connections."""
        return sum(map(len, self._idle.values()))
