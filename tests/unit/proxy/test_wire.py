from __future__ import annotations

import pytest

from pinproxy.errors import ChainUnavailable, InternalError, Refused, TlsHandshakeFailed, TlsVersion
from pinproxy.pins.chain import VerifiedChain, certificate
from pinproxy.policy.verdict import Assurance, Verdict
from pinproxy.proxy.verified_sessions import VerifiedSession, VerifiedSessions
from pinproxy.tls.client_hello import parse_client_hello
from tests.harness.tls_handshakes import Handshake, refragment
from tests.harness.tunnelling import IMPOSTOR, LEAF, ROOT, TLS12, TLS13, client_context, origin_context, tunnel_rule
from tests.harness.wires import AUTHORITY, flight_end, handshake, preflight_of, preflights, wire_for

CHAIN = VerifiedChain((certificate(LEAF.der), certificate(ROOT.der)))


async def test_the_verdict_comes_with_the_last_byte_of_the_flight_and_not_before() -> None:
    """Cut in two anywhere: nothing may go to the client one byte earlier."""
    full = handshake()
    flight = full.server_bytes[: flight_end(full)]
    async with preflights() as made:
        for at in range(1, len(flight)):
            wire, ear = wire_for(full.client_bytes, made)
            await wire.see(flight[:at])
            had_verdict = wire.has_verdict
            await wire.see(flight[at:])
            assert (had_verdict, wire.has_verdict) == (False, True)
            assert [heard.verified.judgement.assurance for heard in ear.heard] == [Assurance.FULL]


@pytest.mark.parametrize("record_bytes", [1, 7, 2**14])
async def test_a_flight_may_come_byte_by_byte_in_records_of_any_size(record_bytes: int) -> None:
    """The same verdict, and not before the last byte."""
    full = handshake()
    flight = refragment(full.server_bytes[: flight_end(full)], record_bytes)
    async with preflights() as made:
        wire, _ = wire_for(full.client_bytes, made)
        for at in range(len(flight)):
            assert not wire.has_verdict
            await wire.see(flight[at : at + 1])
        assert wire.has_verdict
        assert wire.verified.verified.judgement.verdict is Verdict.MATCHED


async def test_a_wire_without_a_verdict_has_nothing_to_rest_on() -> None:
    """Whoever asks too early has a defect."""
    async with preflights() as made:
        wire, _ = wire_for(handshake().client_bytes, made)
        with pytest.raises(InternalError):
            _ = wire.verified


async def test_the_flight_of_another_handshake_is_refused() -> None:
    """The signature covers the randoms of both sides, so it cannot be replayed."""
    one, other = handshake(), handshake()
    async with preflights() as made:
        wire, ear = wire_for(one.client_bytes, made)
        with pytest.raises(TlsHandshakeFailed, match="not signed by the key"):
            await wire.see(other.server_bytes[: flight_end(other)])
        assert (wire.has_verdict, ear.heard) == (False, [])


async def test_a_verdict_against_it_is_told_and_lets_nothing_go() -> None:
    """In enforce mode; the log line needs the chain that was seen."""
    full = handshake()
    rule = tunnel_rule(None, pins=[IMPOSTOR.pin], mode="report-only")
    denying = tunnel_rule(None, pins=[IMPOSTOR.pin])
    async with preflights() as made:
        for given, is_let_go in ((rule, True), (denying, False)):
            wire, ear = wire_for(full.client_bytes, made, rule=given, preflight=preflight_of(given))
            if is_let_go:
                await wire.see(full.server_bytes[: flight_end(full)])
            else:
                with pytest.raises(Refused):
                    await wire.see(full.server_bytes[: flight_end(full)])
            assert wire.has_verdict is is_let_go
            assert [heard.verified.judgement.verdict for heard in ear.heard] == [Verdict.NO_MATCH]


# --- sessions --------------------------------------------------------------------------------------------------------------


def resumed() -> tuple[Handshake, bytes]:
    """Resume a session by its ticket; returns the handshake and the ticket offered."""
    client, server = client_context(TLS12), origin_context(newest=TLS12)
    first = handshake(client=client, server=server)
    again = handshake(session=first.client_session, client=client, server=server)
    hello = parse_client_hello(again.client_bytes)
    assert hello is not None
    return again, hello.session_ticket


async def test_a_resumed_session_passes_only_if_it_was_verified_under_this_rule() -> None:
    """An abbreviated handshake shows nothing but a name."""
    again, ticket = resumed()
    flight = again.server_bytes
    async with preflights() as made:
        for session, passes in (
            (VerifiedSession(AUTHORITY, tunnel_rule(None), CHAIN), True),
            (VerifiedSession(AUTHORITY, tunnel_rule(None, mode="report-only"), CHAIN), False),
            (None, False),
        ):
            sessions = VerifiedSessions()
            if session is not None:
                sessions.remember(ticket, session)
            wire, ear = wire_for(again.client_bytes, made, sessions)
            if passes:
                await wire.see(flight)
                assert [heard.facts.is_resumed for heard in ear.heard] == [True]
                assert ear.heard[0].verified.judgement.assurance is Assurance.FULL
            else:
                with pytest.raises(ChainUnavailable):
                    await wire.see(flight)
            assert wire.has_verdict is passes


async def test_the_new_ticket_of_a_resumed_session_is_remembered_once_the_client_goes_on() -> None:
    """RFC 5077 §3.3: a server may renew the ticket in an abbreviated handshake."""
    again, ticket = resumed()
    hello_end = 5 + int.from_bytes(again.server_bytes[3:5], "big")
    body = b"\x00\x00\x1c\x20" + (12).to_bytes(2, "big") + b"a new ticket"
    message = b"\x04" + len(body).to_bytes(3, "big") + body
    renewal = b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message
    sessions = VerifiedSessions()
    session = VerifiedSession(AUTHORITY, tunnel_rule(None), CHAIN)
    sessions.remember(ticket, session)
    async with preflights() as made:
        wire, _ = wire_for(again.client_bytes, made, sessions)
        await wire.see(again.server_bytes[:hello_end] + renewal + again.server_bytes[hello_end:])
    assert sessions.find(AUTHORITY, (b"a new ticket",), session.rule) is None
    assert wire.tap_up(b"\x14\x03\x03\x00\x01\x01" + b"\x16\x03\x03\x00\x28" + bytes(40))
    assert sessions.find(AUTHORITY, (b"a new ticket",), session.rule) is None
    assert not wire.tap_up(b"\x17\x03\x03\x00\x01x")
    assert sessions.find(AUTHORITY, (b"a new ticket",), session.rule) == session


async def test_a_full_flight_with_its_end_in_one_read_is_no_abbreviated_handshake() -> None:
    """A ChangeCipherSpec behind a certificate is the end of a full handshake, however early it comes."""
    full = handshake()
    async with preflights() as made:
        wire, ear = wire_for(full.client_bytes, made)
        await wire.see(full.server_bytes)
        assert wire.has_verdict
        assert [heard.facts.is_resumed for heard in ear.heard] == [False]


async def test_the_taps_end_with_the_handshake() -> None:
    """What follows is the kernel's to move."""
    full = handshake()
    end = flight_end(full)
    async with preflights() as made:
        wire, _ = wire_for(full.client_bytes, made)
        await wire.see(full.server_bytes[:end])
        assert wire.tap_down(full.server_bytes[end : end + 10])
        assert not wire.tap_down(full.server_bytes[end + 10 :])
        tls13 = handshake(newest=TLS13)
        rule = tunnel_rule(None, tls13="preflight")
        wire, ear = wire_for(tls13.client_bytes, made, rule=rule, preflight=preflight_of(rule, tls_version="TLSv1.3"))
        await wire.see(tls13.server_bytes)
        assert ear.heard[0].verified.judgement.assurance is Assurance.ADVISORY
        assert (wire.tap_up(b"\x14\x03\x03"), wire.tap_down(b"\x17\x03\x03")) == (False, False)


@pytest.mark.attack(
    "a HelloRetryRequest, and then TLS 1.2",
    expect="tls_handshake_failed",
    topic="tunnel",
    motive="RFC 8446 §4.1.4",
)
async def test_a_hello_retry_request_that_is_followed_by_less_is_cut_behind_the_verdict_too() -> None:
    """RFC 8446 §4.1.4: a client that was asked for another share speaks TLS 1.3 from then on."""
    server = origin_context()
    server.set_ecdh_curve("secp521r1")  # no client sends a share for it unasked
    retry = handshake(newest=TLS13, server=server)
    rule = tunnel_rule(None, tls13="preflight")
    less = handshake()
    end = 5 + int.from_bytes(retry.server_bytes[3:5], "big")
    async with preflights() as made:
        for rest, is_refused in ((retry.server_bytes[end:], False), (less.server_bytes, True)):
            wire, _ = wire_for(retry.client_bytes, made, rule=rule, preflight=preflight_of(rule, tls_version="TLSv1.3"))
            await wire.see(retry.server_bytes[:end])
            assert wire.has_verdict
            if is_refused:
                with pytest.raises(TlsHandshakeFailed):
                    wire.tap_down(rest)
            else:
                assert not wire.tap_down(rest)


async def test_a_version_below_the_rules_is_refused_at_the_first_message() -> None:
    """And not only where a whole flight has been seen."""
    full = handshake()
    rule = tunnel_rule(None, min_tls="1.3", tls13="preflight")
    preflight = preflight_of(rule, tls_version="TLSv1.3")
    end = 5 + int.from_bytes(full.server_bytes[3:5], "big")
    async with preflights() as made:
        wire, _ = wire_for(full.client_bytes, made, rule=rule, preflight=preflight)
        with pytest.raises(TlsVersion):
            await wire.see(full.server_bytes[:end])
