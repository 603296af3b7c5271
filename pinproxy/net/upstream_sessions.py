"""TLS sessions of upstreams, each with the full handshake that made it and was verified here.

A resumed handshake shows no certificate. What it proves is that the server holds the secret of the session (RFC 8446 §2.2), and
so is the one that was verified when the session was made; what that one is worth may have changed since. Hence:

1. A session is kept with what its full handshake showed, and offered only where everything that decides verification and reach is
   the same: rule, authority, address, way, TLS context.
2. A resumed handshake is judged anew, like any other, by what is known of its session: with the pins and the time of now
   (`policy.verify`). A resumed session that is not known here is `chain_unavailable`.
3. It ends with the ticket, with the chain, and in any case after `limits.session_seconds`; a swap of the policy ends them all.

A session serves many connections meanwhile. RFC 8446 §C.4 would rather have each ticket used once, lest an observer link a
client's connections; ours come from one address and ask for one name anyway. nginx and HAProxy do the same.

CPython 3.10 to 3.12.7, every 3.11 and 3.13.0 lose a copy of each session that is read, for ever (python/cpython#116810): 6 KiB
and more, as large as the server's certificate makes it. There, a process reads so many and then no more.
"""

from __future__ import annotations

import math
import ssl
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from pinproxy.authority import Authority
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verify import HandshakeFacts

_KEPT = 1024  # places; a session takes 2 to 4 KiB
# A session holds its context, with nearly 1 MB of roots in it, and clients choose the ALPN offers that contexts are made for. No
# more of them than `net.client_contexts` keeps: a session of any other fits no connection to come.
_CONTEXTS_KEPT = 64
_READS_THAT_LEAK = 512  # 3 MiB in a process's life; a server that is asked without pause is read once in `session_seconds`


class Place(NamedTuple):
    """Where a session may be offered again: what it was made for, and everything that the TLS library was told to demand.

    Attributes:
        authority: What is asked for; its host is the name in the handshake.
        address: What is connected to: host and port.
        behind_proxy: What an upstream proxy there was asked for; None: there is none.
        context: Trust, least version, ALPN and client certificate. OpenSSL's sessions belong to one context anyway.
    """

    authority: Authority
    address: tuple[str, int]
    behind_proxy: Authority | None
    context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A session that may be offered, and what is known of its server.

    Attributes:
        session: OpenSSL's; None: this server resumes nothing, and is not asked again for a while.
        facts: What the full handshake showed that made it.
        rule: The rule it was verified under.
        begins: When that was.
        ends: When it counts no longer.
    """

    session: ssl.SSLSession | None
    facts: HandshakeFacts
    rule: HostRule
    begins: datetime
    ends: datetime


def loses_what_it_reads(version: tuple[int, int, int]) -> bool:
    """Tell whether a CPython, 3.11 or newer, lost memory with each session it read (mended in 3.12.8 and 3.13.1)."""
    return version < (3, 12, 8) or (3, 13, 0) <= version < (3, 13, 1)


class UpstreamSessions:
    """The sessions, one for each place."""

    def __init__(self, keep_seconds: float, kept: int = _KEPT, python: tuple[int, int, int] = sys.version_info[:3]) -> None:
        """Start with none.

        Args:
            keep_seconds: How long one lasts at most; 0: none is kept.
            kept: Places; the ones used longest ago are forgotten first.
            python: Whose module `ssl` reads the sessions: the version of CPython.
        """
        self._keep = timedelta(seconds=keep_seconds)
        self._kept = kept
        self._reads_left = float(_READS_THAT_LEAK) if loses_what_it_reads(python) else math.inf
        self._known: OrderedDict[Place, KnownSession] = OrderedDict()

    def __len__(self) -> int:
        """Count the places something is known of."""
        return len(self._known)

    def find(self, place: Place, rule: HostRule, now: datetime) -> KnownSession | None:
        """Find a session to offer; None: there is none, so that the handshake is a full one."""
        known = self._current(place, rule, now)
        if known is None or known.session is None:
            return None
        self._known.move_to_end(place)
        return known

    def keep(self, place: Place, rule: HostRule, facts: HandshakeFacts, tls: ssl.SSLSocket, began: datetime) -> None:
        """Keep the session of a connection, unless the place has one; that it has none to give is kept as well.

        Args:
            place: Where it leads.
            rule: The rule that allowed it.
            facts: What its handshake showed: a full one.
            tls: Open. Under TLS 1.3 its session is there once the first application data was read (RFC 8446 §4.6.1).
            began: When its handshake was verified, UTC.
        """
        if facts.is_resumed or facts.platform_chain is None or not self._keep or self._current(place, rule, began) is not None:
            return
        if self._reads_left == 0:
            return
        session = tls.session  # a copy of it: 0.2 ms with OpenSSL 3.0
        if session is None:
            return
        self._reads_left -= 1
        seconds = _lifetime_seconds(session, facts.tls_version)
        if seconds == 0:
            self.decline(place, rule, facts, began)
            return
        last = min(item.not_after for item in facts.platform_chain.certificates)
        ends = min(began + self._keep, began + timedelta(seconds=seconds), last)
        self._put(place, KnownSession(session, facts, rule, began, ends))

    def decline(self, place: Place, rule: HostRule, facts: HandshakeFacts, now: datetime) -> None:
        """Note that a server resumes nothing: to offer it sessions costs more than it spares."""
        self._put(place, KnownSession(None, facts, rule, now, now + self._keep))

    def forget(self, place: Place) -> None:
        """Offer nothing there the next time."""
        self._known.pop(place, None)

    def clear(self) -> None:
        """Forget everything: other rules are in force."""
        self._known.clear()

    def _current(self, place: Place, rule: HostRule, now: datetime) -> KnownSession | None:
        known = self._known.get(place)
        # The very rule: what is equal to it today may stand for a table that was replaced and came back.
        if known is None or known.rule is not rule or not known.begins <= now < known.ends:
            return None
        return known

    def _put(self, place: Place, known: KnownSession) -> None:
        if not self._keep:
            return
        contexts = {other.context for other in self._known}
        if len(contexts) >= _CONTEXTS_KEPT and place.context not in contexts:
            self._known.clear()
        self._known[place] = known
        self._known.move_to_end(place)
        if len(self._known) > self._kept:
            self._known.popitem(last=False)


def _lifetime_seconds(session: ssl.SSLSession, tls_version: str) -> int:
    """Tell for how long a session may be offered; 0: not at all."""
    if not session.has_ticket and not session.id:
        return 0
    if tls_version == "TLSv1.3":
        # > RFC 8446 §4.6.1: The value of zero indicates that the ticket should be discarded immediately.
        return min(session.timeout, session.ticket_lifetime_hint) if session.has_ticket else 0
    # > RFC 5077 §3.3: A value of zero is reserved to indicate that the lifetime of the ticket is unspecified.
    return min(session.timeout, session.ticket_lifetime_hint or session.timeout)
