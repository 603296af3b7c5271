"""Who is connected: for the limit, for the drain, and for pins that change under an open connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from pinproxy.authority import Authority
from pinproxy.errors import HostNotListed, Refused
from pinproxy.net.upstream import Upstream
from pinproxy.policy.mismatch import Recall, recall_nothing
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable
from pinproxy.policy.verdict import Decision, judge_pins
from pinproxy.proxy.policy_in_force import PolicyInForce


class Carrying(Protocol):
    """Something that carries a client's traffic now."""

    def drain(self) -> None:
        """Finish what is in flight, and take nothing new."""

    def abort(self) -> None:
        """End now."""

    def review(self, table: PolicyTable, now: datetime) -> None:
        """End if the table now in force would not have let this begin."""


class Outliving(Protocol):
    """Something in front of a client's story that lives a little longer."""

    def end(self, ended: Callable[[], None]) -> None:
        """Hear that the story is over; `ended` is to be called when this is over too. Told twice, it calls twice."""


class Slot:
    """One accepted client, from the accept to the end of whatever carries it.

    Attributes:
        task: The client's story.
        carrying: What carries its traffic now.
        outlived_by: What keeps the room after the story has given it up; None: nothing does.
    """

    def __init__(self, live: LiveConnections) -> None:
        """Take up room among the live connections."""
        self._live = live
        self.task: asyncio.Task[None] | None = None
        self.carrying: Carrying | None = None
        self.outlived_by: Outliving | None = None

    def release(self) -> None:
        """Give up the room; twice is fine."""
        if self.outlived_by is None:
            self._live.remove(self)
        else:
            self.outlived_by.end(lambda: self._live.remove(self))

    def drain(self) -> None:
        """Pass on the wish; a client that is still being read or dialled for goes on."""
        if self.carrying is not None:
            self.carrying.drain()

    def abort(self) -> None:
        """End now, whatever the client is at."""
        if self.carrying is not None:
            self.carrying.abort()
        if self.task is not None:
            self.task.cancel()


class LiveConnections:
    """Every accepted client."""

    def __init__(self, opened: Callable[[], None], closed: Callable[[], None]) -> None:
        """Start with none; the callbacks hear of each client that comes and goes."""
        self._opened = opened
        self._closed = closed
        self._slots: set[Slot] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        """Count the accepted clients."""
        return len(self._slots)

    def add(self) -> Slot:
        """Make room for a client."""
        slot = Slot(self)
        self._slots.add(slot)
        self._opened()
        self._empty.clear()
        return slot

    def remove(self, slot: Slot) -> None:
        """Free a client's room."""
        if slot not in self._slots:
            return
        self._slots.remove(slot)
        self._closed()
        if not self._slots:
            self._empty.set()

    async def wait_empty(self) -> None:
        """Wait until nobody is connected."""
        await self._empty.wait()

    def drain(self) -> None:
        """Let everything finish what is in flight."""
        for slot in list(self._slots):
            slot.drain()

    def abort(self) -> None:
        """End everything now."""
        for slot in list(self._slots):
            slot.abort()

    def review(self, table: PolicyTable, now: datetime) -> None:
        """Hold every open connection against a new table."""
        for slot in list(self._slots):
            if slot.carrying is not None:
                slot.carrying.review(table, now)


class Relaying(Protocol):
    """Carries bytes both ways between two sockets that it owns.

    Attributes:
        done: Set when both are closed; its result is the upstream's error, None for an orderly end.
    """

    done: asyncio.Future[BaseException | None]

    @property
    def bytes_up(self) -> int:
        """Bytes from the client to upstream."""

    @property
    def bytes_down(self) -> int:
        """Bytes from upstream to the client."""

    @property
    def has_client_ended(self) -> bool:
        """Whether the client has ended its direction."""

    def abort(self) -> None:
        """Cut both ends."""


class Tunnel:
    """A relay with the verification it rests on; ends when a new table would deny it.

    Attributes:
        refusal: Why the tunnel was ended before its peers ended it; None: it was not.
    """

    def __init__(
        self,
        relay: Relaying,
        authority: Authority,
        upstream: Upstream | None,
        eviction_grace_seconds: float,
        named: Authority | None = None,
        recall: Recall = recall_nothing,
    ) -> None:
        """Watch over a relay.

        Args:
            relay: What to end.
            authority: Where it leads.
            upstream: The verified connection; None: plain TCP to an unlisted host.
            eviction_grace_seconds: Between a table that denies it and its end.
            named: The host that the ClientHello of a blind tunnel named, which was unlisted too.
            recall: Knows the last good chains, for the class of a mismatch.
        """
        self._relay = relay
        self._authority = authority
        self._named = named
        self._recall = recall
        self._upstream = upstream
        self._rule = upstream.rule if upstream is not None else None
        self._grace_seconds = eviction_grace_seconds
        self._eviction: asyncio.TimerHandle | None = None
        self.refusal: Refused | None = None

    def drain(self) -> None:
        """Go on: a tunnel has no request boundary to stop at; the end of the drain ends it."""

    def abort(self) -> None:
        """Cut both ends."""
        self._relay.abort()

    def review(self, table: PolicyTable, now: datetime) -> None:
        """End, after the grace, if the new table would deny this connection; one that allows it in time calls the end off."""
        try:
            rule = PolicyInForce(table).rule_for(self._authority)
            if rule is None and self._named is not None:
                rule = PolicyInForce(table).rule_for(self._named)
            self.refusal = self._denial(rule, now)
        except HostNotListed as refusal:
            self.refusal = refusal
        else:
            if self.refusal is None:
                self._rule = rule
        if self.refusal is None:
            self._call_off()
        elif not self._grace_seconds:
            self._relay.abort()
        elif self._eviction is None:
            self._eviction = asyncio.get_running_loop().call_later(self._grace_seconds, self._relay.abort)
            self._relay.done.add_done_callback(self._call_off)

    def _call_off(self, _done: object = None) -> None:
        if self._eviction is not None:
            self._eviction.cancel()
            self._eviction = None

    def _denial(self, rule: HostRule | None, now: datetime) -> Refused | None:
        if rule == self._rule:
            return None
        if rule is None:
            return HostNotListed(f"{self._authority} is no longer listed")
        if self._upstream is None or self._rule is None or not rule.verifies_like(self._rule):
            return HostNotListed(f"{self._authority} is now verified in another way; a new connection will be")
        last_good = self._recall(self._authority)
        judgement = judge_pins(self._upstream.verified.chain, rule, self._authority, now, last_good)
        return judgement.refusal if judgement.decision is Decision.DENY else None
