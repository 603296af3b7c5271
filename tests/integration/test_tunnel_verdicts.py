"""A tunnel's verdict: in full under TLS 1.2, advisory under TLS 1.3, and the same word in the log, the alert and the answer."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pinproxy.policy.rule import TrustAnchors
from pinproxy.tls.alert import AlertDescription, alert
from tests.harness.clients import open_tunnel
from tests.harness.origin import running_origin
from tests.harness.pki import NOW, Issued, make_leaf, make_root
from tests.harness.running import HOST, running_proxy
from tests.harness.tunnelling import (
    IMPOSTOR,
    LEAF,
    ROOT,
    TLS12,
    TLS13,
    client_context,
    client_hello,
    fetch,
    hear,
    origin_context,
    refused_code,
    tunnel_rule,
    tunnelling,
)

RSA_LEAF = make_leaf(ROOT, HOST, key=rsa.generate_private_key(public_exponent=65537, key_size=2048))


# --- TLS 1.2: verified on the wire -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leaf", "ciphers"),
    [(LEAF, "ECDHE-ECDSA-AES128-GCM-SHA256"), (RSA_LEAF, "ECDHE-RSA-AES128-GCM-SHA256"), (RSA_LEAF, "AES128-GCM-SHA256")],
    ids=["ECDHE_ECDSA", "ECDHE_RSA", "RSA"],
)
@pytest.mark.parametrize("tls13", ["refuse", "preflight"])
async def test_a_tls12_handshake_is_verified_in_full(leaf: Issued, ciphers: str, tls13: str) -> None:
    """Certificate, pins and key exchange are checked on the tunnel's own wire, whatever the rule says of TLS 1.3."""
    async with tunnelling(origin_context(leaf), rule={"tls13": tls13, "pins": [leaf.pin]}) as stage:
        fetched = await fetch(stage.proxy, client_context(TLS12, ciphers=ciphers))
        assert (fetched.body, fetched.version) == (b"GET / 0\n", "TLSv1.2")
        line = await stage.proxy.connection()
    assert (line["mode"], line["verdict"], line["assurance"], line["decision"]) == ("tunnel", "matched", "full", "allow")
    assert (line["tls_version"], line["matched_pin"], line["code"]) == ("TLSv1.2", str(leaf.pin), None)
    assert line["upstream_address"] == f"127.0.0.1:{stage.port}"
    assert line["bytes_up"] > 200
    assert line["bytes_down"] > 500
    assert stage.origin.handshakes == 2  # the preflight and the client's own


async def test_the_log_says_what_the_wire_agreed_on_and_not_what_the_preflight_did() -> None:
    """Version and ALPN are the client's: the preflight offers others."""
    context = origin_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with tunnelling(context) as stage:
        await fetch(stage.proxy, client_context(TLS12, alpn=["http/1.1"]))
        line = await stage.proxy.connection()
    assert (line["tls_version"], line["alpn"]) == ("TLSv1.2", "http/1.1")


# --- TLS 1.3: cannot be seen ---------------------------------------------------------------------------------------------


async def test_tls13_is_refused_with_an_alert_where_the_rule_says_so() -> None:
    """Not one byte of the server's answer is passed on, and none of the client's data."""
    async with tunnelling(origin_context()) as stage:
        heard = await hear(stage.proxy, client_hello(client_context()))
        assert heard == alert(AlertDescription.PROTOCOL_VERSION)
        line = await stage.proxy.connection()
        assert (line["code"], line["decision"], line["status"]) == ("tls13_unverifiable", "deny", 403)
        await stage.origin.quiet()
        assert stage.origin.received == b""


async def test_tls13_passes_with_an_advisory_verdict_where_the_rule_accepts_one() -> None:
    """The twin; the word in the log is another than for what was verified."""
    async with tunnelling(origin_context(), rule={"tls13": "preflight"}) as stage:
        fetched = await fetch(stage.proxy, client_context())
        assert (fetched.body, fetched.version) == (b"GET / 0\n", "TLSv1.3")
        line = await stage.proxy.connection()
    assert (line["verdict"], line["assurance"], line["decision"]) == ("matched", "advisory", "allow")
    assert (line["tls_version"], line["code"]) == ("TLSv1.3", None)


async def test_min_tls_holds_on_the_wire_of_a_client_that_speaks_only_less() -> None:
    """The preflight gets TLS 1.3; a client of TLS 1.2 does not, and the server would take it."""
    async with tunnelling(origin_context(), rule={"min_tls": "1.3", "tls13": "preflight"}) as stage:
        heard = await hear(stage.proxy, client_hello(client_context(TLS12)))
        assert heard == alert(AlertDescription.PROTOCOL_VERSION)
        assert (await stage.proxy.connection())["code"] == "tls_version"
        assert (await fetch(stage.proxy, client_context())).version == "TLSv1.3"


@pytest.mark.attack("TLS 1.1 on the wire", expect="tls_version", topic="tunnel", motive="RFC 8996")
async def test_tls11_is_below_every_min_tls() -> None:
    """A client and a server that agree on TLS 1.1 are kept apart, although the same server speaks 1.2 to the preflight."""
    context = origin_context()
    client = client_context(TLS12)
    for speaker in (context, client):
        speaker.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            speaker.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    async with tunnelling(context) as stage:
        assert await hear(stage.proxy, client_hello(client)) == alert(AlertDescription.PROTOCOL_VERSION)
        assert (await stage.proxy.connection())["code"] == "tls_version"


# --- before the 200 ---------------------------------------------------------------------------------------------------------

STRANGER = make_leaf(make_root("Nobody's Root"), HOST)
OTHER_NAME = make_leaf(ROOT, "other.example.test")
EXPIRED = make_leaf(ROOT, HOST, not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))


@pytest.mark.parametrize(
    ("leaf", "status", "code"),
    [
        (IMPOSTOR, 403, "pin_mismatch"),
        (STRANGER, 502, "chain_invalid"),
        (OTHER_NAME, 502, "hostname_mismatch"),
        (EXPIRED, 502, "certificate_expired"),
        (LEAF, 200, None),
    ],
    ids=["wrong pin", "untrusted", "wrong name", "expired", "the true one"],
)
@pytest.mark.parametrize("newest", [TLS12, TLS13], ids=["TLS 1.2", "TLS 1.3"])
async def test_what_the_preflight_finds_wrong_is_refused_before_the_200(
    leaf: Issued, status: int, code: str | None, newest: ssl.TLSVersion
) -> None:
    """The client reads an HTTP answer with the reason, and the server gets no second connection."""
    async with tunnelling(origin_context(leaf, newest=newest), rule={"tls13": "preflight"}) as stage:
        assert await refused_code(stage.proxy) == (status, code)
        if code is not None:
            assert (await stage.proxy.connection())["code"] == code
            await stage.origin.quiet()
        assert stage.origin.connections == (1 if code else 2)
        assert stage.origin.received == b""


@pytest.mark.attack(
    "tunnel: the pin matches and the chain does not validate; in report-only too",
    expect="chain_invalid",
    topic="tunnel",
    motive="Envoy's ACCEPT_UNTRUSTED",
)
async def test_a_chain_that_does_not_validate_is_refused_in_report_only_too() -> None:
    """Report-only softens a pin mismatch and nothing else."""
    async with tunnelling(origin_context(STRANGER), rule={"mode": "report-only"}) as stage:
        assert await refused_code(stage.proxy) == (502, "chain_invalid")


# --- report-only, disabled ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest", [TLS12, TLS13], ids=["TLS 1.2", "TLS 1.3"])
async def test_report_only_lets_pass_and_says_what_it_would_have_done(newest: ssl.TLSVersion) -> None:
    """The verdict is the fact it is; only the decision differs."""
    rule = {"mode": "report-only", "tls13": "preflight"}
    async with tunnelling(origin_context(IMPOSTOR, newest=newest), rule=rule) as stage:
        assert (await fetch(stage.proxy, client_context())).body == b"GET / 0\n"
        line = await stage.proxy.connection()
    assert (line["verdict"], line["decision"], line["would_deny"]) == ("no_match", "allow_and_report", True)
    assert (line["code"], line["assurance"]) == ("pin_mismatch", "full" if newest is TLS12 else "advisory")


@pytest.mark.parametrize(("leaf", "status"), [(IMPOSTOR, 200), (STRANGER, 502)], ids=["another key", "untrusted"])
async def test_a_disabled_rule_still_verifies_the_chain(leaf: Issued, status: int) -> None:
    """`disabled` means listed and not pinned, and never unverified."""
    rule: dict[str, Any] = {"mode": "disabled", "pins": ()}
    async with tunnelling(origin_context(leaf, newest=TLS12), rule=rule) as stage:
        if status == 200:
            assert (await fetch(stage.proxy, client_context())).body == b"GET / 0\n"
            assert (await stage.proxy.connection())["verdict"] == "not_pinned"
        else:
            assert (await refused_code(stage.proxy))[0] == status


async def test_the_anchors_of_the_rule_decide_and_not_those_of_another() -> None:
    """A chain that ends in a root of the client's store ends nowhere for a rule that does not list it."""
    async with running_origin(origin_context(IMPOSTOR, newest=TLS12)) as origin:
        for trust, expected in (
            (ROOT.anchors, (502, "chain_invalid")),
            (TrustAnchors("other root", (IMPOSTOR.issuer.der,)), (200, None)),  # type: ignore[union-attr]  # it has one
        ):
            async with running_proxy(tunnel_rule(origin.port, pins=[IMPOSTOR.pin], trust=trust)) as proxy:
                assert await refused_code(proxy) == expected


async def test_a_tunnel_that_nobody_uses_is_no_failure() -> None:
    """A client that gets its 200 and leaves is told nothing any more, and the log says who ended it."""
    async with tunnelling() as stage:
        (await asyncio.to_thread(open_tunnel, stage.proxy)).close()
        assert (await stage.proxy.connection())["code"] == "client_closed"
        await stage.origin.quiet()
