"""The true certificate in a TLS 1.2 handshake that somebody on the way has changed: another key exchange, or fewer versions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pinproxy.tls.alert import AlertDescription, alert
from pinproxy.tls.records import HandshakeType
from tests.harness.origin import running_origin
from tests.harness.running import running_proxy
from tests.harness.tunnelling import (
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
    tunnel_rule,
    tunnelling,
    two_faced,
    with_body,
)


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


@pytest.mark.attack(
    "TLS 1.2 for a client that offers TLS 1.3, from a server that spoke TLS 1.3 to the preflight",
    expect="tls_version",
    topic="tunnel",
    motive="RFC 8446 §4.1.3",
)
async def test_tls12_for_a_client_that_offers_tls13_is_a_downgrade_where_the_preflight_got_tls13() -> None:
    """The server speaks TLS 1.3 to us, and less to a client that can more: somebody takes the versions away."""
    async with (
        running_origin(two_faced(origin_context(), origin_context(newest=TLS12))) as origin,
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
