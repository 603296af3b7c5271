"""The one way to an upstream: dial, shake hands, verify, decide. Every mode, every retry and every pool comes through here.

1. Resolve and connect (`net.dial`).
2. TLS handshake; the platform validates chain, name and dates (`net.handshake`).
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
from typing import Protocol

from pinproxy.authority import Authority
from pinproxy.errors import InternalError
from pinproxy.limits import Limits
from pinproxy.net.client_contexts import client_context
from pinproxy.net.dial import Dialler
from pinproxy.net.handshake import shake_hands_with_server
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import Decision, Judgement
from pinproxy.policy.verify import Verified, verify_server


@dataclass(frozen=True, slots=True)
class Upstream:
    """An upstream TLS connection that may be used: its chain validated, its decision is not `deny`.

    Attributes:
        sock: The TLS socket, handshake finished, nothing sent; whoever has this owns it.
        authority: What was asked for.
        rule: The rule it was verified under.
        verified: Chain and judgement.
        tls_version: As OpenSSL spells it, `TLSv1.3`.
        alpn: Application protocol the server chose; None: none.
        alpn_offered: What it chose from.
        address: Address connected to, `host:port`.
        handshake_seconds: From the first handshake byte to the decision.
    """

    sock: ssl.SSLSocket
    authority: Authority
    rule: HostRule
    verified: Verified
    tls_version: str
    alpn: str | None
    alpn_offered: tuple[str, ...]
    address: str
    handshake_seconds: float


class UpstreamObserver(Protocol):
    """Hears how far an attempt came, whether or not it ends well: the log line of a refusal needs it most."""

    def dialled(self, address: str) -> None:
        """TCP is connected to this `host:port`."""

    def verified(self, upstream: Upstream) -> None:
        """The chain validated and the pins were judged; the decision may still be `deny`."""


class UpstreamOpener:
    """Opens verified upstream connections."""

    def __init__(self, dialler: Dialler, limits: Limits, clock: Callable[[], datetime]) -> None:
        """Keep the collaborators; the clock gives the UTC wall clock that certificates are checked against."""
        self._dialler = dialler
        self._limits = limits
        self._clock = clock

    async def open(self, authority: Authority, rule: HostRule, alpn: tuple[str, ...], observer: UpstreamObserver) -> Upstream:
        """Open a connection that the rule's policy allows.

        Args:
            authority: Host and port.
            rule: Its rule.
            alpn: Application protocols to offer, in order; empty: none.
            observer: Hears of each step.

        Raises:
            Refused: Whatever stands in the way, with its reason code. Nothing but the handshake was sent.
        """
        # 1.
        sock = await self._dialler.connect(authority, rule.dial, is_listed=True)
        address = format_address(sock.getpeername())
        observer.dialled(address)
        # 2.
        began = time.perf_counter()
        context = client_context(rule.trust, rule.min_tls, alpn)
        tls, facts = await shake_hands_with_server(sock, context, authority, self._limits.handshake_seconds)
        try:
            # 3.
            verified = verify_server(facts, rule, authority, self._clock(), self._limits)
            upstream = Upstream(
                sock=tls,
                authority=authority,
                rule=rule,
                verified=verified,
                tls_version=facts.tls_version,
                alpn=tls.selected_alpn_protocol(),
                alpn_offered=alpn,
                address=address,
                handshake_seconds=time.perf_counter() - began,
            )
            observer.verified(upstream)
            # 4.
            _act_on(verified.judgement)
        except BaseException:
            tls.close()
            raise
        return upstream

    async def open_plain(self, authority: Authority, observer: UpstreamObserver) -> socket.socket:
        """Connect without TLS to a host that no rule lists, under `unlisted: allow`."""
        sock = await self._dialler.connect(authority, None, is_listed=False)
        observer.dialled(format_address(sock.getpeername()))
        return sock


def _act_on(judgement: Judgement) -> None:
    if judgement.decision is Decision.DENY:
        raise judgement.refusal or InternalError("denied without a reason")


def format_address(name: tuple[str | int, ...] | str) -> str:
    """Format a socket name as `host:port`, or `unix`."""
    return str(Authority(str(name[0]), int(name[1]))) if isinstance(name, tuple) else "unix"
