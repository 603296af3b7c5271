"""Attackers on the way who are honest to the preflight, and what a tunnel can and cannot see of them.

::

    preflight   CONNECT, our ClientHello    ->  the true server, or one that shows its certificate
    tunnel      the client's ClientHello    ->  the attacker
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pinproxy.policy.rule import ClientCertificate
from pinproxy.tls.alert import AlertDescription, alert
from pinproxy.tls.client_hello import parse_client_hello
from pinproxy.tls.records import HandshakeType
from tests.harness.origin import running_origin
from tests.harness.pki import Issued, make_client, make_leaf, make_root
from tests.harness.running import HOST, running_proxy
from tests.harness.tunnelling import (
    IMPOSTOR,
    LEAF,
    ROOT,
    SECOND,
    TLS12,
    TLS13,
    client_context,
    client_hello,
    fetch,
    flight_of,
    flipped,
    hear,
    messages_of,
    on_tunnel,
    origin_context,
    running_go_between,
    tunnel_rule,
    tunnelling,
    with_body,
)

UNTRUSTED = make_leaf(make_root("Nobody's Root"), HOST)
OTHER_NAME = make_leaf(ROOT, "other.example.test")
RSA_LEAF = make_leaf(ROOT, HOST, key=rsa.generate_private_key(public_exponent=65537, key_size=2048))


def two_faced(honest: Issued, otherwise: Issued, newest: ssl.TLSVersion) -> Callable[[int], ssl.SSLContext]:
    """Show one certificate to the first connection, which is the preflight, and another to all that come behind it."""
    faces = [origin_context(honest, newest=newest), origin_context(otherwise, newest=newest)]
    return lambda number: faces[min(number, 1)]


# --- another certificate for the client ------------------------------------------------------------------------------------


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
        (UNTRUSTED, "chain_invalid", AlertDescription.CERTIFICATE_UNKNOWN),
        (OTHER_NAME, "hostname_mismatch", AlertDescription.CERTIFICATE_UNKNOWN),
    ],
    ids=["rogue CA", "untrusted", "other name"],
)
@pytest.mark.parametrize("preflight_version", [TLS12, TLS13], ids=["TLS 1.2", "TLS 1.3"])
async def test_an_impostor_honest_to_the_preflight_is_cut_under_tls12(
    shown: Issued, code: str, description: AlertDescription, preflight_version: ssl.TLSVersion
) -> None:
    """The certificate on the wire is what counts; the client reads an alert and nothing of the impostor's."""
    async with (
        running_origin(two_faced(LEAF, shown, preflight_version)) as origin,
        running_proxy(tunnel_rule(origin.port)) as proxy,
    ):
        assert await hear(proxy, client_hello(client_context(TLS12))) == alert(description)
        line = await proxy.connection()
        assert (line["code"], line["decision"]) == (code, "deny")
        if code == "pin_mismatch":
            assert (line["verdict"], line["assurance"], line["matched_pin"]) == ("no_match", "full", None)
            assert str(IMPOSTOR.pin) in line["detail"]
        await origin.quiet()
        assert origin.received == b""


@pytest.mark.attack(
    "TLS 1.2: behind an honest preflight, an impostor that appends the pinned certificate to its own",
    expect="pin_mismatch",
    topic="tunnel",
    motive="CVE-2016-2402",
)
async def test_the_pinned_certificate_appended_on_the_wire_is_no_match() -> None:
    """It is on no path from the impostor's; the twins are the handshakes of test_tunnel_verdicts.py."""
    faces = [origin_context(LEAF, newest=TLS12), origin_context(IMPOSTOR, LEAF, newest=TLS12)]
    async with (
        running_origin(lambda number: faces[min(number, 1)]) as origin,
        running_proxy(tunnel_rule(origin.port)) as proxy,
    ):
        assert await hear(proxy, client_hello(client_context(TLS12))) == alert(AlertDescription.BAD_CERTIFICATE)
        assert (await proxy.connection())["code"] == "pin_mismatch"
        await origin.quiet()
        assert origin.received == b""


def has_alpn(first: bytes) -> bool:
    """Tell whether a ClientHello offers ALPN."""
    hello = parse_client_hello(first)
    return hello is not None and bool(hello.alpn)


@pytest.mark.attack(
    "TLS 1.2: an attacker who tells our ClientHello from the client's by its ALPN",
    expect="pin_mismatch",
    topic="tunnel",
    motive="a preflight binds nothing",
)
async def test_an_impostor_that_tells_hellos_apart_by_alpn_is_cut_under_tls12() -> None:
    """The same with an attacker that does what a real one would: it reads the ClientHello."""
    async with (
        running_origin(origin_context(LEAF, newest=TLS12)) as honest,
        running_origin(origin_context(IMPOSTOR, newest=TLS12)) as rogue,
        running_go_between(lambda first: honest.port if has_alpn(first) else rogue.port) as port,
        running_proxy(tunnel_rule(port)) as proxy,
    ):
        assert await hear(proxy, client_hello(client_context(TLS12))) == alert(AlertDescription.BAD_CERTIFICATE)
        assert (await proxy.connection())["code"] == "pin_mismatch"
        # The twin: a client whose offer is that of the preflight is led to the true server.
        assert (await fetch(proxy, client_context(TLS12, alpn=["h2", "http/1.1"]))).body == b"GET / 0\n"
        await rogue.quiet()
        assert rogue.received == b""


@pytest.mark.attack(
    "TLS 1.3: the preflight is answered honestly, the tunnel is intercepted",
    expect=("advise", "tls13_unverifiable"),
    topic="tunnel",
    motive="the certificate is encrypted, RFC 8446 §4.4.2",
)
async def test_an_impostor_honest_to_the_preflight_is_not_seen_under_tls13_and_the_verdict_says_advisory() -> None:
    """What `tls13: preflight` cannot do, written down: the certificate is encrypted, and the impostor is served.

    This client trusts the rogue CA, as pins presume: `tls13: refuse` and `connect: intercept` are the ways to have them.
    """
    for tls13, expected in (("preflight", b"GET / 0\n"), ("refuse", alert(AlertDescription.PROTOCOL_VERSION))):
        async with (
            running_origin(two_faced(LEAF, IMPOSTOR, TLS13)) as origin,
            running_proxy(tunnel_rule(origin.port, tls13=tls13)) as proxy,
        ):
            if tls13 == "preflight":
                assert (await fetch(proxy, client_context())).body == expected
                assert origin.received.startswith(b"GET / ")
                assert (await proxy.connection())["assurance"] == "advisory"
            else:
                assert await hear(proxy, client_hello(client_context())) == expected
                await origin.quiet()
                assert origin.received == b""


async def test_in_report_only_an_impostor_with_a_valid_chain_passes_and_is_reported() -> None:
    """It shows its certificate to a second look too, so both validators have accepted it; only the pins are against it."""
    async with (
        running_origin(two_faced(LEAF, IMPOSTOR, TLS12)) as origin,
        running_proxy(tunnel_rule(origin.port, mode="report-only")) as proxy,
    ):
        assert (await fetch(proxy, client_context(TLS12))).body == b"GET / 0\n"
        line = await proxy.connection()
        assert (line["verdict"], line["would_deny"], line["code"]) == ("no_match", True, "pin_mismatch")
        assert (line["assurance"], line["decision"]) == ("full", "allow_and_report")


@pytest.mark.attack(
    "TLS 1.2: a certificate that only the client is shown",
    expect="chain_invalid",
    topic="tunnel",
    motive="a preflight binds nothing",
)
async def test_a_certificate_that_is_shown_to_the_client_alone_is_refused_although_a_pin_matches() -> None:
    """Only one of the two validators has seen it; in report-only too, for this is no matter of pins."""
    for mode in ("enforce", "report-only"):
        faces = [origin_context(LEAF, newest=TLS12), origin_context(SECOND, newest=TLS12)]
        # Every look of ours finds LEAF; the one connection of the client's finds SECOND.
        async with (
            running_origin(lambda number, faces=faces: faces[number == 1]) as origin,  # type: ignore[misc]
            running_proxy(tunnel_rule(origin.port, pins=[LEAF.pin, SECOND.pin], mode=mode)) as proxy,
        ):
            heard = await hear(proxy, client_hello(client_context(TLS12)))
            assert heard == alert(AlertDescription.CERTIFICATE_UNKNOWN)
            assert (await proxy.connection())["code"] == "chain_invalid"


# --- several servers, all of them true ---------------------------------------------------------------------------------------


def context_of_both_kinds(path: Path) -> ssl.SSLContext:
    """Make the context of an origin with an ECDSA and an RSA certificate."""
    context = origin_context(LEAF)
    path.write_bytes(RSA_LEAF.key_pem + RSA_LEAF.pem)
    context.load_cert_chain(path)
    return context


async def test_a_server_may_choose_between_two_certificates_by_the_ciphers_of_the_client(tmp_path: Path) -> None:
    """RSA and ECDSA side by side: the one that the preflight did not see is looked for with the client's own suite."""
    rule = {"pins": [LEAF.pin, RSA_LEAF.pin]}
    async with tunnelling(context_of_both_kinds(tmp_path / "both.pem"), rule=rule) as stage:
        for count, (ciphers, leaf) in enumerate((("ECDHE+aRSA", RSA_LEAF), ("ECDHE+ECDSA", LEAF)), start=1):
            assert (await fetch(stage.proxy, client_context(TLS12, ciphers=ciphers))).body == b"GET / 0\n"
            line = await stage.proxy.connection(count=count)
            assert (line["verdict"], line["assurance"], line["matched_pin"]) == ("matched", "full", str(leaf.pin))


@pytest.mark.parametrize("ciphers", ["ECDHE+aRSA", "ECDHE+ECDSA"], ids=["other than the preflight saw", "the same"])
async def test_the_second_look_shows_a_server_that_insists_who_we_are_as_the_first_did(ciphers: str, tmp_path: Path) -> None:
    """RSA and ECDSA side by side, and neither without a client certificate; the client of the tunnel brings the same."""
    clients, path = make_root("Clients"), tmp_path / "client.pem"
    own = make_client(clients, "client.example.test")
    path.write_bytes(own.pem + own.key_pem)
    context = context_of_both_kinds(tmp_path / "both.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=clients.der)
    rule = {"pins": [LEAF.pin, RSA_LEAF.pin], "client_cert": ClientCertificate(str(path), path.read_bytes())}
    async with tunnelling(context, rule=rule) as stage:
        client = client_context(TLS12, ciphers=ciphers)
        client.load_cert_chain(path)
        assert (await fetch(stage.proxy, client)).body == b"GET / 0\n"


@pytest.mark.attack(
    "TLS 1.2: the server's other certificate, of another kind of key and not pinned, behind a good preflight",
    expect="pin_mismatch",
    topic="tunnel",
    motive="CVE-2024-2379",
)
async def test_a_certificate_of_the_other_kind_that_is_not_pinned_is_refused(tmp_path: Path) -> None:
    """The twin: being shown to us is not enough."""
    async with tunnelling(context_of_both_kinds(tmp_path / "both.pem")) as stage:
        hello = client_hello(client_context(TLS12, ciphers="ECDHE+aRSA"))
        assert await hear(stage.proxy, hello) == alert(AlertDescription.BAD_CERTIFICATE)
        assert (await stage.proxy.connection())["code"] == "pin_mismatch"


async def test_two_servers_behind_one_address_with_a_key_each_pass() -> None:
    """Whichever the client gets, the preflight or a second look has been shown the same."""
    contexts = [origin_context(leaf, newest=TLS12) for leaf in (LEAF, SECOND)]
    async with (
        running_origin(lambda number: contexts[number % 2]) as origin,
        running_proxy(tunnel_rule(origin.port, pins=[LEAF.pin, SECOND.pin])) as proxy,
    ):
        for count in range(1, 5):
            assert (await fetch(proxy, client_context(TLS12))).body == b"GET / 0\n"
            line = await proxy.connection(count=count)
            assert (line["verdict"], line["assurance"]) == ("matched", "full")


# --- the true certificate, another key exchange --------------------------------------------------------------------------------


def with_key_of_the_attacker(flight: bytes) -> bytes:
    """Replace the server's ephemeral key by another point of the same curve, and keep the signature."""
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    point = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")

    def change(body: bytes) -> bytes:
        length = body[3]
        return b"\x03\x00\x17" + bytes([len(point)]) + point + body[4 + length :]

    return with_body(flight, HandshakeType.SERVER_KEY_EXCHANGE, change)


def signed_by_the_attacker(flight: bytes) -> bytes:
    """Sign an own key exchange with a key of one's own; the certificate stays the true one."""
    key = ec.generate_private_key(ec.SECP256R1())

    def change(body: bytes) -> bytes:
        signature = key.sign(body[: 4 + body[3]], ec.ECDSA(hashes.SHA256()))
        return body[: 4 + body[3]] + b"\x04\x03" + len(signature).to_bytes(2, "big") + signature

    return with_body(flight, HandshakeType.SERVER_KEY_EXCHANGE, change)


def without_key_exchange(flight: bytes) -> bytes:
    """Leave the ServerKeyExchange out."""
    return flight_of([message for message in messages_of(flight) if message[0] != HandshakeType.SERVER_KEY_EXCHANGE])


def replayed(flight: bytes) -> bytes:
    """Change the server random, as a replay of another handshake's key exchange would have it."""
    return with_body(flight, HandshakeType.SERVER_HELLO, lambda body: flipped(body, 10))


def with_flipped_parameters(flight: bytes) -> bytes:
    """Flip a bit of the server's ephemeral key."""
    return with_body(flight, HandshakeType.SERVER_KEY_EXCHANGE, lambda body: flipped(body, 20))


def with_flipped_signature(flight: bytes) -> bytes:
    """Flip a bit of the signature."""
    return with_body(flight, HandshakeType.SERVER_KEY_EXCHANGE, lambda body: flipped(body, -1))


def unmodified(flight: bytes) -> bytes:
    """Take the flight apart, and put the same messages together again."""
    return flight_of(messages_of(flight))


@pytest.mark.attack(
    "TLS 1.2: the true certificate over a ServerKeyExchange that is missing, replayed, flipped, or signed by another key",
    expect="tls_handshake_failed",
    topic="tunnel",
    motive="RFC 5246 §7.4.3",
)
@pytest.mark.parametrize(
    "edit",
    [
        with_key_of_the_attacker,
        signed_by_the_attacker,
        without_key_exchange,
        replayed,
        with_flipped_parameters,
        with_flipped_signature,
    ],
)
async def test_the_true_certificate_over_another_key_exchange_is_cut(edit: Callable[[bytes], bytes]) -> None:
    """A certificate is public; the signature over this very exchange is the proof (RFC 5246 §7.4.3)."""
    async with tunnelling(edit=on_tunnel(edit)) as stage:
        assert await hear(stage.proxy, client_hello(client_context(TLS12))) == alert(AlertDescription.HANDSHAKE_FAILURE)
        assert (await stage.proxy.connection())["code"] == "tls_handshake_failed"
        await stage.origin.quiet()
        assert stage.origin.received == b""


async def test_a_go_between_that_changes_nothing_passes() -> None:
    """The twin."""
    async with tunnelling(edit=on_tunnel(unmodified)) as stage:
        assert (await fetch(stage.proxy, client_context(TLS12))).body == b"GET / 0\n"
        assert (await stage.proxy.connection())["assurance"] == "full"


# --- taking versions away ------------------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "TLS 1.2 for a client that offers TLS 1.3, from a server that spoke TLS 1.3 to the preflight",
    expect="tls_version",
    topic="tunnel",
    motive="RFC 8446 §4.1.3",
)
async def test_tls12_for_a_client_that_offers_tls13_is_a_downgrade_where_the_preflight_got_tls13() -> None:
    """The server speaks TLS 1.3 to us, and less to a client that can more: somebody takes the versions away."""
    faces = [origin_context(LEAF, newest=TLS13), origin_context(LEAF, newest=TLS12)]
    async with (
        running_origin(lambda number: faces[min(number, 1)]) as origin,
        running_proxy(tunnel_rule(origin.port)) as proxy,
    ):
        assert await hear(proxy, client_hello(client_context(TLS13))) == alert(AlertDescription.PROTOCOL_VERSION)
        assert (await proxy.connection())["code"] == "tls_version"
        # The twin: a client that offers no more than it gets is verified on the wire.
        assert (await fetch(proxy, client_context(TLS12))).body == b"GET / 0\n"


@pytest.mark.attack(
    "the server's own downgrade sentinel in the ServerHello",
    expect="tls_version",
    topic="tunnel",
    motive="RFC 8446 §4.1.3",
)
async def test_the_servers_own_sentinel_tells_of_a_downgrade_too() -> None:
    """RFC 8446 §4.1.3: a server that was asked for less than it can says so in its random, and that random is signed."""

    def as_if_it_could_more(flight: bytes) -> bytes:
        return with_body(flight, HandshakeType.SERVER_HELLO, lambda body: body[:26] + b"DOWNGRD\x01" + body[34:])

    async with tunnelling(edit=on_tunnel(as_if_it_could_more)) as stage:
        assert await hear(stage.proxy, client_hello(client_context(TLS13))) == alert(AlertDescription.PROTOCOL_VERSION)
        assert (await stage.proxy.connection())["code"] == "tls_version"
    async with tunnelling() as stage:
        assert (await fetch(stage.proxy, client_context(TLS13))).version == "TLSv1.2"
