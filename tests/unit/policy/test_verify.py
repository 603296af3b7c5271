"""The eight steps between handshake and first byte, one by one: each facts differ in one thing from those that pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pinproxy.authority import Authority
from pinproxy.errors import CertificateExpired, ChainInvalid, HostnameMismatch, Refused, TlsVersion
from pinproxy.limits import Limits
from pinproxy.pins.chain import SentChain, VerifiedChain, certificate
from pinproxy.policy.rule import Mode
from pinproxy.policy.verdict import Decision, Verdict
from pinproxy.policy.verify import HandshakeFacts, Session, Verified, verify_server
from tests.harness.defects import forge_leaf, reforge
from tests.harness.pki import NOW, Issued, make_intermediate, make_leaf, make_root
from tests.harness.running import HOST, host_rule

ROOT = make_root()
INTERMEDIATE = make_intermediate(ROOT)
LEAF, OTHER = make_leaf(INTERMEDIATE, HOST), make_leaf(INTERMEDIATE, HOST)


def sent(*items: Issued) -> SentChain:
    """Make what a server sends."""
    return SentChain(tuple(certificate(item.der) for item in items))


def path(*items: Issued) -> VerifiedChain:
    """Make what the platform says it built."""
    return VerifiedChain(tuple(certificate(item.der) for item in items))


FACTS = HandshakeFacts(
    "TLSv1.3", session=Session.NEW, sent=sent(LEAF, INTERMEDIATE), platform_chain=path(LEAF, INTERMEDIATE, ROOT)
)


def verify(
    facts: HandshakeFacts, *, limits: Limits | None = None, host: str = HOST, pinned: Issued = LEAF, **rule: Any
) -> Verified:
    """Run the procedure with a rule that pins one certificate."""
    entry = host_rule([pinned.pin], ROOT.anchors, **rule)
    return verify_server(facts, entry, Authority(host, 443), NOW, limits or Limits())


def test_facts_with_nothing_wrong_match() -> None:
    """The twin of every test below; the chain is the one both validators built, anchor included."""
    verified = verify(FACTS)
    assert verified.chain == path(LEAF, INTERMEDIATE, ROOT)
    assert (verified.judgement.verdict, verified.judgement.decision) == (Verdict.MATCHED, Decision.ALLOW)


@pytest.mark.parametrize(
    ("spoken", "min_tls"),
    [("TLSv1.2", "1.3"), ("TLSv1.1", "1.2"), ("TLSv1", "1.2"), ("SSLv3", "1.2"), ("none", "1.2"), ("TLSv1.4", "1.2")],
)
def test_step_1_refuses_an_older_version_and_one_it_does_not_know(spoken: str, min_tls: str) -> None:
    """A version that nobody has heard of is not taken for a newer one."""
    with pytest.raises(TlsVersion, match=spoken):
        verify(replace(FACTS, tls_version=spoken), min_tls=min_tls)


@pytest.mark.parametrize(("spoken", "min_tls"), [("TLSv1.2", "1.2"), ("TLSv1.3", "1.2"), ("TLSv1.3", "1.3")])
def test_step_1_passes_the_version_itself_and_newer_ones(spoken: str, min_tls: str) -> None:
    """The twin."""
    assert verify(replace(FACTS, tls_version=spoken), min_tls=min_tls).judgement.verdict is Verdict.MATCHED


@pytest.mark.attack(
    "a resumed session, for which the TLS library returns no chain",
    expect="chain_unavailable",
    topic="pins",
    motive="CVE-2025-68121, CVE-2022-21654",
)
@pytest.mark.parametrize("mode", ["enforce", "report-only", "disabled"])
@pytest.mark.parametrize(
    "facts",
    [replace(FACTS, session=Session.UNKNOWN), replace(FACTS, platform_chain=None), replace(FACTS, sent=sent())],
    ids=["resumed", "no platform chain", "nothing sent"],
)
def test_step_2_denies_what_gave_no_chain_in_every_mode(facts: HandshakeFacts, mode: Mode) -> None:
    """Nothing to compare is not a match, and nothing to verify is not "not pinned" either."""
    verified = verify(facts, mode=mode)
    assert verified.chain is None
    assert (verified.judgement.verdict, verified.judgement.decision) == (Verdict.CHAIN_UNAVAILABLE, Decision.DENY)


def test_step_2_passes_a_resumed_session_whose_full_handshake_is_known() -> None:
    """The twin: its chain is there, and is judged like that of any other."""
    verified = verify(replace(FACTS, session=Session.KNOWN))
    assert (verified.chain, verified.judgement.verdict) == (path(LEAF, INTERMEDIATE, ROOT), Verdict.MATCHED)
    assert verify(replace(FACTS, session=Session.KNOWN), pinned=OTHER).judgement.verdict is Verdict.NO_MATCH


@pytest.mark.parametrize("limits", [Limits(chain_certificates=1), Limits(chain_bytes=FACTS.sent.size_bytes - 1)])
def test_step_3_refuses_more_than_the_limits(limits: Limits) -> None:
    """Two certificates were sent."""
    with pytest.raises(ChainInvalid, match="sent 2 certificates"):
        verify(FACTS, limits=limits)


def test_step_3_passes_as_much_as_the_limits() -> None:
    """The twin: exactly as much."""
    limits = Limits(chain_certificates=2, chain_bytes=FACTS.sent.size_bytes)
    assert verify(FACTS, limits=limits).judgement.verdict is Verdict.MATCHED


@pytest.mark.attack(
    "a certificate that one parser reads and the other does not, or reads with another key",
    expect="chain_invalid",
    topic="certificates",
    motive="CVE-2026-87866",
)
def test_step_4_refuses_a_validated_leaf_that_is_not_the_one_sent_first() -> None:
    """Two sources that speak of two certificates: one of them is wrong, and it does not matter which."""
    with pytest.raises(ChainInvalid, match="not the certificate that was sent first"):
        verify(replace(FACTS, platform_chain=path(OTHER, INTERMEDIATE, ROOT)))


@pytest.mark.parametrize("profile", ["strict", "compatible"])
def test_step_4_refuses_a_certificate_that_our_parser_cannot_read(profile: str) -> None:
    """X.509 version 4, which OpenSSL takes."""
    leaf = reforge(forge_leaf(ROOT, HOST), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03")
    facts = replace(FACTS, sent=sent(leaf), platform_chain=path(leaf, ROOT))
    with pytest.raises(ChainInvalid, match="our own parser cannot"):
        verify(facts, pinned=ROOT, chain_profile=profile)


@pytest.mark.parametrize("profile", ["strict", "compatible"])
@pytest.mark.parametrize("off", [timedelta(days=-2), timedelta(days=91)], ids=["too early", "too late"])
def test_step_5_refuses_a_leaf_outside_its_dates_by_our_clock(profile: str, off: timedelta) -> None:
    """The platform's clock was another one, or the same one a moment ago."""
    rule = host_rule([LEAF.pin], ROOT.anchors, chain_profile=profile)
    with pytest.raises(CertificateExpired):
        verify_server(FACTS, rule, Authority(HOST, 443), NOW + off, Limits())


def test_step_5_looks_at_every_date_of_a_resumed_chain() -> None:
    """The platform has looked at them in the full handshake, which may be a while ago; its twin is a handshake of now."""
    root = make_root(not_after=NOW + timedelta(days=1))
    leaf = make_leaf(root, HOST)
    rule = host_rule([leaf.pin], root.anchors, chain_profile="compatible")
    facts = replace(FACTS, sent=sent(leaf), platform_chain=path(leaf, root))
    resumed = replace(facts, session=Session.KNOWN)
    later = NOW + timedelta(days=2)
    with pytest.raises(CertificateExpired):
        verify_server(resumed, rule, Authority(HOST, 443), later, Limits())
    for passes, now in ((resumed, NOW), (facts, later)):
        assert verify_server(passes, rule, Authority(HOST, 443), now, Limits()).judgement.verdict is Verdict.MATCHED


def test_step_6_refuses_under_strict_what_the_platform_alone_accepted() -> None:
    """The platform says that the path ends in ROOT; the other validator finds no such path in what was sent."""
    alien = make_leaf(make_root("Nobody's Root"), HOST)
    facts = replace(FACTS, sent=sent(alien), platform_chain=path(alien, ROOT))
    with pytest.raises(ChainInvalid, match="no valid path"):
        verify(facts, pinned=ROOT)
    assert verify(facts, pinned=ROOT, chain_profile="compatible").judgement.verdict is Verdict.MATCHED


def test_step_6_takes_the_path_of_the_second_validator_under_strict() -> None:
    """What the platform put into its path and the other did not build is not there to match."""
    facts = replace(FACTS, platform_chain=path(LEAF, OTHER, INTERMEDIATE, ROOT))
    assert verify(facts, pinned=OTHER).judgement.verdict is Verdict.NO_MATCH
    assert verify(facts, pinned=OTHER, chain_profile="compatible").judgement.verdict is Verdict.MATCHED


def test_step_6_holds_the_name_against_the_certificate_once_more() -> None:
    """Under strict the name is checked by both."""
    with pytest.raises(HostnameMismatch):
        verify(FACTS, host="other.example.test")


@pytest.mark.parametrize("appended", [OTHER, make_root("Pinned, and not on the path")])
def test_step_7_holds_the_pins_against_the_path_and_not_against_what_was_sent(appended: Issued) -> None:
    """CVE-2016-2402 once more, at its root."""
    facts = replace(FACTS, sent=sent(LEAF, INTERMEDIATE, appended))
    assert verify(facts, pinned=appended).judgement.verdict is Verdict.NO_MATCH
    assert verify(facts, pinned=LEAF).judgement.verdict is Verdict.MATCHED


@pytest.mark.parametrize(
    ("mode", "decision"), [("enforce", Decision.DENY), ("report-only", Decision.ALLOW_AND_REPORT), ("disabled", Decision.ALLOW)]
)
def test_step_8_turns_the_verdict_into_a_decision_by_the_mode(mode: Mode, decision: Decision) -> None:
    """And only the decision: the verdict of the first two is the same."""
    assert verify(FACTS, pinned=OTHER, mode=mode).judgement.decision is decision


@pytest.mark.parametrize("mode", ["enforce", "report-only", "disabled"])
@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, tls_version="TLSv1.1"),
        replace(FACTS, sent=sent(LEAF, *[INTERMEDIATE] * 10)),
        replace(FACTS, platform_chain=path(OTHER, INTERMEDIATE, ROOT)),
        replace(FACTS, sent=sent(LEAF)),
    ],
    ids=["version", "size", "leaf", "path"],
)
def test_steps_1_to_6_refuse_in_every_mode(facts: HandshakeFacts, mode: Mode) -> None:
    """A chain that does not validate is no pin mismatch, so report-only does not report it: it denies."""
    with pytest.raises(Refused):
        verify(facts, mode=mode)
