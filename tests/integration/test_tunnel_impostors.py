"""Attackers on the way who are honest to the preflight, and what a tunnel can and cannot see of them.

::

    preflight   CONNECT, our ClientHello    ->  the true server, or one that shows its certificate
    tunnel      the client's ClientHello    ->  the attacker
"""

from __future__ import annotations

import ssl

import pytest

from pinproxy.tls.alert import AlertDescription, alert
from pinproxy.tls.client_hello import parse_client_hello
from tests.harness.origin import running_origin
from tests.harness.pki import Issued, make_leaf, make_root
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
    hear,
    origin_context,
    running_go_between,
    tunnel_rule,
    two_faced,
)

UNTRUSTED = make_leaf(make_root("Nobody's Root"), HOST)
OTHER_NAME = make_leaf(ROOT, "other.example.test")


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
    faces = two_faced(origin_context(newest=preflight_version), origin_context(shown, newest=preflight_version))
    async with (
        running_origin(faces) as origin,
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
    faces = two_faced(origin_context(newest=TLS12), origin_context(IMPOSTOR, LEAF, newest=TLS12))
    async with (
        running_origin(faces) as origin,
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
            running_origin(two_faced(origin_context(), origin_context(IMPOSTOR))) as origin,
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
        running_origin(two_faced(origin_context(newest=TLS12), origin_context(IMPOSTOR, newest=TLS12))) as origin,
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
