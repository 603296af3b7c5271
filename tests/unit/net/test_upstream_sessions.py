"""Which session is offered where, and for how long."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pinproxy.authority import Authority
from pinproxy.net.upstream_sessions import Place, UpstreamSessions
from pinproxy.pins.chain import SentChain, VerifiedChain, certificate
from pinproxy.policy.verify import HandshakeFacts, Session
from tests.harness.pki import NOW, make_leaf, make_root
from tests.harness.running import HOST, host_rule

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
RULE = host_rule([LEAF.pin], ROOT.anchors)
FACTS = HandshakeFacts(
    "TLSv1.3",
    session=Session.NEW,
    sent=SentChain((certificate(LEAF.der),)),
    platform_chain=VerifiedChain((certificate(LEAF.der), certificate(ROOT.der))),
)
PLACE = Place(Authority(HOST, 443), ("192.0.2.1", 443), None, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def connection(**session: Any) -> ssl.SSLSocket:
    """Stand in for a connection by its session, with the attributes that Python tells of one."""
    told = {"has_ticket": True, "id": b"id", "timeout": 7200, "ticket_lifetime_hint": 300}
    return cast("ssl.SSLSocket", SimpleNamespace(session=SimpleNamespace(**told | session)))


def kept(tls: ssl.SSLSocket | None = None, facts: HandshakeFacts = FACTS, seconds: float = 600) -> UpstreamSessions:
    """Keep one session."""
    sessions = UpstreamSessions(seconds)
    sessions.keep(PLACE, RULE, facts, tls or connection(), NOW)
    return sessions


def test_a_session_is_found_with_what_its_full_handshake_showed() -> None:
    """As often as it is asked for."""
    tls = connection()
    sessions = kept(tls)
    for _ in range(2):
        found = sessions.find(PLACE, RULE, NOW)
        assert found is not None
        assert (found.session, found.facts, found.rule) == (tls.session, FACTS, RULE)


@pytest.mark.attack("a session of one host, offered to another", expect="neutralise", topic="pins", motive="CVE-2025-13034")
@pytest.mark.parametrize(
    "change",
    [
        {"authority": Authority("other.example.test", 443)},
        {"authority": Authority(HOST, 8443)},
        {"address": ("192.0.2.2", 443)},
        {"address": ("192.0.2.1", 8443)},
        {"behind_proxy": Authority(HOST, 443)},
        {"context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)},
    ],
    ids=["host", "port", "address", "port dialled", "way", "context"],
)
def test_a_session_is_offered_in_its_place_alone(change: dict[str, Any]) -> None:
    """The twin is the test above."""
    assert kept().find(PLACE._replace(**change), RULE, NOW) is None


def test_a_session_is_offered_under_the_very_rule_it_was_verified_under() -> None:
    """A rule that is merely equal belongs to another table."""
    assert kept().find(PLACE, replace(RULE), NOW) is None


@pytest.mark.parametrize(
    ("version", "session", "seconds"),
    [
        ("TLSv1.3", {}, 300),
        ("TLSv1.3", {"timeout": 100}, 100),
        ("TLSv1.3", {"ticket_lifetime_hint": 604800}, 600),
        ("TLSv1.2", {"ticket_lifetime_hint": 0, "timeout": 100}, 100),
        ("TLSv1.2", {"has_ticket": False, "ticket_lifetime_hint": 0}, 600),
    ],
    ids=["hint", "timeout", "limit", "hint unspecified", "session id"],
)
def test_a_session_ends_with_the_first_of_its_bounds(version: str, session: dict[str, Any], seconds: int) -> None:
    """What the server says, what OpenSSL says, what the configuration says; and nothing is offered before it was made."""
    sessions = kept(connection(**session), replace(FACTS, tls_version=version))
    for offset, is_found in ((-1, False), (0, True), (seconds - 1, True), (seconds, False)):
        assert (sessions.find(PLACE, RULE, NOW + timedelta(seconds=offset)) is not None) is is_found


@pytest.mark.parametrize(
    ("version", "session"),
    [
        ("TLSv1.3", {"ticket_lifetime_hint": 0}),
        ("TLSv1.3", {"has_ticket": False}),
        ("TLSv1.2", {"has_ticket": False, "id": b""}),
    ],
    ids=["to be discarded", "no ticket", "no id"],
)
def test_a_server_that_gives_nothing_to_resume_is_not_asked_for_it_at_every_connection(
    version: str, session: dict[str, Any]
) -> None:
    """To copy a session out of OpenSSL costs a quarter of a handshake; after the limit it is tried again."""
    facts = replace(FACTS, tls_version=version)
    sessions = kept(connection(**session), facts)
    sessions.keep(PLACE, RULE, facts, connection(), NOW + timedelta(seconds=599))
    assert sessions.find(PLACE, RULE, NOW + timedelta(seconds=599)) is None
    sessions.keep(PLACE, RULE, facts, connection(), NOW + timedelta(seconds=600))
    assert sessions.find(PLACE, RULE, NOW + timedelta(seconds=600)) is not None


@pytest.mark.attack(
    "a session that was never verified in a full handshake is kept",
    expect="neutralise",
    topic="pins",
    motive="CVE-2025-68121",
)
@pytest.mark.parametrize(
    "facts", [replace(FACTS, session=Session.KNOWN), replace(FACTS, platform_chain=None)], ids=["resumed", "no chain"]
)
def test_only_a_full_handshake_that_was_verified_makes_a_session_worth_keeping(facts: HandshakeFacts) -> None:
    """What a resumed one would be renewed with is still the certificate of the first."""
    assert len(kept(facts=facts)) == 0


def test_a_connection_that_is_closed_already_leaves_no_session() -> None:
    """Python has none to tell of then; the next one is asked."""
    sessions = kept(cast("ssl.SSLSocket", SimpleNamespace(session=None)))
    assert len(sessions) == 0


def test_what_is_forgotten_declined_or_cleared_is_not_offered() -> None:
    """One refusal is enough."""
    sessions = kept()
    sessions.forget(PLACE)
    assert sessions.find(PLACE, RULE, NOW) is None
    sessions = kept()
    sessions.decline(PLACE, RULE, FACTS, NOW)
    assert sessions.find(PLACE, RULE, NOW) is None
    sessions = kept()
    sessions.clear()
    assert sessions.find(PLACE, RULE, NOW) is None


def test_the_sessions_are_bounded_and_the_one_used_longest_ago_goes_first() -> None:
    """However many hosts a wildcard rule leads to."""
    sessions = UpstreamSessions(600, kept=2)
    places = [PLACE._replace(authority=Authority(HOST, port)) for port in (1, 2, 3)]
    for place in places[:2]:
        sessions.keep(place, RULE, FACTS, connection(), NOW)
    assert sessions.find(places[0], RULE, NOW) is not None
    sessions.keep(places[2], RULE, FACTS, connection(), NOW)
    assert [sessions.find(place, RULE, NOW) is not None for place in places] == [True, False, True]


@pytest.mark.attack(
    "ALPN offers of a client, each of its own, to fill the memory with contexts", expect="neutralise", topic="faults"
)
@pytest.mark.parametrize(("contexts", "found"), [(65, 1), (64, 64), (1, 65)])
def test_sessions_hold_no_more_contexts_than_there_would_be_without_them(contexts: int, found: int) -> None:
    """A context takes nearly 1 MB; the twins are one context fewer, and as many hosts with one context."""
    sessions = UpstreamSessions(600)
    made = [ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(contexts)]
    for port in range(max(contexts, found)):
        place = PLACE._replace(authority=Authority(HOST, 1 + port), context=made[port % contexts])
        sessions.keep(place, RULE, FACTS, connection(), NOW)
    assert len(sessions) == found


@pytest.mark.attack(
    "new places without end, for each of which a Python with a leak loses the copy of a session",
    expect="bound",
    topic="resources",
    motive="CPython issue 116810",
)
@pytest.mark.parametrize(
    ("python", "read"),
    [
        ((3, 11, 14), 512),
        ((3, 12, 7), 512),
        ((3, 12, 8), 600),
        ((3, 13, 0), 512),
        ((3, 13, 1), 600),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_python_that_loses_memory_with_each_session_reads_no_more_than_so_many(python: tuple[int, int, int], read: int) -> None:
    """The versions are those the repair went into; nobody else has to go without."""
    sessions = UpstreamSessions(600, python=python)
    for port in range(1, 601):
        sessions.keep(PLACE._replace(authority=Authority(HOST, port)), RULE, FACTS, connection(), NOW)
    assert len(sessions) == read
