"""Chains that are not valid are denied in every mode, whatever the pins say; each chain here has its pins right.

Drawn: what is sent, and in [brackets] what is wrong with it. The twin of all of them is `test_the_sound_chain_is_served`.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from pinproxy.policy.rule import Mode
from tests.harness.clients import Way, each_way
from tests.harness.defects import forge_ca, forge_leaf, key_usage
from tests.harness.outcome import ask_once, assert_denied, assert_served
from tests.harness.pki import NOW, YEAR, Issued, make_intermediate, make_leaf, make_root, server_context
from tests.harness.running import HOST

#     the root, which is trusted
#      └─ CA
#          └─ leaf  api.example.test
ROOT = make_root()
CA = forge_ca(ROOT, "Sound CA")
DAY = timedelta(days=1)
TRUST = ROOT.anchors

each_mode = pytest.mark.parametrize("mode", ["enforce", "report-only"])


def under(*extensions: tuple[x509.ExtensionType, bool], without: type[x509.ExtensionType] | None = None) -> Issued:
    """Make a leaf under an intermediate that has these extensions instead, or lacks one."""
    return forge_leaf(forge_ca(ROOT, "Odd CA", instead=extensions, without=[without] if without else []), HOST)


def chain_of_three(path_length: int) -> Issued:
    """Make a leaf under two intermediates, the upper of which allows that many below it."""
    upper = forge_ca(ROOT, "Upper CA", instead=[(x509.BasicConstraints(ca=True, path_length=path_length), True)])
    return forge_leaf(forge_ca(upper, "Lower CA"), HOST)


def for_purpose(purpose: x509.ObjectIdentifier) -> tuple[x509.ExtensionType, bool]:
    """Make an extendedKeyUsage."""
    return x509.ExtendedKeyUsage([purpose]), False


def permitting(domain: str) -> tuple[x509.ExtensionType, bool]:
    """Make nameConstraints."""
    return x509.NameConstraints(permitted_subtrees=[x509.DNSName(domain)], excluded_subtrees=None), True


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
ANOTHER_ROOT = make_root("Nobody's Root")

INVALID = {
    # leaf <- [a root that is not trusted]
    "untrusted root": make_leaf(ANOTHER_ROOT, HOST),
    # leaf <- CA of another root <- [not trusted], the untrusted root sent along
    "untrusted intermediate": make_leaf(make_intermediate(ANOTHER_ROOT), HOST),
    # [leaf, its own issuer]
    "self-signed": forge_leaf(None, HOST),
    # [leaf for clients] <- CA
    "leaf for clients only": forge_leaf(CA, HOST, instead=[for_purpose(CLIENT_AUTH)]),
    # leaf <- [CA for clients]
    "intermediate for clients only": under(for_purpose(CLIENT_AUTH)),
    # leaf <- Lower CA <- [Upper CA, path length 0]
    "path length exceeded": chain_of_three(0),
    # leaf <- [CA that permits only other.test]
    "name constraints violated": under(permitting("other.test")),
    # leaf <- [not a CA]
    "CA bit false": under((x509.BasicConstraints(ca=False, path_length=None), True)),
    # leaf <- [no basicConstraints]
    "CA bit missing": under(without=x509.BasicConstraints),
    # leaf <- [CA that may not sign certificates]
    "CA may not sign": under((key_usage(digital_signature=True), True)),
    # [leaf with RSA-1024] <- CA
    "RSA-1024": forge_leaf(CA, HOST, key=rsa.generate_private_key(65537, 1024)),  # noqa: S505 - the defect
    # [leaf with a critical extension that nobody knows] <- CA
    "unknown critical extension": forge_leaf(CA, HOST, instead=[(UNKNOWN, True)]),
    # leaf <- [CA that signed with another key than the one it shows]
    "wrong signature": forge_leaf(forge_ca(None, "Sound CA"), HOST),
}

WRONG_NAME = {
    "another host": forge_leaf(CA, "other.example.test"),
    "the name in the CN alone": forge_leaf(CA, common_name=HOST),
    "the name in the CN beside another": forge_leaf(CA, "other.example.test", common_name=HOST),
    "a wildcard over two labels": forge_leaf(CA, "*.test"),
    "a wildcard inside a label": forge_leaf(CA, "a*.example.test"),
    "a parent": forge_leaf(CA, "example.test"),
    "a longer name": forge_leaf(CA, f"{HOST}.evil.test"),
}

OUT_OF_TIME = {
    "ended": forge_leaf(CA, HOST, not_before=NOW - YEAR, not_after=NOW - DAY),
    "not begun": forge_leaf(CA, HOST, not_before=NOW + DAY, not_after=NOW + YEAR),
    "issuer ended": forge_leaf(forge_ca(ROOT, "Old CA", not_after=NOW - DAY), HOST),
}


@pytest.mark.attack(
    "name constraints, path length, CA bit or keyUsage violated, or a critical extension that nobody knows",
    expect="chain_invalid",
    topic="certificates",
    motive="RFC 5280 §4.2, §6",
)
@pytest.mark.attack(
    "the pin matches, and the chain is untrusted, self-signed, wrongly signed or for clients only; in report-only too",
    expect="chain_invalid",
    topic="certificates",
    motive="RFC 5280 §6; Envoy's ACCEPT_UNTRUSTED",
)
@each_way
@each_mode
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
@each_way
@each_mode
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
@each_way
@each_mode
@pytest.mark.parametrize("leaf", OUT_OF_TIME.values(), ids=OUT_OF_TIME.keys())
async def test_a_chain_outside_its_dates_is_denied_in_report_only_too(way: Way, mode: Mode, leaf: Issued) -> None:
    """RFC 5280 §4.1.2.5."""
    outcome = await ask_once(way, server_context(leaf), [leaf.pin], TRUST, mode=mode)
    assert_denied(outcome, "certificate_expired", status=502)


SOUND = {
    "plain": forge_leaf(CA, HOST),
    "for servers and clients": forge_leaf(CA, HOST, instead=[(x509.ExtendedKeyUsage([CLIENT_AUTH, SERVER_AUTH]), False)]),
    "intermediate for servers": under(for_purpose(SERVER_AUTH)),
    "path length met": chain_of_three(1),
    "name constraints met": under(permitting("example.test")),
    "RSA-2048": forge_leaf(CA, HOST, key=rsa.generate_private_key(65537, 2048)),
    "unknown extension, not critical": forge_leaf(CA, HOST, instead=[(UNKNOWN, False)]),
    "a wildcard for the first label": forge_leaf(CA, "*.example.test"),
    "another common name": forge_leaf(CA, HOST, common_name="other.example.test"),
    "ends soon": forge_leaf(CA, HOST, not_after=NOW + timedelta(minutes=30)),
}


@each_way
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
@each_way
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
