"""TLS 1.2 sessions in tunnels: an abbreviated handshake shows no certificate, and passes only if its session was verified here.

The names of sessions travel in plaintext under no signature (`proxy.session_proof`), so some of these tests have an attacker
between the proxy and the true server who writes other names in their place.
"""

from __future__ import annotations

import ssl
from datetime import timedelta

import pytest

from pinproxy.policy.rule import PinsOnly
from pinproxy.policy.table import PolicyTable
from pinproxy.tls.alert import AlertDescription, alert
from pinproxy.tls.client_hello import parse_client_hello
from pinproxy.tls.records import HandshakeType
from tests.harness.origin import running_origin
from tests.harness.pki import NOW, Issued
from tests.harness.running import HOST, running_proxy
from tests.harness.tunnelling import (
    BOTH,
    IMPOSTOR,
    LEAF,
    SECOND,
    TLS12,
    client_context,
    fetch,
    fetch_directly,
    hear,
    origin_context,
    running_go_between,
    tunnel_rule,
    tunnelling,
    with_body,
)

CUT = alert(AlertDescription.CERTIFICATE_UNKNOWN)


def origin_with(way: str, leaf: Issued = LEAF) -> ssl.SSLContext:
    """Make the context of an origin that resumes by ticket or by session id."""
    context = origin_context(leaf, newest=TLS12)
    if way == "session id":
        context.options |= ssl.OP_NO_TICKET
    return context


each_way = pytest.mark.parametrize("way", ["ticket", "session id"])


@each_way
async def test_a_session_that_was_verified_here_is_resumed_with_full_assurance(way: str) -> None:
    """No certificate is seen the second time; the secret of the session stands for it."""
    client = client_context(TLS12)
    async with tunnelling(origin_with(way)) as stage:
        first = await fetch(stage.proxy, client)
        assert first.session is not None
        assert first.session.has_ticket is (way == "ticket")
        again = await fetch(stage.proxy, client, first.session)
        assert (first.was_resumed, again.was_resumed, again.body) == (False, True, b"GET / 0\n")
        line = await stage.proxy.connection(count=2)
    assert (line["verdict"], line["assurance"], line["decision"]) == ("matched", "full", "allow")
    assert (line["tls_version"], line["matched_pin"]) == ("TLSv1.2", str(LEAF.pin))


@pytest.mark.attack(
    "TLS 1.2: an abbreviated handshake, by ticket or session id, with a session that was never verified here",
    expect="chain_unavailable",
    topic="tunnel",
    motive="RFC 5246 §7.3, RFC 5077",
)
@each_way
async def test_a_session_made_elsewhere_is_cut(way: str) -> None:
    """Whoever resumes it may be the one it was made with, and nobody has seen that one's certificate."""
    client = client_context(TLS12)
    async with tunnelling(origin_with(way)) as stage:
        elsewhere = await fetch_directly(stage.origin.port, client)
        assert await hear(stage.proxy, hello_with(client, elsewhere.session)) == CUT
        assert (await stage.proxy.connection())["code"] == "chain_unavailable"
        # The twin: the same client without that session.
        assert (await fetch(stage.proxy, client)).body == b"GET / 0\n"


async def test_a_server_that_does_not_know_the_session_is_verified_in_full() -> None:
    """Offering a session is no fault; only resuming an unknown one is."""
    client = client_context(TLS12)
    async with running_origin(origin_with("ticket")) as other, tunnelling(origin_with("ticket")) as stage:
        elsewhere = await fetch_directly(other.port, client)
        fetched = await fetch(stage.proxy, client, elsewhere.session)
        assert (fetched.was_resumed, fetched.body) == (False, b"GET / 0\n")
        assert (await stage.proxy.connection())["assurance"] == "full"


@pytest.mark.attack(
    "TLS 1.2: a session that was verified under pins since changed",
    expect="chain_unavailable",
    topic="tunnel",
    motive="CVE-2022-21654",
)
@each_way
async def test_changed_pins_end_the_sessions_that_were_verified_under_the_old_ones(way: str) -> None:
    """What was verified under other pins was not verified; a reload that changes nothing for the host ends none."""
    client = client_context(TLS12)
    async with tunnelling(origin_with(way)) as stage:
        session = (await fetch(stage.proxy, client)).session
        stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port),)))
        resumed = await fetch(stage.proxy, client, session)
        assert resumed.was_resumed
        stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port, pins=[LEAF.pin, SECOND.pin]),)))
        assert await hear(stage.proxy, hello_with(client, resumed.session)) == CUT
        assert (await stage.proxy.connection(count=3))["code"] == "chain_unavailable"


@pytest.mark.attack(
    "TLS 1.2: an impostor resumes, under enforced pins, a session that report-only let pass",
    expect="chain_unavailable",
    topic="tunnel",
    motive="CVE-2022-21654",
)
async def test_a_session_from_report_only_is_worth_nothing_once_pins_are_enforced() -> None:
    """The rollout of pins: who was tolerated with a report before is not let in by his session afterwards."""
    client = client_context(TLS12)
    # The preflights of both phases find the true server; the attacker takes the client's connections.
    contexts = [origin_with("ticket"), origin_with("ticket", IMPOSTOR)]
    preflights = {0, 3}
    async with (
        running_origin(lambda number: contexts[number not in preflights]) as origin,
        running_proxy(tunnel_rule(origin.port, mode="report-only")) as proxy,
    ):
        tolerated = await fetch(proxy, client)
        assert (await proxy.connection())["would_deny"] is True
        proxy.server.swap(PolicyTable((tunnel_rule(origin.port),)))
        assert await hear(proxy, hello_with(client, tolerated.session)) == CUT
        assert (await proxy.connection(count=2))["code"] == "chain_unavailable"


@pytest.mark.attack(
    "TLS 1.3: a session that was made elsewhere, resumed in a tunnel, which shows no certificate at all",
    expect=("advise", "tls13_unverifiable"),
    topic="tunnel",
    motive="RFC 8446 §2.2",
)
async def test_a_session_of_tls13_is_worth_no_more_than_the_preflight() -> None:
    """Nobody on the wire can tell whom it was made with: `advisory` where that is accepted, and refused where it is not."""
    client = client_context()
    async with tunnelling(origin_context(), rule={"tls13": "preflight"}) as stage:
        elsewhere = await fetch_directly(stage.origin.port, client)
        fetched = await fetch(stage.proxy, client, elsewhere.session)
        assert (fetched.version, fetched.was_resumed) == ("TLSv1.3", True)
        assert (await stage.proxy.connection())["assurance"] == "advisory"
        stage.proxy.server.swap(PolicyTable((tunnel_rule(stage.port),)))
        assert await hear(stage.proxy, hello_with(client, elsewhere.session)) == alert(AlertDescription.PROTOCOL_VERSION)
        assert (await stage.proxy.connection(count=2))["code"] == "tls13_unverifiable"


# --- an attacker who writes another name in the place of a true session's -----------------------------------------------------


@pytest.mark.attack(
    "TLS 1.2: the attacker's ticket written in the place of the one of a true, verified handshake",
    expect="chain_unavailable",
    topic="tunnel",
    motive="tickets travel unsigned, RFC 5077 §3.3",
)
async def test_a_name_that_the_client_did_not_accept_is_no_verified_session() -> None:
    """The attacker holds a session with the client from elsewhere, and gives its ticket out as that of a true handshake.

    ::

        1.  client -> attacker, past the proxy:  a session; its ticket is EVIL
        2.  client -> proxy -> attacker -> true server:  certificate and signature are true, the ticket is replaced by EVIL
        3.  client -> proxy -> attacker:  offers EVIL, which the attacker resumes
    """
    client = client_context(TLS12)
    evil = b""

    def replace_ticket(connection: int, number: int, data: bytes) -> tuple[bytes, bool]:
        if connection != 1 or number != 1:
            return data, True
        size = 5 + int.from_bytes(data[3:5], "big")
        assert data[5] == HandshakeType.NEW_SESSION_TICKET
        ticket = with_body(data[:size], data[5], lambda body: body[:4] + len(evil).to_bytes(2, "big") + evil)
        return ticket + data[size:], True

    async with (
        running_origin(origin_with("ticket")) as honest,
        running_origin(origin_with("ticket", IMPOSTOR)) as attacker,
        running_go_between(lambda first: attacker.port if evil and evil in first else honest.port, replace_ticket) as port,
        running_proxy(tunnel_rule(port)) as proxy,
    ):
        elsewhere = await fetch_directly(attacker.port, client)
        evil = ticket_of(client, elsewhere.session)
        with pytest.raises(ssl.SSLError):  # Finished does not fit what the client has seen
            await fetch(proxy, client)
        assert (await proxy.connection())["verdict"] == "matched"
        assert await hear(proxy, hello_with(client, elsewhere.session)) == CUT
        assert (await proxy.connection(count=2))["code"] == "chain_unavailable"
        assert attacker.handshakes == 1


@pytest.mark.attack(
    "TLS 1.2: a client in league with the attacker renames a session that was seen before",
    expect="neutralise",
    topic="tunnel",
    motive="tickets travel unsigned, RFC 5077 §3.3",
)
async def test_the_client_of_an_attacker_cannot_rename_a_session_that_was_seen_before() -> None:
    """A name belongs to the handshake it was first seen in, even if somebody goes on who should not have."""
    client = client_context(TLS12)
    async with (
        running_origin(origin_with("ticket", IMPOSTOR)) as origin,
        running_proxy(tunnel_rule(origin.port, mode="report-only", trust=BOTH)) as proxy,
    ):
        tolerated = await fetch(proxy, client)
        sessions = proxy.server._proxy.sessions
        ticket = ticket_of(client, tolerated.session)
        (known,) = [entry for entry in sessions._sessions.values() if entry.chain.leaf.der == IMPOSTOR.der][:1]
        other = type(known)(known.authority, tunnel_rule(origin.port), known.chain)
        sessions.remember(ticket, other)
        assert sessions.find(known.authority, (ticket,), other.rule) is None
        assert sessions.find(known.authority, (ticket,), known.rule) == known


# --- clients ---------------------------------------------------------------------------------------------------------------


def hello_with(client: ssl.SSLContext, session: ssl.SSLSession | None) -> bytes:
    """Make a ClientHello that offers a session."""
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST, session=session).do_handshake()
    return outgoing.read()


def ticket_of(client: ssl.SSLContext, session: ssl.SSLSession | None) -> bytes:
    """Read the ticket of a session out of a ClientHello that offers it."""
    hello = parse_client_hello(hello_with(client, session))
    assert hello is not None
    assert hello.session_ticket
    return hello.session_ticket


async def test_a_session_ends_with_the_certificates_that_it_was_verified_by() -> None:
    """No certificate is shown again, so nobody but us can see that one of them has ended."""
    times = [NOW]
    client = client_context(TLS12)
    async with tunnelling(origin_with("ticket"), clock=lambda: times[-1]) as stage:
        first = await fetch(stage.proxy, client)
        times.append(LEAF.certificate.not_valid_after_utc)
        again = await fetch(stage.proxy, client, first.session)
        assert again.was_resumed
        times.append(times[-1] + timedelta(seconds=1))
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_EXPIRED"):
            await fetch(stage.proxy, client, again.session)
        assert (await stage.proxy.connection(count=3))["code"] == "certificate_expired"


async def test_a_session_outlives_its_certificate_where_dates_are_not_asked() -> None:
    """The twin: `unsafe_skip_dates` speaks of every handshake of the host."""
    times = [NOW]
    client = client_context(TLS12)
    rule = {"trust": PinsOnly(unsafe_skip_dates=True)}
    async with tunnelling(origin_with("ticket"), rule=rule, clock=lambda: times[-1]) as stage:
        first = await fetch(stage.proxy, client)
        times.append(LEAF.certificate.not_valid_after_utc + timedelta(seconds=1))
        assert (await fetch(stage.proxy, client, first.session)).was_resumed
