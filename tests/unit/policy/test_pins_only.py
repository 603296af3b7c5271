"""`trust: pins-only`, step by step: the leaf alone, its key, its dates and its name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pinproxy.authority import Authority
from pinproxy.errors import CertificateExpired, ChainInvalid, HostnameMismatch, TlsVersion
from pinproxy.limits import Limits
from pinproxy.pins.chain import SentChain, VerifiedChain, certificate
from pinproxy.policy.pins_only import leaf_alone
from pinproxy.policy.rule import PinsOnly
from pinproxy.policy.server_name import names_host
from pinproxy.policy.verdict import Decision, Verdict
from pinproxy.policy.verify import HandshakeFacts, Session, verify_server
from tests.harness.defects import forge_ca, forge_leaf, reforge
from tests.harness.pki import NOW, Issued, Key
from tests.harness.running import HOST, host_rule

AUTHORITY = Authority(HOST, 443)
CA = forge_ca(None, "Nobody's CA")
LEAF, OTHER = forge_leaf(None, HOST), forge_leaf(None, HOST)
STRICT = PinsOnly()
FACTS = HandshakeFacts("TLSv1.3", session=Session.NEW, sent=SentChain((certificate(LEAF.der),)), platform_chain=None)
RULE = host_rule([LEAF.pin], STRICT)


def alone(leaf: Issued, trust: PinsOnly = STRICT, *, host: str = HOST, also_sent: tuple[Issued, ...] = ()) -> VerifiedChain:
    """Take the leaf of what a server sent."""
    return leaf_alone(SentChain(tuple(certificate(item.der) for item in (leaf, *also_sent))), Authority(host, 443), trust, NOW)


# --- the procedure -------------------------------------------------------------------------------------------------------


def test_the_chain_is_the_leaf_alone_whatever_was_sent_with_it() -> None:
    """Nothing proves anything about the others, so no pin may see them."""
    assert alone(LEAF, also_sent=(CA, OTHER)).certificates == (certificate(LEAF.der),)


def test_facts_without_a_validated_path_match_under_pins_only() -> None:
    """The twin of the next: nobody was asked to validate one."""
    judgement = verify_server(FACTS, RULE, AUTHORITY, NOW, Limits()).judgement
    assert (judgement.verdict, judgement.decision) == (Verdict.MATCHED, Decision.ALLOW)


@pytest.mark.parametrize(
    "facts", [replace(FACTS, session=Session.UNKNOWN), replace(FACTS, sent=SentChain(()))], ids=["resumed", "nothing"]
)
def test_a_handshake_that_shows_no_certificate_is_denied(facts: HandshakeFacts) -> None:
    """Step 2 holds: nothing to compare is not a match."""
    judgement = verify_server(facts, RULE, AUTHORITY, NOW, Limits()).judgement
    assert (judgement.verdict, judgement.decision) == (Verdict.CHAIN_UNAVAILABLE, Decision.DENY)


def test_version_and_size_are_refused_as_ever() -> None:
    """Steps 1 and 3."""
    with pytest.raises(TlsVersion):
        verify_server(replace(FACTS, tls_version="TLSv1.1"), RULE, AUTHORITY, NOW, Limits())
    with pytest.raises(ChainInvalid, match="sent 1 certificates"):
        verify_server(FACTS, RULE, AUTHORITY, NOW, Limits(chain_bytes=10))


def test_a_path_that_the_platform_claims_is_not_looked_at() -> None:
    """Under `compatible` it would be the chain; here it was validated by nobody."""
    facts = replace(FACTS, platform_chain=VerifiedChain((certificate(LEAF.der), certificate(CA.der))))
    rule = host_rule([CA.pin], STRICT, chain_profile="compatible")
    assert verify_server(facts, rule, AUTHORITY, NOW, Limits()).judgement.verdict is Verdict.NO_MATCH


# --- the key -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP521R1()), rsa.generate_private_key(65537, 2048)],
    ids=["P-384", "P-521", "RSA-2048"],
)
def test_a_key_that_is_strong_enough_passes(key: Key) -> None:
    """Besides P-256, which all the others here have."""
    leaf = forge_leaf(None, HOST, key=key)
    assert alone(leaf).leaf == certificate(leaf.der)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),  # noqa: S505 - the defect
        ec.generate_private_key(ec.SECP224R1()),
        ec.generate_private_key(ec.SECP256K1()),
    ],
    ids=["RSA-1024", "P-224", "secp256k1"],
)
def test_a_key_that_is_not_is_refused(key: Key) -> None:
    """What path validation would refuse; a pin does not make it stronger."""
    with pytest.raises(ChainInvalid, match="too weak"):
        alone(forge_leaf(None, HOST, key=key))


# --- dates and name ------------------------------------------------------------------------------------------------------

DAY = timedelta(days=1)
ENDED = forge_leaf(None, HOST, not_before=NOW - 2 * DAY, not_after=NOW - DAY)
OTHER_NAME = forge_leaf(None, "other.example.test")


def test_each_check_is_switched_off_by_its_own_name_alone() -> None:
    """The other one stays on."""
    with pytest.raises(CertificateExpired):
        alone(ENDED, PinsOnly(unsafe_skip_hostname=True))
    assert alone(ENDED, PinsOnly(unsafe_skip_dates=True)).leaf == certificate(ENDED.der)
    with pytest.raises(HostnameMismatch):
        alone(OTHER_NAME, PinsOnly(unsafe_skip_dates=True))
    assert alone(OTHER_NAME, PinsOnly(unsafe_skip_hostname=True)).leaf == certificate(OTHER_NAME.der)


def test_a_certificate_that_our_parser_cannot_read_is_refused() -> None:
    """X.509 version 4, which OpenSSL takes."""
    leaf = reforge(forge_leaf(CA, HOST), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03")
    with pytest.raises(ChainInvalid, match="cannot be parsed"):
        alone(leaf)


@pytest.mark.parametrize(
    ("names", "host"),
    [
        ((HOST,), HOST),
        (("API.Example.TEST",), HOST),
        (("*.example.test",), HOST),
        (("other.example.test", HOST), HOST),
        (("192.0.2.7",), "192.0.2.7"),
        (("2001:db8::7",), "2001:db8::7"),
    ],
)
def test_a_certificate_names_what_stands_in_its_subject_alternative_name(names: tuple[str, ...], host: str) -> None:
    """RFC 9525 §6."""
    assert names_host(certificate(forge_leaf(None, *names).der), host)


@pytest.mark.parametrize(
    ("names", "host"),
    [
        (("other.example.test",), HOST),
        (("example.test",), HOST),
        ((f"{HOST}.evil.test",), HOST),
        (("*.test",), "example.test"),
        (("*.test",), HOST),
        (("a*.example.test",), HOST),
        (("*.*.test",), HOST),
        (("*",), HOST),
        (("*.example.test",), "example.test"),
        (("*.example.test",), f"deep.{HOST}"),
        (("*.0.2.7",), "192.0.2.7"),
        (("192.0.2.8",), "192.0.2.7"),
        ((), HOST),
    ],
)
def test_a_certificate_names_nothing_else(names: tuple[str, ...], host: str) -> None:
    """The twins; the last one has the name in its common name alone."""
    assert not names_host(certificate(forge_leaf(None, *names, common_name=HOST).der), host)


def test_an_address_in_a_dns_name_names_nothing() -> None:
    """RFC 9525 §6.4: octets, and no text that looks like them."""
    leaf = forge_leaf(None, HOST, instead=[(x509.SubjectAlternativeName([x509.DNSName("192.0.2.7")]), False)])
    assert not names_host(certificate(leaf.der), "192.0.2.7")


def test_extensions_that_cannot_be_read_name_nobody() -> None:
    """A broken subjectAltName is no missing one, and neither passes."""
    broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x05nope")
    leaf = forge_leaf(None, HOST, without=[x509.SubjectAlternativeName], instead=[(broken, False)])
    with pytest.raises(ChainInvalid, match="cannot be parsed"):
        alone(leaf)
