"""The observations of one proxy, kept up by what its handshakes show and by every connection that ends.

Rules of this file:
- On the data path: a connection over a chain that is known costs look-ups and additions; only a new chain or rule does work.
- Only a chain that validated is taken down. The authority met longest ago is forgotten first.
- A chain that no pin vouched for never takes the place of one that a pin did.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from pinproxy.authority import Authority
from pinproxy.pins.chain import VerifiedChain
from pinproxy.policy.known_chain import KnownChain, remember_chain
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import Verdict
from pinproxy.policy.verify import Verified
from pinproxy.report.event import ConnectionEvent
from pinproxy.report.observation import HostObservation, PathSeen, digest_of_pins

AUTHORITIES_KEPT = 1024  # at most some 40 KiB each, with every path and day taken
_CHAINS_KEPT = 32  # of each authority: eight paths, and what they were renewed to


@dataclass(slots=True)
class _Followed:
    """An observation, and the objects it was last made of: as long as they come again, there is nothing to look up."""

    host: HostObservation
    rule: HostRule | None = None
    alike: HostRule | None = None
    good: VerifiedChain | None = None
    chain: VerifiedChain | None = None
    path: PathSeen | None = None
    paths: dict[VerifiedChain, PathSeen] = field(default_factory=dict)

    def follow(self, rule: HostRule, at: datetime) -> None:
        """Note the rule in force; the same one costs a comparison of addresses."""
        if rule is not self.rule:
            self.rule = rule
            self.host.follow(rule, at)

    def has_pins_of(self, rule: HostRule) -> bool:
        """Tell whether the rule in force asks for what this one asks for."""
        if rule is not self.rule and rule is not self.alike:
            if digest_of_pins(rule.pin_set) != self.host.pins:
                return False
            self.alike = rule
        return True

    def path_of(self, chain: VerifiedChain, at: datetime) -> PathSeen:
        """Find the path of a chain."""
        if self.path is None or chain is not self.chain:
            path = self.paths.get(chain)
            if path is None:
                path = self.host.meet(remember_chain(chain), at)
                # The host may have forgotten one for it, which must not be counted on.
                known = {id(path) for path in self.host.paths}
                self.paths = {chain: path for chain, path in self.paths.items() if id(path) in known}
                if len(self.paths) >= _CHAINS_KEPT:
                    self.paths.clear()
                self.paths[chain] = path
            self.chain, self.path = chain, path
        return self.path


class Observations:
    """What is known of every authority that showed a valid chain.

    Attributes:
        began_at: Since when there are observations, UTC.
        changes: Moves with every change, for whoever writes them down.
    """

    def __init__(
        self,
        began_at: datetime,
        hosts: Iterable[tuple[Authority, HostObservation]] = (),
        authorities_kept: int = AUTHORITIES_KEPT,
    ) -> None:
        """Go on with what was known.

        Args:
            began_at: Since when there are observations, UTC.
            hosts: What was known, the one met longest ago first.
            authorities_kept: How many authorities are kept at most.
        """
        self.began_at = began_at
        self.changes = 0
        self._kept = authorities_kept
        self._hosts = OrderedDict((authority, _Followed(host)) for authority, host in hosts)
        self._forget_oldest()

    @property
    def hosts(self) -> tuple[HostObservation, ...]:
        """Every observation, the one met longest ago first."""
        return tuple(followed.host for followed in self._hosts.values())

    def last_good(self, authority: Authority) -> KnownChain | None:
        """Find the last good chain of an authority; None: there was none (`policy.mismatch.Recall`)."""
        followed = self._hosts.get(authority)
        return followed.host.good if followed is not None else None

    def meet_chain(self, authority: Authority, rule: HostRule, verified: Verified, at: datetime) -> None:
        """Take down what a handshake showed, as soon as it is judged: the next mismatch is held against it."""
        verdict, chain = verified.judgement.verdict, verified.chain
        if chain is None:
            return
        followed = self._find(authority, rule, at)
        # A handshake is judged under the rule in force; a connection that ends may have begun under another.
        followed.follow(rule, at)
        if verdict not in {Verdict.MATCHED, Verdict.NOT_PINNED}:
            return
        host, is_pinned = followed.host, verdict is Verdict.MATCHED
        if is_pinned < host.is_good_pinned or (is_pinned == host.is_good_pinned and chain == followed.good):
            return
        host.good, host.is_good_pinned, followed.good = remember_chain(chain), is_pinned, chain
        self.changes += 1

    def record(self, event: ConnectionEvent) -> None:
        """Count a connection or request that has ended; one that began under other pins says nothing about these."""
        authority, rule, judgement, chain = event.authority, event.rule, event.judgement, event.chain
        if authority is None or rule is None or judgement is None or chain is None:
            return
        followed = self._find(authority, rule, event.at)
        if not followed.has_pins_of(rule):
            return
        followed.host.add(judgement, event.at)
        followed.path_of(chain, event.at).add(judgement, event.at)
        self.changes += 1

    def _find(self, authority: Authority, rule: HostRule, at: datetime) -> _Followed:
        followed = self._hosts.get(authority)
        if followed is None:
            host = HostObservation(str(authority), rule.label, rule.mode, "", at, at, at)
            followed = self._hosts[authority] = _Followed(host)
            followed.follow(rule, at)
            self._forget_oldest()
        else:
            self._hosts.move_to_end(authority)
        return followed

    def _forget_oldest(self) -> None:
        while len(self._hosts) > self._kept:
            self._hosts.popitem(last=False)
