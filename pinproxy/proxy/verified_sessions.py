"""TLS 1.2 sessions whose full handshake was verified on the wire of a tunnel.

An abbreviated handshake shows no certificate. It may pass only for a session that was made in a handshake we verified: whoever
resumes it has the session's secret, and so is the server that was verified then (RFC 5246 §7.3, RFC 5077 §3.1).
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
        rule: The rule it was verified under, by identity.
        chain: The chain of its server.
    """

    rule: HostRule
    chain: VerifiedChain


class VerifiedSessions:
    """The sessions, by their ids and tickets; only digests of these are kept, for a ticket is half a secret."""

    def __init__(self) -> None:
        """Start with none."""
        self._sessions: OrderedDict[tuple[Authority, bytes], VerifiedSession] = OrderedDict()

    def remember(self, authority: Authority, name: bytes, session: VerifiedSession) -> None:
        """Remember a session under its id or its ticket."""
        key = (authority, hashlib.sha256(name).digest())
        self._sessions[key] = session
        self._sessions.move_to_end(key)
        if len(self._sessions) > _KEPT:
            self._sessions.popitem(last=False)

    def find(self, authority: Authority, names: tuple[bytes, ...], rule: HostRule) -> VerifiedSession | None:
        """Find a session by any of the names a client offered for it, if it was verified under this very rule."""
        for name in names:
            found = self._sessions.get((authority, hashlib.sha256(name).digest())) if name else None
            if found is not None and found.rule is rule:
                return found
        return None
