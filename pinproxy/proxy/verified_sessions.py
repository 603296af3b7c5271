"""TLS 1.2 sessions whose full handshake was verified on the wire of a tunnel.

An abbreviated handshake shows no certificate. It may pass only for a session that was made in a handshake we verified: whoever
resumes it has the session's secret, and so is the server that was verified then (RFC 5246 §7.3, RFC 5077 §3.1).

Rules of this file:
- A name belongs to the session it was first seen with, whatever comes later: what a client got from somebody under one rule is
  never taken for a session that was verified under another.
- Rules are compared by value: a reload that changes nothing for a host cuts none of its clients.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from pinproxy.authority import Authority
from pinproxy.pins.chain import VerifiedChain
from pinproxy.policy.rule import HostRule

_KEPT = 8192  # a client keeps a few tickets for each host; a forgotten one costs it a cut connection and a full handshake


@dataclass(frozen=True, slots=True)
class VerifiedSession:
    """What was known of a session when it was made.

    Attributes:
        authority: Whose it is.
        rule: The rule it was verified under.
        chain: The chain of its server.
    """

    authority: Authority
    rule: HostRule
    chain: VerifiedChain


class VerifiedSessions:
    """The sessions, by their ids and tickets; only digests of these are kept, for a ticket is half a secret."""

    def __init__(self, kept: int = _KEPT) -> None:
        """Start with none; the ones used longest ago are forgotten first."""
        self._kept = kept
        self._sessions: OrderedDict[bytes, VerifiedSession] = OrderedDict()

    def remember(self, name: bytes, session: VerifiedSession) -> None:
        """Remember a session under its id or its ticket, unless the name is taken."""
        self._sessions.setdefault(hashlib.sha256(name).digest(), session)
        if len(self._sessions) > self._kept:
            self._sessions.popitem(last=False)

    def find(self, authority: Authority, names: tuple[bytes, ...], rule: HostRule) -> VerifiedSession | None:
        """Find a session of this authority by any of the names a client offered for it, if it was verified under this rule."""
        for name in filter(None, names):
            digest = hashlib.sha256(name).digest()
            found = self._sessions.get(digest)
            if found is not None and found.authority == authority and found.rule == rule:
                self._sessions.move_to_end(digest)
                return found
        return None
