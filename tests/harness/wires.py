"""A tunnel's wire without sockets: real handshakes in memory, fed to it in any pieces."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from pinproxy.authority import Authority
from pinproxy.limits import Limits
from pinproxy.net.dial import Destination, Dialler
from pinproxy.net.own_addresses import OwnAddresses
from pinproxy.net.preflight import Preflights
from pinproxy.net.upstream import Upstream, UpstreamOpener
from pinproxy.pins.chain import SentChain, VerifiedChain, certificate
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verify import HandshakeFacts, Session, verify_server
from pinproxy.proxy.verified_sessions import VerifiedSessions
from pinproxy.proxy.wire import Wire
from pinproxy.tls.client_hello import parse_client_hello
from tests.harness.pki import Issued
from tests.harness.running import HOST
from tests.harness.tls_handshakes import Handshake, shake_hands
from tests.harness.tunnelling import LEAF, ROOT, TLS12, client_context, origin_context, tunnel_rule

AUTHORITY = Authority(HOST, 443)


def handshake(
    newest: ssl.TLSVersion = TLS12,
    session: ssl.SSLSession | None = None,
    *,
    client: ssl.SSLContext | None = None,
    server: ssl.SSLContext | None = None,
) -> Handshake:
    """Shake hands in memory; the contexts may be given, for a session belongs to both."""
    return shake_hands(client or client_context(newest), server or origin_context(newest=newest), session, HOST)


def flight_end(full: Handshake) -> int:
    """Find where the server's flight of a full handshake ends: behind its empty ServerHelloDone."""
    return full.server_bytes.index(b"\x0e\x00\x00\x00") + 4


def preflight_of(rule: HostRule, *leaves: Issued, tls_version: str = "TLSv1.2") -> Upstream:
    """Make what a preflight that was shown these certificates, leaf first, has found."""
    shown = leaves or (LEAF,)
    sent = tuple(certificate(item.der) for item in shown)
    validated = VerifiedChain((*sent, certificate(ROOT.der)))
    facts = HandshakeFacts(tls_version, session=Session.NEW, sent=SentChain(sent), platform_chain=validated)
    limits = Limits()
    return Upstream(
        sock=cast("ssl.SSLSocket", None),
        authority=AUTHORITY,
        rule=rule,
        facts=facts,
        verified=verify_server(facts, rule, AUTHORITY, datetime.now(UTC), limits),
        alpn=None,
        alpn_offered=(),
        destination=Destination(AUTHORITY, ("127.0.0.1",), 1),  # where nobody listens
        address="127.0.0.1:1",
        handshake_seconds=0.0,
        keep_session=lambda: None,
    )


@dataclass
class Ear:
    """An observer that keeps the last verdict."""

    heard: list[Upstream] = field(default_factory=list)
    via: tuple[bytes, ...] = ()

    def dialled(self, address: str) -> None:
        """Nothing is dialled here."""

    def verified(self, upstream: Upstream) -> None:
        """Keep it."""
        self.heard.append(upstream)


@contextlib.asynccontextmanager
async def preflights() -> AsyncIterator[Preflights]:
    """Make preflights that find nobody."""

    async def resolve(_host: str) -> Sequence[str]:
        return []

    limits = Limits()
    made = Preflights(UpstreamOpener(Dialler(limits, OwnAddresses(), resolve), limits, lambda: datetime.now(UTC)), 60.0)
    try:
        yield made
    finally:
        await made.stop()


def wire_for(client_bytes: bytes, made: Preflights, sessions: VerifiedSessions | None = None, **further: Any) -> tuple[Wire, Ear]:
    """Put a wire behind a ClientHello; `rule`, `preflight` and `limits` may be given."""
    hello = parse_client_hello(client_bytes)
    assert hello is not None
    rule = further.get("rule") or tunnel_rule(None)
    ear = Ear()
    wire = Wire(
        hello,
        further.get("preflight") or preflight_of(rule),
        preflights=made,
        sessions=sessions or VerifiedSessions(),
        limits=further.get("limits") or Limits(),
        clock=lambda: datetime.now(UTC),
        observer=ear,
    )
    return wire, ear
