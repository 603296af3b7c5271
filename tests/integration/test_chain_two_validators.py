"""Two validators judge every chain under `chain_profile: strict`; what only one of them accepts, or can read, is denied.

Drawn: what is sent, and in [brackets] what only OpenSSL lets pass.
"""

from __future__ import annotations

import pytest
from cryptography import x509

from pinproxy.pins.chain import certificate
from pinproxy.pins.pin import Pin, spki_pin
from pinproxy.policy.rule import ChainProfile, Mode, TrustAnchors
from tests.harness.bad_chains import CA, ROOT, TRUST, excluding
from tests.harness.clients import Way, every_way, every_way_in_a_mode, on_one_loop
from tests.harness.defects import forge_ca, forge_leaf, reforge
from tests.harness.outcome import ask_once, assert_denied, assert_served
from tests.harness.pki import Issued, server_context
from tests.harness.running import HOST

UNUSUAL_ROOT = forge_ca(None, "Root without keyUsage", without=[x509.KeyUsage])
ONLY_OPENSSL = {
    # leaf <- [root without keyUsage], as private CAs made by old scripts are
    "root without keyUsage": (forge_leaf(UNUSUAL_ROOT, HOST), UNUSUAL_ROOT.anchors),
    # [leaf without authorityKeyIdentifier] <- CA
    "leaf without authorityKeyIdentifier": (forge_leaf(CA, HOST, without=[x509.AuthorityKeyIdentifier]), TRUST),
    # leaf <- [CA whose basicConstraints is not critical]
    "basicConstraints not critical": (
        forge_leaf(forge_ca(ROOT, "Odd CA", instead=[(x509.BasicConstraints(ca=True, path_length=None), False)]), HOST),
        TRUST,
    ),
    # [leaf that is a CA] <- CA
    "leaf that is a CA": (
        forge_leaf(CA, HOST, instead=[(x509.BasicConstraints(ca=True, path_length=None), True)]),
        TRUST,
    ),
    # [leaf for *.example.test] <- CA that excludes api.example.test
    "wildcard over what is excluded": (
        forge_leaf(forge_ca(ROOT, "Constrained CA", instead=[excluding(HOST)]), "*.example.test"),
        TRUST,
    ),
    # [leaf whose serial number is negative] <- CA
    "negative serial number": (
        reforge(forge_leaf(CA, HOST, serial=0x7F22334455667788), b"\x7f\x22\x33\x44\x55", b"\xff\x22\x33\x44\x55"),
        TRUST,
    ),
}


def root_pin(trust: TrustAnchors) -> Pin:
    """Pin the root, whose certificate everybody can read."""
    return spki_pin(certificate(trust.roots[0]))


each_odd_chain = pytest.mark.parametrize(("leaf", "trust"), ONLY_OPENSSL.values(), ids=ONLY_OPENSSL.keys())


@pytest.mark.attack(
    "chains that OpenSSL alone accepts: no keyUsage or authorityKeyIdentifier, a leaf that is a CA, a negative serial number",
    expect="chain_invalid",
    topic="certificates",
    motive="the limbo and BetterTLS suites",
)
@pytest.mark.attack(
    "a wildcard that covers names which name constraints exclude or do not permit",
    expect="chain_invalid",
    topic="certificates",
    motive="CVE-2025-61727, RUSTSEC-2026-0099",
)
@on_one_loop
@every_way_in_a_mode
@each_odd_chain
async def test_what_openssl_alone_accepts_is_denied_under_strict(way: Way, mode: Mode, leaf: Issued, trust: TrustAnchors) -> None:
    """`chain_profile: strict`: two validators must accept; the pin is that of the root in every case."""
    outcome = await ask_once(way, server_context(leaf), [root_pin(trust)], trust, mode=mode)
    assert_denied(outcome, "chain_invalid", status=502)


@on_one_loop
@every_way
@each_odd_chain
async def test_what_openssl_alone_accepts_is_served_under_compatible(way: Way, leaf: Issued, trust: TrustAnchors) -> None:
    """The twin: `chain_profile: compatible` asks OpenSSL's rules alone."""
    outcome = await ask_once(way, server_context(leaf), [root_pin(trust)], trust, chain_profile="compatible")
    assert_served(outcome)


@on_one_loop
@every_way
async def test_compatible_still_pins(way: Way) -> None:
    """The other twin: the same chain, and another pin."""
    leaf, trust = ONLY_OPENSSL["root without keyUsage"]
    outcome = await ask_once(way, server_context(leaf), [CA.pin], trust, chain_profile="compatible")
    assert_denied(outcome, "pin_mismatch")


@pytest.mark.attack(
    "a certificate for another name, with the name in the CN alone, or with a wildcard over two labels or inside one",
    expect="hostname_mismatch",
    topic="certificates",
    motive="RFC 9525 §6; CVE-2021-0341",
)
@on_one_loop
@every_way
async def test_a_common_name_names_nobody_under_compatible_either(way: Way) -> None:
    """RFC 9525 §6.3, where OpenSSL alone is asked: by default it falls back on the CN, and Python lets it."""
    leaf = forge_leaf(CA, common_name=HOST)
    outcome = await ask_once(way, server_context(leaf), [root_pin(TRUST)], TRUST, chain_profile="compatible")
    assert_denied(outcome, "hostname_mismatch", status=502)


UNREADABLE = {
    # [leaf of X.509 version 4], which OpenSSL reads
    "version 4": reforge(forge_leaf(CA, HOST), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03"),
    # [leaf of X.509 version 2 with extensions], which only version 3 has
    "version 2": reforge(forge_leaf(CA, HOST), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01"),
}


@pytest.mark.attack(
    "a certificate that one parser reads and the other does not, or reads with another key",
    expect="chain_invalid",
    topic="certificates",
    motive="CVE-2026-87866",
)
@on_one_loop
@every_way_in_a_mode
@pytest.mark.parametrize("profile", ["strict", "compatible"])
@pytest.mark.parametrize("leaf", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_a_certificate_that_only_one_of_two_parsers_reads_is_denied(
    way: Way, mode: Mode, profile: ChainProfile, leaf: Issued
) -> None:
    """The key that is pinned must be the key that was verified, so both must read the same (CVE-2026-87866)."""
    outcome = await ask_once(way, server_context(leaf), [root_pin(TRUST)], TRUST, mode=mode, chain_profile=profile)
    assert_denied(outcome, "chain_invalid", status=502)


@on_one_loop
@every_way
async def test_a_forged_certificate_with_nothing_wrong_is_served(way: Way) -> None:
    """The twin: forged by the same hand, with the version that is right."""
    leaf = reforge(forge_leaf(CA, HOST), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x02")
    assert_served(await ask_once(way, server_context(leaf), [root_pin(TRUST)], TRUST))
