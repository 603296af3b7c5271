"""A server's TLS handshake with a tunnel's client, read before the client reads it.

1. ServerHello. TLS 1.3: the certificate will be encrypted; the rule refuses it, or lets the preflight speak for it (advisory).
   Older than both sides can do: somebody takes the versions away; refused as a downgrade.
2. TLS 1.2, full handshake: everything up to ServerHelloDone is held. The certificate on the wire must be one that a preflight to
   this address had validated by both validators; chain, name, dates and pins are judged by the one procedure of `policy.verify`.
3. The server's signature over this very key exchange is verified: a certificate alone proves nothing, anybody can send it.
4. TLS 1.2, abbreviated handshake: passes only for a session that was made in a handshake verified here, under this rule, and
   accepted by its client (`proxy.session_proof`), as long as every certificate of its chain is inside its validity.
5. Only then what was held goes to the client; nothing the client sent behind its ClientHello has left before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from pinproxy.errors import ChainInvalid, ChainUnavailable, InternalError, Tls13Unverifiable, TlsHandshakeFailed, TlsVersion
from pinproxy.limits import Limits
from pinproxy.net.preflight import Preflights
from pinproxy.net.upstream import Upstream, UpstreamObserver, act_on
from pinproxy.pins.chain import SentChain, VerifiedChain, certificate
from pinproxy.policy.mismatch import Recall, recall_nothing
from pinproxy.policy.path import build_verified_chain
from pinproxy.policy.pins_only import leaf_alone
from pinproxy.policy.rule import PinsOnly
from pinproxy.policy.validity import require_current
from pinproxy.policy.verdict import Assurance, Decision, Judgement, judge_pins
from pinproxy.policy.verify import HandshakeFacts, Session, Verified, verify_server
from pinproxy.proxy.session_proof import SessionProof
from pinproxy.proxy.verified_sessions import VerifiedSession, VerifiedSessions
from pinproxy.tls.alert import Alert
from pinproxy.tls.client_hello import ClientHello
from pinproxy.tls.key_exchange import ServerKeyExchange, verify_server_key_exchange
from pinproxy.tls.records import TLS12, TLS13
from pinproxy.tls.server_flight import FLIGHT_SLACK_BYTES, FlightEvent, ServerFlightReader
from pinproxy.tls.server_messages import CertificateMessage, ChangeCipherSpec, NewSessionTicket, ServerHello, ServerHelloDone

_VERSION_NAMES = {0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
_OLDEST = {"1.2": TLS12, "1.3": TLS13}


class Wire:
    """The server's handshake as it passes."""

    def __init__(
        self,
        hello: ClientHello,
        preflight: Upstream,
        *,
        preflights: Preflights,
        sessions: VerifiedSessions,
        limits: Limits,
        clock: Callable[[], datetime],
        observer: UpstreamObserver,
        recall: Recall = recall_nothing,
    ) -> None:
        """Stand between a client whose ClientHello was read and its server.

        Args:
            hello: What the client offers.
            preflight: What a handshake of our own with the same address found.
            preflights: Makes another, should the wire show another certificate.
            sessions: The sessions verified so far.
            limits: Bounds.
            clock: The UTC wall clock.
            observer: Hears of the verdict.
            recall: Knows the last good chains, for the class of a mismatch.
        """
        self._hello = hello
        self._preflight = preflight
        self._preflights = preflights
        self._sessions = sessions
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._recall = recall
        self._authority, self._rule = preflight.authority, preflight.rule
        self._reader = ServerFlightReader(limits.chain_bytes + FLIGHT_SLACK_BYTES)
        self._server: ServerHello
        self._sent = SentChain(())
        self._exchange: ServerKeyExchange | None = None
        self._verified: Upstream | None = None
        self._session_names: list[bytes] = []
        self._proof = SessionProof(self._remember_session)

    @property
    def verified(self) -> Upstream:
        """What the verdict rests on, once there is one: the preflight, with the chain and the handshake of this wire."""
        if self._verified is None:
            raise InternalError("a tunnel without a verdict")
        return self._verified

    @property
    def has_verdict(self) -> bool:
        """Whether what was seen so far may go to the client."""
        return self._verified is not None

    async def see(self, data: bytes) -> None:
        """See what the server sends, before the verdict.

        Raises:
            Refused: The verdict is against it; nothing of what was seen may go to the client.
        """
        self._proof.see_down(data)
        for event in self._reader.feed(data):
            await self._take(event)

    def tap_down(self, data: bytes) -> bool:
        """See what the server still says in plaintext: the ticket with which the client may resume this session."""
        self._proof.see_down(data)
        for event in self._reader.feed(data):
            if isinstance(event, NewSessionTicket):
                self._session_names.append(event.ticket)
        return not (self._reader.is_finished and (self._proof.has_server_finished or not self._session_names))

    def tap_up(self, data: bytes) -> bool:
        """See whether the client goes on."""
        self._proof.see_up(data)
        return self._server.version < TLS13 and not self._proof.is_settled

    async def _take(self, event: FlightEvent) -> None:
        match event:
            case ServerHello():
                self._server = event
                self._judge_version(event)
            case CertificateMessage():
                self._sent = SentChain(tuple(map(certificate, event.chain)))
            case ServerKeyExchange():
                self._exchange = event
            case ServerHelloDone():
                await self._judge_full_handshake()
            case NewSessionTicket():
                self._session_names.append(event.ticket)
            case ChangeCipherSpec(is_abbreviated=True):
                self._judge_abbreviated_handshake()
            case Alert(is_fatal=True):
                raise TlsHandshakeFailed(f"{self._authority} ended the TLS handshake with the alert {event}")
            case ChangeCipherSpec() | Alert():
                pass

    def _judge_version(self, server: ServerHello) -> None:
        # 1.
        if server.version >= TLS13:
            if self._rule.tls13 != "preflight":
                raise Tls13Unverifiable(
                    f"{self._authority} negotiated TLS 1.3, whose certificate a tunnel cannot see (`tls13: refuse`); "
                    "limit the client to TLS 1.2, use `connect: intercept`, or accept an advisory verdict (`tls13: preflight`)"
                )
            chain = self._preflight.verified.chain
            judgement = self._judge(chain, self._clock())
            verified = Verified(chain, replace(judgement, assurance=Assurance.ADVISORY))
            self._conclude(verified, self._facts(self._preflight.facts))
            return
        # > RFC 8446 §4.1.3: TLS 1.3 clients receiving a ServerHello indicating TLS 1.2 or below MUST check that the last 8
        # > bytes are not equal to either of these values.
        # Stricter: a server that spoke 1.3 to us a moment ago speaks 1.3 to a client that can.
        is_expected = self._preflight.facts.tls_version == _VERSION_NAMES[TLS13]
        if TLS13 in self._hello.versions and (is_expected or server.signals_downgrade):
            raise TlsVersion(f"{self._authority} speaks TLS 1.3 and answered the client with less: a downgrade")
        if server.version < _OLDEST[self._rule.min_tls]:
            spoken = _VERSION_NAMES.get(server.version, "unknown")
            raise TlsVersion(f"{self._authority} negotiated {spoken}; expected TLS {self._rule.min_tls} or newer (`min_tls`)")

    async def _judge_full_handshake(self) -> None:
        now = self._clock()
        leaf = self._sent.certificates[0]
        # 2.
        confirmed: Upstream | None = self._preflight
        if leaf != self._preflight.leaf:
            confirmed = await self._preflights.find_leaf(self._preflight, leaf, self._server.cipher_suite)
        if confirmed is None:
            self._refuse_unconfirmed(now)
            return
        facts = self._facts(confirmed.facts)
        last_good = self._recall(self._authority)
        verified = verify_server(facts, self._rule, self._authority, now, self._limits, last_good)
        # 3. RSA key exchange has no signature: only the holder of the certificate's key can go on (see tls.key_exchange).
        if self._exchange is not None:
            verify_server_key_exchange(leaf.der, self._hello.random, self._server.random, self._exchange)
        self._conclude(verified, facts)
        if self._server.session_id:
            self._session_names.append(self._server.session_id)

    def _refuse_unconfirmed(self, now: datetime) -> None:
        """Refuse a certificate that no preflight was shown, with the reason that says most about it."""
        size = self._sent.size_bytes
        if len(self._sent.certificates) <= self._limits.chain_certificates and size <= self._limits.chain_bytes:
            chain = self._build_chain(now)
            judgement = self._judge(chain, now)
            if judgement.decision is Decision.DENY:
                self._conclude(Verified(chain, judgement), self._facts(self._preflight.facts))
        raise ChainInvalid(f"{self._authority} showed the client a certificate that it did not show to us")

    def _build_chain(self, now: datetime) -> VerifiedChain:
        trust = self._rule.trust
        if isinstance(trust, PinsOnly):
            return leaf_alone(self._sent, self._authority, trust, now)
        return build_verified_chain(self._sent, self._authority.host, trust, now)

    def _judge_abbreviated_handshake(self) -> None:
        # 4.
        names = (self._hello.session_ticket, self._hello.session_id)
        session = self._sessions.find(self._authority, names, self._rule)
        if session is None:
            raise ChainUnavailable(
                f"{self._authority} resumed a TLS session that was not verified here; a full handshake will be"
            )
        now = self._clock()
        trust = self._rule.trust
        if not isinstance(trust, PinsOnly) or not trust.unsafe_skip_dates:
            require_current(session.chain.certificates, self._authority, now)
        judgement = self._judge(session.chain, now)
        self._conclude(Verified(session.chain, judgement), self._facts(self._preflight.facts))

    def _judge(self, chain: VerifiedChain | None, now: datetime) -> Judgement:
        return judge_pins(chain, self._rule, self._authority, now, self._recall(self._authority))

    def _facts(self, confirmed: HandshakeFacts) -> HandshakeFacts:
        """Say of this wire's handshake what it showed, and the rest as our own handshake with the same server found it."""
        return HandshakeFacts(
            tls_version=_VERSION_NAMES.get(self._server.version, "unknown"),
            session=Session.UNKNOWN if not self._sent.certificates and self._server.version < TLS13 else Session.NEW,
            sent=self._sent if self._sent.certificates else confirmed.sent,
            platform_chain=confirmed.platform_chain,
        )

    def _conclude(self, verified: Verified, facts: HandshakeFacts) -> None:
        """Tell the verdict, act on it, and let what was held go."""
        upstream = replace(self._preflight, facts=facts, verified=verified, alpn=self._server.alpn, alpn_offered=self._hello.alpn)
        self._observer.verified(upstream)
        act_on(verified.judgement)
        self._verified = upstream

    def _remember_session(self) -> None:
        """Remember the session, which was verified and accepted, by the id and the ticket the client may resume it with."""
        chain = self.verified.verified.chain
        if chain is not None:
            session = VerifiedSession(self._authority, self._rule, chain)
            for name in self._session_names:
                self._sessions.remember(name, session)
