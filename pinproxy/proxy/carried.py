"""A client's traffic once a relay carries it: held against every new policy, and told to the record when it ends.

The story that opened the way has ended by then, and its task with it: an idle tunnel is two sockets, a relay, and this.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from pinproxy.authority import Authority
from pinproxy.errors import AuthRequired, Draining, HostNotListed, Refused, UpstreamClosed
from pinproxy.net.upstream import Upstream
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import Decision, judge_pins
from pinproxy.proxy.live import Slot
from pinproxy.proxy.policy_in_force import no_longer_listed, verified_otherwise
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record


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


class Carried:
    """A relay with the verification it rests on; ends when the policy in force would deny it."""

    __slots__ = ("_authority", "_eviction", "_named", "_proxy", "_record", "_refusal", "_relay", "_rule", "_slot", "_upstream")

    def __init__(
        self,
        relay: Relaying,
        authority: Authority,
        upstream: Upstream | None,
        proxy: Proxy,
        slot: Slot,
        record: Record,
        named: Authority | None = None,
    ) -> None:
        """Take charge; `begin` tells the others.

        Args:
            relay: Carries the bytes.
            authority: Where it leads.
            upstream: The verified connection; None: plain TCP to an unlisted host.
            proxy: What the stories share.
            slot: The client's place among the live connections, given up at the end.
            record: Told at the end.
            named: The host that the ClientHello of a blind tunnel named, which was unlisted too.
        """
        self._relay = relay
        self._authority = authority
        self._named = named
        self._upstream = upstream
        self._rule = upstream.rule if upstream is not None else None
        self._proxy = proxy
        self._slot = slot
        self._record = record
        self._eviction: asyncio.TimerHandle | None = None
        self._refusal: Refused | None = None

    def begin(self) -> None:
        """Take over from the story."""
        self._slot.carrying, self._slot.task = self, None
        self._relay.done.add_done_callback(self._ended)
        try:
            # A reload may have come in during the handshake, when there was nothing to review yet.
            if self._slot.has_missed_review:
                self.review()
        except BaseException:
            # A relay that nobody watches over must not go on, nor its sockets be closed under it.
            self._relay.abort()
            raise

    def drain(self) -> None:
        """Go on: a tunnel has no request boundary to stop at; the end of the drain ends it."""

    def abort(self) -> None:
        """Cut both ends."""
        if not self._relay.done.done():
            self._refusal = Draining("the proxy ended before the connection did")
            self._relay.abort()

    def review(self) -> None:
        """End, after the grace, if the policy would deny this connection; one that allows it in time calls the end off."""
        self._refusal = self._denial()
        if self._refusal is None:
            self._call_off()
        elif not self._proxy.eviction_grace_seconds:
            self._relay.abort()
        elif self._eviction is None:
            self._eviction = asyncio.get_running_loop().call_later(self._proxy.eviction_grace_seconds, self._relay.abort)

    def _denial(self) -> Refused | None:
        try:
            self._proxy.refuse_removed_user(self._record.user)
            rule = self._proxy.policy.rule_for(self._authority)
            if rule is None and self._named is not None:
                rule = self._proxy.policy.rule_for(self._named)
            refusal = self._denial_by(rule)
        except (AuthRequired, HostNotListed) as refused:
            return refused
        if refusal is None:
            self._rule = rule
        return refusal

    def _denial_by(self, rule: HostRule | None) -> Refused | None:
        if rule == self._rule:
            return None
        if rule is None:
            return no_longer_listed(self._authority)
        if self._upstream is None or self._rule is None or not rule.verifies_like(self._rule):
            return verified_otherwise(self._authority)
        last_good = self._proxy.reporter.last_good(self._authority)
        judgement = judge_pins(self._upstream.verified.chain, rule, self._authority, self._proxy.clock(), last_good)
        return judgement.refusal if judgement.decision is Decision.DENY else None

    def _call_off(self) -> None:
        if self._eviction is not None:
            self._eviction.cancel()
            self._eviction = None

    def _ended(self, done: asyncio.Future[BaseException | None]) -> None:
        self._call_off()
        relay, record, error = self._relay, self._record, done.result()
        record.bytes_up += relay.bytes_up
        record.bytes_down += relay.bytes_down
        if self._refusal is not None:
            record.finish(self._refusal)
        elif isinstance(error, Refused):
            record.finish(error)
        elif error is not None and not relay.has_client_ended:
            record.finish(UpstreamClosed(f"{self._authority} cut the connection"))
        else:
            record.finish()
        self._slot.release()
