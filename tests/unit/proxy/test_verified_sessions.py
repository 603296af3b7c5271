from __future__ import annotations

from pinproxy.authority import Authority
from pinproxy.pins.chain import VerifiedChain, certificate
from pinproxy.proxy.verified_sessions import VerifiedSession, VerifiedSessions
from tests.harness.running import HOST
from tests.harness.tunnelling import IMPOSTOR, LEAF, ROOT, SECOND, tunnel_rule

AUTHORITY = Authority(HOST, 443)
CHAIN = VerifiedChain((certificate(LEAF.der), certificate(ROOT.der)))
RULE = tunnel_rule(None)
SESSION = VerifiedSession(AUTHORITY, RULE, CHAIN)


def test_a_session_is_found_by_any_of_its_names() -> None:
    """A client may offer a ticket and an id (RFC 5077 §3.4); an empty name is none."""
    sessions = VerifiedSessions()
    sessions.remember(b"ticket", SESSION)
    assert sessions.find(AUTHORITY, (b"ticket", b""), RULE) == SESSION
    assert sessions.find(AUTHORITY, (b"", b"ticket"), RULE) == SESSION
    assert sessions.find(AUTHORITY, (b"", b""), RULE) is None
    assert sessions.find(AUTHORITY, (b"other",), RULE) is None


def test_a_session_belongs_to_its_host_its_port_and_the_rule_it_was_verified_under() -> None:
    """A rule that says the same is the same, whichever reload made it."""
    sessions = VerifiedSessions()
    sessions.remember(b"ticket", SESSION)
    assert sessions.find(AUTHORITY, (b"ticket",), tunnel_rule(None)) == SESSION
    assert sessions.find(Authority(HOST, 8443), (b"ticket",), RULE) is None
    assert sessions.find(Authority("other.example.test", 443), (b"ticket",), RULE) is None
    for change in ({"pins": [LEAF.pin, SECOND.pin]}, {"mode": "report-only"}, {"trust": ROOT.anchors}, {"min_tls": "1.3"}):
        assert sessions.find(AUTHORITY, (b"ticket",), tunnel_rule(None, **change)) is None


def test_a_name_stays_with_the_session_it_was_first_seen_with() -> None:
    """Whoever repeats a known name in another handshake does not make that session a verified one."""
    sessions = VerifiedSessions()
    tolerated = VerifiedSession(AUTHORITY, tunnel_rule(None, mode="report-only"), VerifiedChain((certificate(IMPOSTOR.der),)))
    sessions.remember(b"ticket", tolerated)
    sessions.remember(b"ticket", SESSION)
    assert sessions.find(AUTHORITY, (b"ticket",), RULE) is None
    assert sessions.find(AUTHORITY, (b"ticket",), tolerated.rule) == tolerated


def test_the_sessions_not_used_for_longest_are_forgotten_first() -> None:
    """Bounded, whatever servers hand out."""
    sessions = VerifiedSessions(kept=3)
    for name in (b"1", b"2", b"3"):
        sessions.remember(name, SESSION)
    assert sessions.find(AUTHORITY, (b"1",), RULE) == SESSION
    sessions.remember(b"4", SESSION)
    assert [sessions.find(AUTHORITY, (name,), RULE) is not None for name in (b"1", b"2", b"3", b"4")] == [True, False, True, True]


def test_no_ticket_is_kept_as_it_came() -> None:
    """A ticket is half a secret."""
    sessions = VerifiedSessions()
    sessions.remember(b"a ticket of some length", SESSION)
    assert b"a ticket of some length" not in sessions._sessions
