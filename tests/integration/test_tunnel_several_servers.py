"""Several true certificates behind one address: whichever the client is shown, a handshake of ours was shown it, too."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pinproxy.policy.rule import ClientCertificate
from pinproxy.tls.alert import AlertDescription, alert
from tests.harness.origin import running_origin
from tests.harness.pki import make_client, make_leaf, make_root
from tests.harness.running import HOST, running_proxy
from tests.harness.tunnelling import (
    LEAF,
    ROOT,
    SECOND,
    TLS12,
    client_context,
    client_hello,
    fetch,
    hear,
    origin_context,
    tunnel_rule,
    tunnelling,
)

RSA_LEAF = make_leaf(ROOT, HOST, key=rsa.generate_private_key(public_exponent=65537, key_size=2048))


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
