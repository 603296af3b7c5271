"""`trust: pins-only`: no chain is validated, and a pin has to be that of the server's own certificate.

::

    LEAF      api.example.test   its own issuer; pinned
    IMPOSTOR  api.example.test   its own issuer, another key
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pinproxy.authority import Authority
from pinproxy.net.listener import ListenAddress
from pinproxy.pins.pin_set import OnExpiry, PinSet
from pinproxy.policy.rule import PinsOnly
from pinproxy.proxy.route import Route
from pinproxy.tls.alert import AlertDescription, alert
from pinproxy.tls.records import HandshakeType
from tests.harness.clients import Way, each_way, get_head, start_tls
from tests.harness.defects import forge_ca, forge_leaf
from tests.harness.origin import running_origin
from tests.harness.outcome import Outcome, ask_once, assert_denied, assert_served
from tests.harness.pki import NOW, Issued, server_context
from tests.harness.routes import connect_to
from tests.harness.running import HOST, host_rule, running_proxy
from tests.harness.socks5 import OPEN, greet, read_exactly, socks_request
from tests.harness.tunnelling import (
    TLS12,
    TLS13,
    client_hello,
    fetch,
    hear,
    on_tunnel,
    origin_context,
    refused_code,
    running_go_between,
    tunnel_rule,
    tunnelling,
    two_faced,
    with_body,
)

STRICT, ANY_NAME, ANY_TIME = PinsOnly(), PinsOnly(unsafe_skip_hostname=True), PinsOnly(unsafe_skip_dates=True)
DAY = timedelta(days=1)
LEAF, IMPOSTOR = forge_leaf(None, HOST), forge_leaf(None, HOST)
OTHER_NAME = forge_leaf(None, "other.example.test")
ENDED = forge_leaf(None, HOST, not_before=NOW - 2 * DAY, not_after=NOW - DAY)
NOT_BEGUN = forge_leaf(None, HOST, not_before=NOW + DAY, not_after=NOW + 2 * DAY)
CA = forge_ca(None, "Pinned CA")
UNDER_CA = forge_leaf(CA, HOST)


async def ask(way: Way, shown: Issued, *pinned: Issued, trust: PinsOnly = STRICT, **further: Any) -> Outcome:
    """Ask a server that shows a certificate, under the pins of others; both are LEAF's where nothing else is said."""
    return await ask_once(way, server_context(shown), [item.pin for item in pinned or (shown,)], trust, **further)


# --- origination and interception --------------------------------------------------------------------------------------


@each_way
async def test_a_self_signed_certificate_whose_key_is_pinned_is_served(way: Way) -> None:
    """The twin of all that follow: nobody vouches for it but the pin."""
    outcome = await ask(way, LEAF)
    assert_served(outcome)
    assert (outcome.line["verdict"], outcome.line["assurance"], outcome.line["trust"]) == ("matched", "full", "pins-only")
    assert outcome.line["matched_pin"] == str(LEAF.pin)


@pytest.mark.attack(
    "pins-only: another key under the right name and dates",
    expect="pin_mismatch",
    topic="pins",
    motive="RFC 7469 §2.6",
)
@each_way
async def test_another_key_is_denied(way: Way) -> None:
    """A name and dates are easily written into a certificate; the key is what cannot be copied."""
    outcome = await ask(way, IMPOSTOR, LEAF)
    assert_denied(outcome, "pin_mismatch")
    assert outcome.answer.problem["seen"] == [str(IMPOSTOR.pin)]


@pytest.mark.attack(
    "pins-only: the impostor appends the pinned certificate to its own",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2016-2402",
)
@each_way
@pytest.mark.parametrize("position", ["any", "ca"])
async def test_a_pinned_certificate_that_was_merely_sent_along_counts_for_nothing(way: Way, position: Any) -> None:
    """CVE-2016-2402, where it would be easiest: the impostor appends the pinned certificate, which is public, to its own."""
    context = server_context(IMPOSTOR, LEAF, CA)
    pins = [dataclasses.replace(item.pin, position=position) for item in (LEAF, CA)]
    outcome = await ask_once(way, context, pins, STRICT)
    assert_denied(outcome, "pin_mismatch")
    assert outcome.answer.problem["seen"] == [str(IMPOSTOR.pin)]


@pytest.mark.attack(
    "pins-only: a certificate whose claimed issuer is pinned", expect="pin_mismatch", topic="pins", motive="CVE-2016-2402"
)
@each_way
async def test_the_pin_of_an_issuer_does_not_count(way: Way) -> None:
    """Nobody has validated that it issued anything; the twin pins the certificate itself."""
    assert_denied(await ask(way, UNDER_CA, CA), "pin_mismatch")
    assert_served(await ask(way, UNDER_CA, CA, UNDER_CA))


@pytest.mark.attack("pins-only: a certificate for another name", expect="hostname_mismatch", topic="pins")
@each_way
async def test_a_certificate_for_another_name_needs_its_own_key_to_pass(way: Way) -> None:
    """RFC 9525 §6, until `unsafe_skip_hostname` says otherwise; the pin counts all the same."""
    assert_denied(await ask(way, OTHER_NAME), "hostname_mismatch", status=502)
    assert_denied(await ask(way, OTHER_NAME, trust=ANY_TIME), "hostname_mismatch", status=502)
    assert_served(await ask(way, OTHER_NAME, trust=ANY_NAME))
    assert_denied(await ask(way, OTHER_NAME, LEAF, trust=ANY_NAME), "pin_mismatch")


@pytest.mark.attack("pins-only: a certificate outside its dates", expect="certificate_expired", topic="pins")
@each_way
@pytest.mark.parametrize("leaf", [ENDED, NOT_BEGUN], ids=["ended", "not begun"])
async def test_a_certificate_outside_its_dates_needs_its_own_key_to_pass(way: Way, leaf: Issued) -> None:
    """RFC 5280 §4.1.2.5, until `unsafe_skip_dates` says otherwise; the pin counts all the same."""
    assert_denied(await ask(way, leaf), "certificate_expired", status=502)
    assert_denied(await ask(way, leaf, trust=ANY_NAME), "certificate_expired", status=502)
    assert_served(await ask(way, leaf, trust=ANY_TIME))
    assert_denied(await ask(way, leaf, LEAF, trust=ANY_TIME), "pin_mismatch")


@each_way
async def test_a_forbidden_key_is_denied_where_it_is_pinned_besides(way: Way) -> None:
    """Somebody else holds it."""
    certificate_pin = dataclasses.replace(LEAF.pin, position="leaf")
    pins = PinSet("lost", (certificate_pin,), forbidden=(LEAF.pin,))
    assert_denied(await ask_once(way, server_context(LEAF), pins, STRICT), "pin_forbidden")


@pytest.mark.attack("pins-only: the attacker waits until the pin set has expired", expect="pin_set_expired", topic="pins")
@each_way
@pytest.mark.parametrize("on_expiry", ["enforce", "report-only", "disabled"])
async def test_a_set_that_has_expired_still_is_all_there_is_to_tell_the_server_by(way: Way, on_expiry: OnExpiry) -> None:
    """Elsewhere `on_expiry` lets mismatches pass, since a chain was validated; here nothing was."""
    pins = PinSet("old", (LEAF.pin,), expires=NOW - DAY, on_expiry=on_expiry)
    outcome = await ask_once(way, server_context(IMPOSTOR), pins, STRICT)
    assert_denied(outcome, "pin_set_expired")
    assert outcome.line["verdict"] == "expired"


@each_way
async def test_a_set_that_has_expired_goes_on_matching(way: Way) -> None:
    """The twin."""
    pins = PinSet("old", (LEAF.pin,), expires=NOW - DAY, on_expiry="disabled")
    assert_served(await ask_once(way, server_context(LEAF), pins, STRICT))


@pytest.mark.attack(
    "pins-only: a pinned key that is too weak",
    expect="chain_invalid",
    topic="certificates",
    motive="limbo's forbidden-* cases",
)
@each_way
async def test_a_key_that_others_could_work_out_is_denied_although_it_is_pinned(way: Way) -> None:
    """Path validation would have refused it."""
    weak = forge_leaf(None, HOST, key=rsa.generate_private_key(65537, 1024))  # noqa: S505 - the defect
    outcome = await ask_once(way, server_context(weak, allows_weak_keys=True), [weak.pin], STRICT)
    assert_denied(outcome, "chain_invalid", status=502)


# --- SOCKS5 and routes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "first_bytes", "codes"),
    [(LEAF, [b"HTTP/1.1 200"] * 3, [None] * 3), (IMPOSTOR, [b"HTTP/1.1 403", b"", b""], ["pin_mismatch"] * 3)],
    ids=["pinned", "impostor"],
)
async def test_routes_and_socks5_go_the_same_way(shown: Issued, first_bytes: list[bytes], codes: list[str | None]) -> None:
    """The impostor gets no byte from any of them."""
    to, here = Authority(HOST, 443), Authority("127.0.0.1", 0)
    routes = (Route(here, to, "http"), Route(here, to, "tcp"))
    async with (
        running_origin(server_context(shown)) as origin,
        running_proxy(host_rule([LEAF.pin], STRICT, port=origin.port), routes=routes) as proxy,
    ):

        def ask_route(address: ListenAddress) -> bytes:
            with connect_to(address) as sock, contextlib.suppress(ConnectionResetError):
                sock.sendall(get_head("/", further="Connection: close\r\n"))
                return sock.recv(12)
            return b""

        def ask_socks() -> bytes:
            with greet(proxy) as sock:
                sock.sendall(socks_request())
                if read_exactly(sock, len(OPEN)) != OPEN:
                    return b""
                with start_tls(sock, proxy) as tls:
                    tls.sendall(get_head("/"))
                    return tls.recv(12)

        asked: list[Callable[[], bytes]] = [*(partial(ask_route, address) for address in proxy.server.route_addresses), ask_socks]
        assert [await asyncio.to_thread(ask) for ask in asked] == first_bytes
        await proxy.connection(count=3)
        assert [line["code"] for line in proxy.connections] == codes
        assert (origin.received == b"") is (shown is IMPOSTOR)


# --- tunnels -------------------------------------------------------------------------------------------------------------


def unverifying(newest: ssl.TLSVersion = TLS12) -> ssl.SSLContext:
    """Make the context of a client that takes anything: what stops the impostor is the proxy alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = newest
    return context


HELLO = client_hello(unverifying())


@pytest.mark.parametrize(
    ("shown", "trust"), [(LEAF, STRICT), (OTHER_NAME, ANY_NAME), (ENDED, ANY_TIME)], ids=["sound", "any name", "any time"]
)
async def test_a_tunnel_passes_what_its_pin_names(shown: Issued, trust: PinsOnly) -> None:
    """Under TLS 1.2, on the wire."""
    async with tunnelling(origin_context(shown, newest=TLS12), rule={"pins": [shown.pin], "trust": trust}) as stage:
        assert (await fetch(stage.proxy, unverifying())).body == b"GET / 0\n"
        line = await stage.proxy.connection()
        assert (line["verdict"], line["assurance"], line["trust"]) == ("matched", "full", "pins-only")


@pytest.mark.attack(
    "TLS 1.2: the preflight is answered honestly, the tunnel shows another certificate",
    expect=("pin_mismatch", "chain_invalid", "hostname_mismatch"),
    topic="tunnel",
    motive="a preflight binds nothing",
)
@pytest.mark.parametrize(
    ("shown", "code", "description"),
    [
        (IMPOSTOR, "pin_mismatch", AlertDescription.BAD_CERTIFICATE),
        (OTHER_NAME, "hostname_mismatch", AlertDescription.CERTIFICATE_UNKNOWN),
        (ENDED, "certificate_expired", AlertDescription.CERTIFICATE_EXPIRED),
    ],
    ids=["another key", "another name", "ended"],
)
async def test_an_impostor_honest_to_the_preflight_is_cut_on_the_wire(
    shown: Issued, code: str, description: AlertDescription
) -> None:
    """The preflight sees LEAF; the client would see what is pinned too, or not, and is wrong besides."""
    faces = two_faced(origin_context(LEAF, newest=TLS12), origin_context(shown, newest=TLS12))
    pins = [LEAF.pin, OTHER_NAME.pin, ENDED.pin]
    async with (
        running_origin(faces) as origin,
        running_proxy(tunnel_rule(origin.port, pins=pins, trust=STRICT)) as proxy,
    ):
        assert await hear(proxy, HELLO) == alert(description)
        assert (await proxy.connection())["code"] == code
        await origin.quiet()
        assert origin.received == b""


@pytest.mark.attack("pins-only, in a tunnel: the pinned certificate without its key", expect="tls_handshake_failed", topic="pins")
async def test_the_pinned_certificate_without_its_key_is_cut_on_the_wire() -> None:
    """A certificate is public: the signature over this very key exchange is the proof (RFC 5246 §7.4.3)."""
    stolen = len(LEAF.der).to_bytes(3, "big") + LEAF.der
    message = len(stolen).to_bytes(3, "big") + stolen
    faces = two_faced(origin_context(LEAF, newest=TLS12), origin_context(IMPOSTOR, newest=TLS12))
    edit = on_tunnel(lambda flight: with_body(flight, HandshakeType.CERTIFICATE, lambda _body: message))
    async with (
        running_origin(faces) as origin,
        running_go_between(lambda _first: origin.port, edit) as port,
        running_proxy(tunnel_rule(port, pins=[LEAF.pin], trust=STRICT)) as proxy,
    ):
        assert await hear(proxy, HELLO) == alert(AlertDescription.HANDSHAKE_FAILURE)
        assert (await proxy.connection())["code"] == "tls_handshake_failed"
        await origin.quiet()
        assert origin.received == b""


async def test_a_tunnel_under_tls13_rests_on_the_preflight_as_ever() -> None:
    """Advisory: and the preflight itself denies the impostor before the 200."""
    rule = {"pins": [LEAF.pin], "trust": STRICT, "tls13": "preflight"}
    async with tunnelling(origin_context(LEAF), rule=rule) as stage:
        assert (await fetch(stage.proxy, unverifying(TLS13))).version == "TLSv1.3"
        line = await stage.proxy.connection()
        assert (line["verdict"], line["assurance"]) == ("matched", "advisory")
    async with tunnelling(origin_context(IMPOSTOR), rule=rule) as stage:
        assert await refused_code(stage.proxy) == (403, "pin_mismatch")


# --- what is not asked ---------------------------------------------------------------------------------------------------


async def test_what_a_ca_would_answer_for_is_not_asked() -> None:
    """A certificate as `openssl req -x509` makes it is that of a CA, and vouches for nothing but its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = forge_leaf(None, HOST, key=key, instead=[(x509.BasicConstraints(ca=True, path_length=None), True)])
    assert_served(await ask("origination", leaf))
