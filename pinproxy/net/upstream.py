"""The one way to an upstream: dial, shake hands, verify, decide. Every mode, every retry and every pool comes through here.

1. Resolve, check the addresses, and connect to one of them (`net.dial`).
2. TLS handshake; the platform validates chain, name and dates (`net.handshake`), or did so when the session was made that is
   resumed (`net.upstream_sessions`).
3. Verify the chain a second time and hold it against the pins (`policy.verify`).
4. Act on the decision: a denied connection is closed here, before anybody could write to it.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from pinproxy.authority import Authority
from pinproxy.errors import DialRefused, InternalError
from pinproxy.limits import Limits
from pinproxy.net.client_contexts import client_context
from pinproxy.net.dial import Destination, Dialler
from pinproxy.net.handshake import shake_hands_with_server
from pinproxy.net.upstream_sessions import Place, UpstreamSessions
from pinproxy.pins.chain import Certificate
from pinproxy.policy.mismatch import Recall, recall_nothing
from pinproxy.policy.rule import DialOverride, HostRule
from pinproxy.policy.verdict import Decision, Judgement
from pinproxy.policy.verify import HandshakeFacts, Verified, verify_server

_NO_SESSIONS = UpstreamSessions(keep_seconds=0)


@dataclass(frozen=True, slots=True)
class Upstream:
    """An upstream TLS connection that may be used: its chain validated, its decision is not `deny`.

    Attributes:
        sock: The TLS socket, handshake finished, nothing sent; whoever has this owns it.
        authority: What was asked for.
        rule: The rule it was verified under.
        facts: What its handshake said of itself.
        verified: Chain and judgement.
        alpn: Application protocol the server chose; None: none.
        alpn_offered: What it chose from.
        destination: The one address it is connected to.
        address: The same, `host:port`.
        handshake_seconds: From the first handshake byte to the decision.
        keep_session: To be called once when the first application data was read, so that later connections may resume it.
    """

    sock: ssl.SSLSocket
    authority: Authority
    rule: HostRule
    facts: HandshakeFacts
    verified: Verified
    alpn: str | None
    alpn_offered: tuple[str, ...]
    destination: Destination
    address: str
    handshake_seconds: float
    keep_session: Callable[[], None]

    @property
    def leaf(self) -> Certificate:
        """The server's certificate, which the verification accepted."""
        return self.facts.sent.certificates[0]

    @property
    def tls_version(self) -> str:
        """The TLS version, as OpenSSL spells it."""
        return self.facts.tls_version


class UpstreamObserver(Protocol):
    """Hears how far an attempt came, whether or not it ends well: the log line of a refusal needs it most."""

    @property
    def via(self) -> tuple[bytes, ...]:
        """Values of the Via field with which an upstream proxy is asked; empty: none is sent."""

    def dialled(self, address: str) -> None:
        """TCP is connected to this `host:port`."""

    def verified(self, upstream: Upstream) -> None:
        """The chain validated and the pins were judged; the decision may still be `deny`."""


class UpstreamOpener:
    """Opens verified upstream connections."""

    def __init__(self, dialler: Dialler, limits: Limits, clock: Callable[[], datetime], recall: Recall = recall_nothing) -> None:
        """Keep the collaborators.

        Args:
            dialler: Finds and connects to addresses.
            limits: Bounds.
            clock: The UTC wall clock that certificates are checked against.
            recall: Knows the last good chains, for the class of a mismatch.
        """
        self._dialler = dialler
        self._limits = limits
        self._clock = clock
        self._recall = recall
        self._sessions = UpstreamSessions(limits.session_seconds)

    def forget_sessions(self) -> None:
        """Resume no session that was made before: other rules are in force."""
        self._sessions.clear()

    async def open(
        self,
        authority: Authority,
        rule: HostRule,
        alpn: tuple[str, ...],
        observer: UpstreamObserver,
        dial: DialOverride | None = None,
    ) -> Upstream:
        """Open a connection that the rule's policy allows.

        Args:
            authority: Host and port.
            rule: Its rule.
            alpn: Application protocols to offer, in order; empty: none.
            observer: Hears of each step.
            dial: Where to connect; None: where the rule says, or to the host itself.

        Raises:
            Refused: Whatever stands in the way, with its reason code. Nothing but the handshake was sent.
        """
        destination = await self.find(authority, rule, dial)
        context = client_context(rule.trust, rule.min_tls, alpn, rule.client_cert)
        return await self.open_at(destination, rule, context, alpn, observer, may_resume=True)

    async def find(self, authority: Authority, rule: HostRule, dial: DialOverride | None = None) -> Destination:
        """Resolve a listed authority and check its addresses: the beginning of step 1."""
        return await self._dialler.find(authority, dial or rule.dial, is_listed=True)

    async def open_at(
        self,
        destination: Destination,
        rule: HostRule,
        context: ssl.SSLContext,
        alpn: tuple[str, ...],
        observer: UpstreamObserver,
        *,
        may_resume: bool = False,
    ) -> Upstream:
        """Do the rest of `open` at a destination found before, with a context made for the rule's trust.

        Args:
            destination: Where to.
            rule: Its rule.
            context: For the handshake.
            alpn: What the context offers.
            observer: Hears of each step.
            may_resume: Whether a session may be resumed that was verified here before; else the certificate is shown.

        Raises:
            Refused: As `open`.
        """
        # 1.
        authority = destination.authority
        sock = await self._dialler.connect(destination, observer.via)
        peer = _peer_of(sock, authority)
        address = format_address(peer)
        observer.dialled(address)
        # 2.
        began = time.perf_counter()
        sessions = self._sessions if may_resume else _NO_SESSIONS
        place = Place(authority, peer, destination.behind_proxy, context)
        known = sessions.find(place, rule, self._clock())
        tls: ssl.SSLSocket | None = None
        try:
            tls, facts = await shake_hands_with_server(sock, context, authority, self._limits.handshake_seconds, known)
            # 3.
            now = self._clock()
            verified = verify_server(facts, rule, authority, now, self._limits, self._recall(authority))
            upstream = Upstream(
                sock=tls,
                authority=authority,
                rule=rule,
                facts=facts,
                verified=verified,
                alpn=tls.selected_alpn_protocol(),
                alpn_offered=alpn,
                destination=destination.at(peer[0]),
                address=address,
                handshake_seconds=time.perf_counter() - began,
                keep_session=partial(sessions.keep, place, rule, facts, tls, now),
            )
            observer.verified(upstream)
            # 4.
            act_on(verified.judgement)
        except BaseException:
            sessions.forget(place)
            if tls is not None:
                tls.close()
            raise
        if known is not None and not facts.is_resumed:
            sessions.decline(place, rule, facts, now)
        return upstream

    async def connect_for_tunnel(self, destination: Destination, observer: UpstreamObserver) -> socket.socket:
        """Connect without TLS of our own, for a client that brings its own; the tunnel verifies what it can see of it."""
        sock = await self._dialler.connect(destination, observer.via)
        observer.dialled(format_address(_peer_of(sock, destination.authority)))
        return sock

    def dial_override_of(self, authority: Authority, sock: socket.socket) -> DialOverride:
        """Say where a plain connection leads, to dial there once more: its address; or what an upstream proxy was asked for."""
        if self._dialler.goes_through_proxy(authority.host):
            return DialOverride(authority.host, authority.port)
        return DialOverride(_peer_of(sock, authority)[0], authority.port)

    async def open_plain(self, authority: Authority, observer: UpstreamObserver) -> socket.socket:
        """Connect without TLS to a host that no rule lists, under `unlisted: allow`."""
        destination = await self._dialler.find(authority, None, is_listed=False)
        return await self.connect_for_tunnel(destination, observer)


def _peer_of(sock: socket.socket, authority: Authority) -> tuple[str, int]:
    """Name the peer of a connected socket; one that has reset the connection at once leaves no name behind."""
    try:
        host, port = sock.getpeername()[:2]
    except OSError as error:
        sock.close()
        raise DialRefused(f"{authority} reset the connection as soon as it was there") from error
    return str(host), int(port)


def act_on(judgement: Judgement) -> None:
    """Raise what a judgement denies with; return where it lets the connection be used."""
    if judgement.decision is Decision.DENY:
        raise judgement.refusal or InternalError("denied without a reason")


def format_address(name: tuple[str | int, ...] | str) -> str:
    """Format a socket name as `host:port`, or `unix`."""
    return str(Authority(str(name[0]), int(name[1]))) if isinstance(name, tuple) else "unix"
