"""What a finished handshake says of itself, above all a resumed one, which says less than it seems to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pinproxy.authority import Authority
from pinproxy.errors import (
    CertificateExpired,
    ChainInvalid,
    DownstreamTlsFailed,
    HandshakeTimeout,
    HostnameMismatch,
    TlsHandshakeFailed,
)
from pinproxy.limits import Limits
from pinproxy.net.client_contexts import client_context
from pinproxy.net.handshake import facts_of, shake_hands_with_client, shake_hands_with_server
from pinproxy.pins.chain import SentChain, certificate
from pinproxy.policy.rule import PinsOnly
from pinproxy.policy.verdict import Decision, Verdict
from pinproxy.policy.verify import verify_server
from tests.harness.pki import NOW, YEAR, Issued, make_intermediate, make_leaf, make_root, server_context
from tests.harness.running import HOST, host_rule

ROOT = make_root()
INTERMEDIATE = make_intermediate(ROOT)
LEAF, OTHER = make_leaf(INTERMEDIATE, HOST), make_leaf(INTERMEDIATE, HOST)
AUTHORITY = Authority(HOST, 443)
DAY = timedelta(days=1)
RULE = host_rule([LEAF.pin], ROOT.anchors)

each_version = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@contextlib.contextmanager
def connected(server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Iterator[ssl.SSLSocket]:
    """Shake hands over a socket pair; one byte is sent, behind which the tickets of TLS 1.3 come."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(theirs, server_side=True) as tls:
            tls.sendall(b"x")
            with contextlib.suppress(OSError):
                tls.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=HOST, session=session) as tls:
            assert tls.recv(1) == b"x"
            yield tls
    finally:
        thread.join()


# --- resumption --------------------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "a resumed session, for which the TLS library returns no chain",
    expect="chain_unavailable",
    topic="pins",
    motive="CVE-2025-68121, CVE-2022-21654",
)
@each_version
def test_a_resumed_session_gives_no_chain_and_is_denied(version: ssl.TLSVersion) -> None:
    """The leaf is still told, and no path was validated: "nothing to compare" would fail open (CVE-2025-68121)."""
    server, client = server_context(LEAF), client_context(ROOT.anchors, "1.2", ())
    server.maximum_version = version
    with connected(server, client) as tls:
        session = tls.session
    with connected(server, client, session) as tls:
        assert tls.session_reused
        facts = facts_of(tls)
        assert facts.is_resumed
        assert facts.platform_chain is None
        for mode in ("enforce", "report-only", "disabled"):
            rule = host_rule([LEAF.pin], ROOT.anchors, mode=mode)
            verified = verify_server(facts, rule, AUTHORITY, datetime.now(UTC), Limits())
            judgement = verified.judgement
            assert (verified.chain, judgement.verdict, judgement.decision) == (None, Verdict.CHAIN_UNAVAILABLE, Decision.DENY)
            assert judgement.refusal is not None
            assert judgement.refusal.code == "chain_unavailable"


@each_version
@pytest.mark.parametrize("known_leaf", [LEAF, OTHER], ids=["its own", "another"])
def test_a_resumed_session_is_tied_to_what_its_full_handshake_showed(version: ssl.TLSVersion, known_leaf: Issued) -> None:
    """Only if the leaf is the one OpenSSL still tells of: what is known of another server's session proves nothing here."""
    server, client = server_context(LEAF), client_context(ROOT.anchors, "1.2", ())
    server.maximum_version = version
    with connected(server, client) as tls:
        session, known = tls.session, facts_of(tls)
    known = replace(known, sent=SentChain((certificate(known_leaf.der), *known.sent.certificates[1:])))
    with connected(server, client, session) as tls:
        assert tls.session_reused
        verified = verify_server(facts_of(tls, known), RULE, AUTHORITY, datetime.now(UTC), Limits())
        expected = Verdict.MATCHED if known_leaf is LEAF else Verdict.CHAIN_UNAVAILABLE
        assert (verified.judgement.verdict, verified.chain is None) == (expected, known_leaf is OTHER)


@each_version
def test_a_full_handshake_gives_the_whole_chain_and_is_allowed(version: ssl.TLSVersion) -> None:
    """The twin: the same two contexts, and no session offered."""
    server, client = server_context(LEAF), client_context(ROOT.anchors, "1.2", ())
    server.maximum_version = version
    for _ in range(2):
        with connected(server, client) as tls:
            facts = facts_of(tls)
        assert not facts.is_resumed
        assert [item.der for item in facts.sent.certificates] == [LEAF.der, INTERMEDIATE.der]
        assert facts.platform_chain is not None
        assert [item.der for item in facts.platform_chain.certificates] == [LEAF.der, INTERMEDIATE.der, ROOT.der]
        assert facts.tls_version == version.name.replace("_", ".")
        judgement = verify_server(facts, RULE, AUTHORITY, datetime.now(UTC), Limits()).judgement
        assert (judgement.verdict, judgement.decision) == (Verdict.MATCHED, Decision.ALLOW)


@each_version
def test_a_handshake_that_validates_nothing_tells_of_no_validated_path(version: ssl.TLSVersion) -> None:
    """OpenSSL tries all the same, and gives the path it had when it failed; the roots here would even make it a good one."""
    server, client = server_context(LEAF), client_context(PinsOnly(), "1.2", ())
    server.maximum_version = version
    client.load_verify_locations(cadata=ROOT.der)
    client_context.cache_clear()  # nobody else is to have these roots
    with connected(server, client) as tls:
        facts = facts_of(tls)
    assert facts.platform_chain is None
    assert [item.der for item in facts.sent.certificates] == [LEAF.der, INTERMEDIATE.der]


# --- the handshakes themselves -------------------------------------------------------------------------------------------


async def pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected, non-blocking sockets."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    theirs.settimeout(0)
    return ours, theirs


async def test_both_sides_meet() -> None:
    """The client's handshake and the server's, on one loop."""
    ours, theirs = await pair()
    context = client_context(ROOT.anchors, "1.2", ("h2",))
    (tls, facts), peer = await asyncio.gather(
        shake_hands_with_server(ours, context, AUTHORITY, 5.0),
        shake_hands_with_client(theirs, server_context(LEAF, alpn=("h2",)), 5.0),
    )
    with tls, peer:
        assert (tls.selected_alpn_protocol(), peer.selected_alpn_protocol()) == ("h2", "h2")
        assert facts.sent.certificates[0].der == LEAF.der
        assert tls.gettimeout() == 0.0


@pytest.mark.parametrize("side", ["server", "client"])
async def test_a_peer_that_says_nothing_is_given_so_long_and_no_longer(side: str) -> None:
    """The deadline is for the whole handshake, and the socket is closed."""
    ours, theirs = await pair()
    with theirs:
        if side == "server":
            with pytest.raises(HandshakeTimeout, match=r"within 0\.05 s"):
                await shake_hands_with_server(ours, client_context(ROOT.anchors, "1.2", ()), AUTHORITY, 0.05)
        else:
            with pytest.raises(DownstreamTlsFailed, match=r"within 0\.05 s"):
                await shake_hands_with_client(ours, server_context(LEAF), 0.05)
        assert ours.fileno() == -1


@pytest.mark.parametrize("side", ["server", "client"])
async def test_a_peer_that_goes_away_is_a_failed_handshake(side: str) -> None:
    """An end is translated like everything else that OpenSSL says."""
    ours, theirs = await pair()
    theirs.close()
    if side == "server":
        with pytest.raises(TlsHandshakeFailed):
            await shake_hands_with_server(ours, client_context(ROOT.anchors, "1.2", ()), AUTHORITY, 5.0)
    else:
        with pytest.raises(DownstreamTlsFailed, match="connection closed"):
            await shake_hands_with_client(ours, server_context(LEAF), 5.0)
    assert ours.fileno() == -1


@each_version
async def test_a_refused_certificate_is_told_of_as_it_was_sent(version: ssl.TLSVersion) -> None:
    """OpenSSL keeps what it refused: its names, its dates and its missing issuer are no secret of its own."""
    other, old = make_leaf(INTERMEDIATE, "other.test"), make_leaf(INTERMEDIATE, HOST, not_before=NOW - YEAR, not_after=NOW - DAY)
    for leaf, kind, said in (
        (other, HostnameMismatch, f"is for other.test, not for {HOST}"),
        (old, CertificateExpired, f"to {NOW - DAY:%Y-%m-%d}, issued by CN=Test Intermediate"),
        (make_leaf(make_root("Else"), HOST), ChainInvalid, f"CN=Else, which issued CN={HOST}, was not sent"),
    ):
        ours, theirs = await pair()
        server = server_context(leaf)
        server.maximum_version = version
        refused, _ = await asyncio.gather(
            shake_hands_with_server(ours, client_context(ROOT.anchors, "1.2", ()), AUTHORITY, 5.0),
            shake_hands_with_client(theirs, server, 5.0),
            return_exceptions=True,
        )
        assert isinstance(refused, kind)
        assert said in refused.detail
        theirs.close()


async def test_a_cancelled_handshake_closes_its_socket() -> None:
    """Nobody else holds it."""
    ours, theirs = await pair()
    with theirs:
        task = asyncio.create_task(shake_hands_with_server(ours, client_context(ROOT.anchors, "1.2", ()), AUTHORITY, 5.0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ours.fileno() == -1


async def test_a_refusal_never_quotes_the_peer() -> None:
    """What a peer sends is not repeated to the client or the log; OpenSSL's own constant is."""
    ours, theirs = await pair()
    with theirs:
        theirs.send(b"<script>alert(1)</script>\r\n" * 10)
        with pytest.raises(TlsHandshakeFailed) as caught:
            await shake_hands_with_server(ours, client_context(ROOT.anchors, "1.2", ()), AUTHORITY, 5.0)
    assert "script" not in caught.value.detail
    assert "something that is no TLS" in caught.value.detail
    assert "WRONG_VERSION_NUMBER" in caught.value.detail


@pytest.mark.parametrize("side", ["server", "client"])
async def test_a_peer_that_reset_before_the_handshake_is_a_failed_handshake(side: str) -> None:
    """Python notices when the socket is wrapped, which is no other error than later on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    ours.settimeout(0)
    if side == "server":
        with pytest.raises(TlsHandshakeFailed, match="connection reset"):
            await shake_hands_with_server(ours, client_context(ROOT.anchors, "1.2", ()), AUTHORITY, 5.0)
    else:
        with pytest.raises(DownstreamTlsFailed, match="connection reset"):
            await shake_hands_with_client(ours, server_context(LEAF), 5.0)
    assert ours.fileno() == -1


@pytest.mark.attack(
    "hosts, ports and ALPN offers without end, to fill what is remembered of each of them", expect="bound", topic="resources"
)
def test_contexts_are_kept_up_to_a_bound() -> None:
    """Each holds its roots, and a client chooses the offer that it is made for."""
    offers = [(f"protocol-{number}",) for number in range(65)]
    first, *_, last = [client_context(ROOT.anchors, "1.2", offer) for offer in offers]
    assert client_context(ROOT.anchors, "1.2", offers[-1]) is last
    assert client_context(ROOT.anchors, "1.2", offers[0]) is not first
