"""Both sides of an intercepted connection speak the same protocol, and every connection that is dialled for it is verified."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from tests.harness.clients import intercept, open_intercepted, open_tunnel, read_to_end, start_tls
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy
from tests.harness.scene import origin_and_proxy

ROOT = make_root()
LEAF, IMPOSTOR = make_leaf(ROOT, HOST), make_leaf(ROOT, HOST)
OF_MANY = make_leaf(ROOT, "*.example.test")
H2, H11 = "h2", "http/1.1"
in_thread = asyncio.to_thread


async def names_protocol(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait for a word, and answer with the protocol that was negotiated."""
    if await reader.read(1):
        writer.write(str(writer.get_extra_info("ssl_object").selected_alpn_protocol()).encode("ascii"))
        await writer.drain()


def ask_protocol(proxy: RunningProxy, offer: tuple[str, ...], host: str = HOST) -> tuple[str | None, str]:
    """Offer protocols; return what we were given and what the origin says it speaks."""
    with open_intercepted(proxy, host, alpn=offer) as tls:
        tls.sendall(b"?")
        return tls.selected_alpn_protocol(), read_to_end(tls).decode("ascii")


@pytest.mark.attack(
    "ALPN: the client offers h2 only, several, none or unknown protocols, and the origin picks another",
    expect="neutralise",
    topic="interception",
    motive="RFC 7301; GHSA-847f-9342-265h",
)
@pytest.mark.parametrize(
    ("origin_speaks", "client_offers", "chosen", "dials"),
    [
        ((H2, H11), (H2, H11), H2, 1),
        ((H2, H11), (H2,), H2, 1),
        ((H2, H11), (H11,), H11, 2),
        ((H2, H11), (), None, 2),
        ((H2, H11), ("acme/1",), None, 2),
        ((H2, H11), ("acme/1", H11), H11, 2),
        ((H11,), (H2, H11), H11, 1),
        ((H11,), (H2,), None, 2),
        (("acme/1",), ("acme/1",), "acme/1", 2),
        ((), (H2, H11), None, 1),
        ((), (), None, 1),
    ],
)
async def test_the_client_gets_what_the_origin_chooses_from_its_offer(
    origin_speaks: tuple[str, ...], client_offers: tuple[str, ...], chosen: str | None, dials: int
) -> None:
    """Never translated: where our guess of the offer was wrong, the origin is asked again with the client's own."""
    async with origin_and_proxy(server_context(LEAF, alpn=origin_speaks), [LEAF.pin], ROOT.anchors, names_protocol) as (
        origin,
        proxy,
    ):
        assert await in_thread(ask_protocol, proxy, client_offers) == (chosen, str(chosen))
        assert (await proxy.connection())["alpn"] == chosen
        assert (origin.connections, bytes(origin.received)) == (dials, b"?")


async def test_the_last_offer_is_the_next_guess() -> None:
    """A client that only speaks HTTP/1.1 costs its host one second dial, not one for each connection."""
    async with origin_and_proxy(server_context(LEAF, alpn=(H2, H11)), [LEAF.pin], ROOT.anchors, names_protocol) as (
        origin,
        proxy,
    ):
        for dials in (2, 3, 4):
            assert await in_thread(ask_protocol, proxy, (H11,)) == (H11, H11)
            assert origin.connections == dials


@pytest.mark.parametrize("offer", [(H11,), ()], ids=["http/1.1", "none"])
async def test_the_last_offer_to_any_host_is_the_guess_for_a_new_one(offer: tuple[str, ...]) -> None:
    """An application that speaks HTTP/1.1 to one host does so to the others: each costs one dial from its first connection on."""
    async with origin_and_proxy(
        server_context(OF_MANY, alpn=(H2, H11)), [OF_MANY.pin], ROOT.anchors, names_protocol, host="*.example.test"
    ) as (origin, proxy):
        for host, dials in (("a.example.test", 2), ("b.example.test", 3), ("c.example.test", 4)):
            await in_thread(ask_protocol, proxy, offer, host)
            assert origin.connections == dials


def fails() -> ssl.SSLContext:
    """Make the context of an origin that refuses a handshake, as one does that knows no protocol it is offered."""
    context = server_context(LEAF)
    context.sni_callback = lambda _tls, _name, _context: ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE
    return context


@pytest.mark.attack(
    "a client whose ALPN offer its server refuses from then on, for those who come after it",
    expect="neutralise",
    topic="interception",
    motive="RFC 7301 §3.2",
)
async def test_an_offer_that_the_origin_refuses_is_guessed_for_nobody_else() -> None:
    """It may be the guess that the origin refuses and not us: it is asked once more, with what most clients offer."""
    takes = server_context(LEAF, alpn=(H2, H11))
    contexts = [takes, takes, fails(), takes, takes]
    async with origin_and_proxy(contexts.__getitem__, [LEAF.pin], ROOT.anchors, names_protocol) as (origin, proxy):
        for offer, chosen, dials in (((H11,), H11, 2), ((H2, H11), H2, 4), ((H2, H11), H2, 5)):
            assert await in_thread(ask_protocol, proxy, offer) == (chosen, chosen)
            assert origin.connections == dials


async def test_an_origin_that_refuses_what_most_offer_is_asked_once() -> None:
    """The twin: there is nothing better to guess."""
    async with origin_and_proxy(fails(), [LEAF.pin], ROOT.anchors, names_protocol) as (origin, proxy):
        answer = await in_thread(intercept, proxy)
        assert (answer.status, answer.code) == (502, "tls_handshake_failed")
        assert origin.connections == 1


@pytest.mark.attack(
    "a path up without the check: the redial with the client's ALPN",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2024-2379, CVE-2025-5025",
)
@pytest.mark.parametrize("offer", [(H11,), ()], ids=["http/1.1", "none"])
async def test_a_second_dial_that_meets_an_impostor_is_denied(offer: tuple[str, ...]) -> None:
    """The first connection was good, and says nothing about the second: its pins are held against its own chain.

    ::

        1st:  LEAF <- ROOT        offers h2, http/1.1; chosen: h2, which the client does not offer
        2nd:  IMPOSTOR <- ROOT    offers what the client does
    """
    contexts = [server_context(LEAF, alpn=(H2, H11)), server_context(IMPOSTOR, alpn=(H2, H11))]
    async with origin_and_proxy(contexts.__getitem__, [LEAF.pin], ROOT.anchors, names_protocol) as (origin, proxy):
        with pytest.raises(ssl.SSLError) as caught:
            await in_thread(ask_protocol, proxy, offer)
        assert caught.value.reason == "SSLV3_ALERT_BAD_CERTIFICATE"
        line = await proxy.connection()
        assert (line["code"], line["decision"], line["verdict"]) == ("pin_mismatch", "deny", "no_match")
        await origin.quiet()
        assert (origin.connections, bytes(origin.received)) == (2, b"")
        assert [host for host, _ in proxy.local_ca._contexts] == []


@pytest.mark.attack(
    "a path up without the check: the redial with the client's ALPN, to an invalid chain",
    expect="chain_invalid",
    topic="pins",
    motive="CVE-2024-2379",
)
async def test_a_second_dial_that_meets_an_invalid_chain_is_denied() -> None:
    """The same with a chain that nobody vouches for."""
    stranger = make_leaf(make_root("Nobody's Root"), HOST, key=LEAF.key)
    contexts = [server_context(LEAF, alpn=(H2, H11)), server_context(stranger, alpn=(H2, H11))]
    async with origin_and_proxy(contexts.__getitem__, [LEAF.pin], ROOT.anchors, names_protocol) as (origin, proxy):
        with pytest.raises(ssl.SSLError) as caught:
            await in_thread(ask_protocol, proxy, (H11,))
        assert caught.value.reason == "SSLV3_ALERT_CERTIFICATE_UNKNOWN"
        assert (await proxy.connection())["code"] == "chain_invalid"
        await origin.quiet()
        assert origin.received == b""


async def test_a_second_dial_that_meets_the_pinned_key_is_served() -> None:
    """The twin: another certificate for the same key."""
    renewed = make_leaf(ROOT, HOST, key=LEAF.key)
    contexts = [server_context(LEAF, alpn=(H2, H11)), server_context(renewed, alpn=(H2, H11))]
    async with origin_and_proxy(contexts.__getitem__, [LEAF.pin], ROOT.anchors, names_protocol) as (_origin, proxy):
        assert await in_thread(ask_protocol, proxy, (H11,)) == (H11, H11)


@pytest.mark.attack(
    "a ClientHello that can be read in two ways, in an intercepted CONNECT",
    expect="client_hello_invalid",
    topic="interception",
    motive="RFC 8446 §4.2",
)
async def test_a_hello_that_cannot_be_read_in_one_way_only_is_refused() -> None:
    """A protocol name that `ssl` could not mirror exactly is refused, not dropped from the offer."""
    async with origin_and_proxy(server_context(LEAF), [LEAF.pin], ROOT.anchors, names_protocol) as (origin, proxy):
        with pytest.raises(ssl.SSLError) as caught:
            await in_thread(lambda: start_tls(open_tunnel(proxy), proxy, HOST, ("acme\x01",)))
        assert caught.value.reason == "TLSV1_ALERT_DECODE_ERROR"
        assert (await proxy.connection())["code"] == "client_hello_invalid"
        await origin.quiet()
        assert origin.received == b""
