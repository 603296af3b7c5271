"""What is known so far of one proxied connection or request; told once, at the end."""

from __future__ import annotations

import time

from pinproxy.authority import Authority
from pinproxy.errors import PinError, Refused
from pinproxy.net.upstream import Upstream
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import ALLOW, DENY, Judgement
from pinproxy.proxy.proxy import Proxy
from pinproxy.report.event import CarryMode, ConnectionEvent


class Record:
    """Grows while the story goes on; the reporter gets it when the story ends.

    Attributes:
        id: Ties log line, response field and report together.
        received_via: Values of the Via field of the request.
        mode, method, authority, rule, user, status, bytes_up, bytes_down: As in `ConnectionEvent`.
    """

    __slots__ = (
        "_address",
        "_began",
        "_client",
        "_is_finished",
        "_proxy",
        "_upstream",
        "_was_reused",
        "authority",
        "bytes_down",
        "bytes_up",
        "id",
        "method",
        "mode",
        "received_via",
        "rule",
        "status",
        "user",
    )

    def __init__(self, proxy: Proxy, client: str, mode: CarryMode) -> None:
        """Begin with what an accepted connection knows."""
        self.id = proxy.next_id()
        self.mode: CarryMode = mode
        self.method: str | None = None
        self.authority: Authority | None = None
        self.rule: HostRule | None = None
        self.user: str | None = None
        self.received_via: tuple[bytes, ...] = ()
        self.status: int | None = None
        self.bytes_up = 0
        self.bytes_down = 0
        self._proxy = proxy
        self._client = client
        self._began = time.perf_counter()
        self._address: str | None = None
        self._upstream: Upstream | None = None
        self._was_reused = False
        self._is_finished = False

    @property
    def client(self) -> str:
        """The client's address."""
        return self._client

    @property
    def via(self) -> tuple[bytes, ...]:
        """What a CONNECT that goes on because of this request says in Via (`UpstreamObserver`)."""
        return self._proxy.own_name.with_us(self.received_via)

    def dialled(self, address: str) -> None:
        """Note where TCP connected to (`UpstreamObserver`)."""
        self._address = address

    def verified(self, upstream: Upstream) -> None:
        """Note the handshake and its judgement (`UpstreamObserver`), and under which rule: a reload may have changed it."""
        self._proxy.reporter.chain_judged(upstream.authority, upstream.rule, upstream.verified, self._proxy.clock())
        self._upstream = upstream
        self.rule = upstream.rule
        self._was_reused = False

    def reused(self, upstream: Upstream | None, address: str) -> None:
        """Note that a pooled connection serves this request: its judgement holds, its handshake was somebody else's."""
        self._upstream = upstream
        self._address = address
        self._was_reused = True

    @property
    def address(self) -> str | None:
        """The upstream address dialled, `host:port`."""
        return self._address

    @property
    def judgement(self) -> Judgement | None:
        """The judgement so far."""
        return self._upstream.verified.judgement if self._upstream else None

    def finish(self, refusal: Refused | None = None) -> None:
        """Tell the reporter, the first time only.

        Args:
            refusal: Why it ended, if it did not end well.
        """
        if self._is_finished:
            return
        self._is_finished = True
        judgement = chain = tls_version = alpn = handshake_seconds = None
        if (upstream := self._upstream) is not None:
            judgement, chain = upstream.verified.judgement, upstream.verified.chain
            tls_version, alpn = upstream.facts.tls_version, upstream.alpn
            if not self._was_reused:
                handshake_seconds = upstream.handshake_seconds
        reason: Refused | None = refusal
        decision, status = DENY, self.status
        if refusal is not None:
            status = refusal.status
        else:
            decision, reason = (ALLOW, None) if judgement is None else (judgement.decision, judgement.refusal)
        # By position, in the order of the event's fields: to match 22 names takes longer than to fill it.
        self._proxy.reporter.emit(
            ConnectionEvent(
                self.id,
                self._proxy.clock(),
                self._client,
                self.mode,
                self.method,
                self.authority,
                self.rule,
                judgement,
                decision,
                None if reason is None else reason.code,
                None if reason is None else reason.detail,
                chain,
                tls_version,
                alpn,
                self._address,
                status,
                self.bytes_up,
                self.bytes_down,
                time.perf_counter() - self._began,
                handshake_seconds,
                self.user,
                reason.mismatch_class if isinstance(reason, PinError) else None,
            )
        )
