"""What is known of each host beyond one connection: the last chain that was good.

Rules of this file:
- Bounded whatever peers do: only a chain that validated is taken down, and the authority met longest ago is forgotten first.
- A chain that no pin vouched for never takes the place of one that a pin did.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from pinproxy.authority import Authority
from pinproxy.pins.chain import VerifiedChain
from pinproxy.policy.known_chain import KnownChain, remember_chain
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import Verdict
from pinproxy.policy.verify import Verified

AUTHORITIES_KEPT = 1024


@dataclass(slots=True)
class HostObservation:
    """What is known of one authority under one rule.

    Attributes:
        good: The last good chain; None: none yet.
        is_good_pinned: Whether a pin was met by it; else it validated under a rule that compared none.
    """

    good: KnownChain | None = None
    is_good_pinned: bool = False
    _good_chain: VerifiedChain | None = None

    def take_good(self, chain: VerifiedChain, *, is_pinned: bool) -> None:
        """Take down a good chain; the one that is there already costs a comparison."""
        if is_pinned < self.is_good_pinned:
            return
        if chain != self._good_chain:
            self.good, self._good_chain = remember_chain(chain), chain
        self.is_good_pinned = is_pinned


class Observations:
    """The observations of one proxy, by rule and authority."""

    def __init__(self, authorities_kept: int = AUTHORITIES_KEPT) -> None:
        """Begin with none.

        Args:
            authorities_kept: How many are kept at most.
        """
        self._kept = authorities_kept
        self._hosts: OrderedDict[tuple[str, Authority], HostObservation] = OrderedDict()

    def meet_chain(self, authority: Authority, rule: HostRule, verified: Verified) -> None:
        """Take down what a handshake showed, as soon as it is judged: the next mismatch is held against it."""
        verdict = verified.judgement.verdict
        if verified.chain is not None and verdict in {Verdict.MATCHED, Verdict.NOT_PINNED}:
            self._host(authority, rule).take_good(verified.chain, is_pinned=verdict is Verdict.MATCHED)

    def last_good(self, authority: Authority, rule: HostRule) -> KnownChain | None:
        """Find the last good chain of an authority under a rule of this name; None: there was none (`policy.mismatch.Recall`)."""
        host = self._hosts.get((rule.label, authority))
        return host.good if host is not None else None

    def _host(self, authority: Authority, rule: HostRule) -> HostObservation:
        key = (rule.label, authority)
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = HostObservation()
            if len(self._hosts) > self._kept:
                self._hosts.popitem(last=False)
        else:
            self._hosts.move_to_end(key)
        return host
