"""What is known so far of one proxied connection or request; told once, at the end."""

from __future__ import annotations

import time

from pinproxy.authority import Authority
from pinproxy.errors import PinError, Refused
from pinproxy.net.upstream import Upstream
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import Decision, Judgement
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
        upstream, judgement = self._upstream, self.judgement
        reason = refusal if refusal is not None else judgement.refusal if judgement is not None else None
        decision = judgement.decision if judgement is not None else Decision.ALLOW
        if refusal is not None:
            decision = Decision.DENY
        self._proxy.reporter.emit(
            ConnectionEvent(
                id=self.id,
                at=self._proxy.clock(),
                client=self._client,
                mode=self.mode,
                method=self.method,
                authority=self.authority,
                rule=self.rule,
                judgement=judgement,
                decision=decision,
                code=reason.code if reason is not None else None,
                detail=reason.detail if reason is not None else None,
                mismatch_class=reason.mismatch_class if isinstance(reason, PinError) else None,
                chain=upstream.verified.chain if upstream is not None else None,
                tls_version=upstream.tls_version if upstream is not None else None,
                alpn=upstream.alpn if upstream is not None else None,
                upstream_address=self._address,
                status=self.status if refusal is None else refusal.status,
                bytes_up=self.bytes_up,
                bytes_down=self.bytes_down,
                user=self.user,
                duration_seconds=time.perf_counter() - self._began,
                handshake_seconds=upstream.handshake_seconds if upstream is not None and not self._was_reused else None,
            )
        )
