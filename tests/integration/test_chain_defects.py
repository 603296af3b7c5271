"""Chains that are not valid are denied in every mode, whatever the pins say; each chain here has its pins right.

The chains are drawn in tests/harness/bad_chains.py; the twin of all of them is `test_the_sound_chain_is_served`. In a tunnel the
preflight is what denies them here; how the wire does is in test_chain_defects_on_the_wire.py.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509

from pinproxy.policy.rule import Mode
from tests.harness.bad_chains import CA, DAY, INVALID, OUT_OF_TIME, SOUND, TRUST, WRONG_NAME
from tests.harness.clients import Way, each_way, every_way, every_way_in_a_mode, on_one_loop
from tests.harness.defects import forge_ca, forge_leaf
from tests.harness.outcome import ask_once, assert_denied, assert_served
from tests.harness.pki import NOW, YEAR, Issued, server_context
from tests.harness.running import HOST


@pytest.mark.attack(
    "a wildcard that covers names which name constraints exclude or do not permit",
    expect="chain_invalid",
    topic="certificates",
    motive="CVE-2025-61727, RUSTSEC-2026-0099",
)
@pytest.mark.attack(
    "name constraints, path length, CA bit or keyUsage violated, or a critical extension that nobody knows",
    expect="chain_invalid",
    topic="certificates",
    motive="RFC 5280 §4.2, §6",
)
@pytest.mark.attack(
    "a signature by SHA-1 or MD5, a leaf that signs a leaf, a CA that vouches for itself as a server",
    expect="chain_invalid",
    topic="certificates",
    motive="RFC 9155, RFC 6151; limbo's forbidden-* cases",
)
@pytest.mark.attack(
    "the pin matches, and the chain is untrusted, self-signed, wrongly signed or for clients only; in report-only too",
    expect="chain_invalid",
    topic="certificates",
    motive="RFC 5280 §6; Envoy's ACCEPT_UNTRUSTED",
)
@on_one_loop
@every_way_in_a_mode
@pytest.mark.parametrize("leaf", INVALID.values(), ids=INVALID.keys())
async def test_an_invalid_chain_is_denied_in_report_only_too(way: Way, mode: Mode, leaf: Issued) -> None:
    """RFC 5280 §6: report-only is about pins, and the pin of this leaf matches besides."""
    context = server_context(leaf, allows_weak_keys=True)
    assert_denied(await ask_once(way, context, [leaf.pin], TRUST, mode=mode), "chain_invalid", status=502)


@pytest.mark.attack(
    "a certificate for another name, with the name in the CN alone, or with a wildcard over two labels or inside one",
    expect="hostname_mismatch",
    topic="certificates",
    motive="RFC 9525 §6; CVE-2021-0341",
)
@on_one_loop
@every_way_in_a_mode
@pytest.mark.parametrize("leaf", WRONG_NAME.values(), ids=WRONG_NAME.keys())
async def test_a_certificate_for_another_name_is_denied_in_report_only_too(way: Way, mode: Mode, leaf: Issued) -> None:
    """RFC 9525 §6: the subjectAltName, and never the common name."""
    outcome = await ask_once(way, server_context(leaf), [leaf.pin], TRUST, mode=mode)
    assert_denied(outcome, "hostname_mismatch", status=502)


@pytest.mark.attack(
    "a leaf or an issuer that has ended or not begun; in report-only too",
    expect="certificate_expired",
    topic="certificates",
    motive="RFC 5280 §4.1.2.5",
)
@on_one_loop
@every_way_in_a_mode
@pytest.mark.parametrize("leaf", OUT_OF_TIME.values(), ids=OUT_OF_TIME.keys())
async def test_a_chain_outside_its_dates_is_denied_in_report_only_too(way: Way, mode: Mode, leaf: Issued) -> None:
    """RFC 5280 §4.1.2.5."""
    outcome = await ask_once(way, server_context(leaf), [leaf.pin], TRUST, mode=mode)
    assert_denied(outcome, "certificate_expired", status=502)


@pytest.mark.attack(
    "a leaf or an issuer that has ended or not begun; in report-only too",
    expect="certificate_expired",
    topic="certificates",
    motive="RFC 5280 §4.1.2.5",
)
@on_one_loop
@every_way_in_a_mode
@pytest.mark.parametrize(
    "root",
    [forge_ca(None, "Old Root", not_after=NOW - DAY), forge_ca(None, "Young Root", not_before=NOW + DAY)],
    ids=["ended", "not begun"],
)
async def test_a_root_outside_its_dates_is_no_anchor(way: Way, mode: Mode, root: Issued) -> None:
    """That it is trusted does not keep it young."""
    leaf = forge_leaf(root, HOST)
    outcome = await ask_once(way, server_context(leaf), [leaf.pin], root.anchors, mode=mode)
    assert_denied(outcome, "certificate_expired", status=502)


@on_one_loop
@every_way
@pytest.mark.parametrize("leaf", SOUND.values(), ids=SOUND.keys())
async def test_the_sound_chain_is_served(way: Way, leaf: Issued) -> None:
    """The twins: each differs in one thing from one of the chains above."""
    assert_served(await ask_once(way, server_context(leaf), [leaf.pin], TRUST))


# --- the leaf's dates by the proxy's own clock -------------------------------------------------------------------------


@pytest.mark.attack(
    "notAfter to the second, by the proxy's own clock",
    expect=("serve", "certificate_expired"),
    topic="certificates",
    motive="RFC 5280 §4.1.2.5; limbo's validity::notafter-exact",
)
@every_way
@pytest.mark.parametrize("seconds", [0, 1])
async def test_the_last_second_of_a_certificate_is_still_inside(way: Way, seconds: int) -> None:
    """RFC 5280 §4.1.2.5: through notAfter, inclusive; one second later it is over, although the machine's clock disagrees."""
    leaf = SOUND["ends soon"]
    at = leaf.certificate.not_valid_after_utc + timedelta(seconds=seconds)
    outcome = await ask_once(way, server_context(leaf), [leaf.pin], TRUST, clock=lambda: at)
    if seconds:
        assert_denied(outcome, "certificate_expired", status=502)
    else:
        assert_served(outcome)


@pytest.mark.attack(
    "the proxy's clock is a year behind or ahead",
    expect="certificate_expired",
    topic="certificates",
    motive="RFC 5280 §4.1.2.5",
)
@every_way
@pytest.mark.parametrize("away", [-YEAR, YEAR], ids=["behind", "ahead"])
async def test_a_clock_that_is_a_year_off_denies_what_is_valid_today(way: Way, away: timedelta) -> None:
    """The wall clock is believed, both ways; the twin with the right one is `test_the_sound_chain_is_served`."""
    leaf = SOUND["plain"]
    outcome = await ask_once(way, server_context(leaf), [leaf.pin], TRUST, clock=lambda: NOW + away)
    assert_denied(outcome, "certificate_expired", status=502)


# --- addresses ---------------------------------------------------------------------------------------------------------

LOOPBACK = "127.0.0.1"


@each_way
async def test_an_address_is_named_by_an_address(way: Way) -> None:
    """RFC 9525 §6.4: an iPAddress entry names an address."""
    leaf = forge_leaf(CA, LOOPBACK)
    assert_served(await ask_once(way, server_context(leaf), [leaf.pin], TRUST, host=LOOPBACK))


@pytest.mark.attack(
    "an address written into a dNSName, or covered by a wildcard",
    expect="hostname_mismatch",
    topic="certificates",
    motive="RFC 9525 §6.4; CVE-2025-66220",
)
@each_way
@pytest.mark.parametrize(
    "name",
    [x509.DNSName(LOOPBACK), x509.DNSName("*.0.0.1"), x509.DNSName(HOST)],
    ids=["as dNSName", "wildcard", "another name"],
)
async def test_an_address_is_not_named_by_a_name_that_looks_like_it(way: Way, name: x509.GeneralName) -> None:
    """The twin: the same digits in a dNSName name nothing."""
    leaf = forge_leaf(CA, HOST, instead=[(x509.SubjectAlternativeName([name]), False)])
    outcome = await ask_once(way, server_context(leaf), [leaf.pin], TRUST, host=LOOPBACK)
    assert_denied(outcome, "hostname_mismatch", status=502)
