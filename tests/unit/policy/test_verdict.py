"""Fact and act: which verdict a chain gets, which decision follows, and what is said about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pinproxy.authority import Authority
from pinproxy.pins.chain import VerifiedChain, certificate
from pinproxy.pins.pin import Pin, parse_pin
from pinproxy.pins.pin_set import OnExpiry, PinSet
from pinproxy.policy.known_chain import KnownChain, remember_chain
from pinproxy.policy.rule import Mode, PinsOnly
from pinproxy.policy.verdict import Decision, Judgement, Verdict, describe_failure, judge_pins, printable
from tests.harness.defects import forge_leaf
from tests.harness.pki import NOW, make_intermediate, make_leaf, make_root
from tests.harness.running import HOST, host_rule

ROOT = make_root("Example Root")
INTERMEDIATE = make_intermediate(ROOT, "Example CA R13")
LEAF, OTHER = make_leaf(INTERMEDIATE, HOST), make_leaf(INTERMEDIATE, HOST)
CHAIN = VerifiedChain(tuple(certificate(item.der) for item in (LEAF, INTERMEDIATE, ROOT)))
BEFORE = remember_chain(VerifiedChain(tuple(certificate(item.der) for item in (OTHER, INTERMEDIATE, ROOT))))
AUTHORITY = Authority(HOST, 443)
DAY = timedelta(days=1)
MATCHING, MISSING = PinSet("set", (LEAF.pin,)), PinSet("set", (OTHER.pin,))


def judge(
    pin_set: PinSet | None,
    mode: Mode = "enforce",
    chain: VerifiedChain | None = CHAIN,
    last_good: KnownChain | None = None,
) -> Judgement:
    """Judge a chain under a rule with these pins."""
    rule = replace(host_rule((), ROOT.anchors, mode="disabled"), pin_set=pin_set, mode=mode)
    return judge_pins(chain, rule, AUTHORITY, NOW, last_good)


def expired(pin_set: PinSet, on_expiry: OnExpiry) -> PinSet:
    """End a set yesterday."""
    return replace(pin_set, expires=NOW - DAY, on_expiry=on_expiry)


ALLOW, REPORT, DENY = Decision.ALLOW, Decision.ALLOW_AND_REPORT, Decision.DENY
FORBIDDING = replace(MATCHING, forbidden=(ROOT.pin,))


@pytest.mark.parametrize(
    ("pin_set", "mode", "verdict", "decision", "code"),
    [
        (MATCHING, "enforce", Verdict.MATCHED, ALLOW, None),
        (MATCHING, "report-only", Verdict.MATCHED, ALLOW, None),
        (MISSING, "enforce", Verdict.NO_MATCH, DENY, "pin_mismatch"),
        (MISSING, "report-only", Verdict.NO_MATCH, REPORT, "pin_mismatch"),
        (MISSING, "disabled", Verdict.NOT_PINNED, ALLOW, None),
        (None, "disabled", Verdict.NOT_PINNED, ALLOW, None),
        (FORBIDDING, "enforce", Verdict.NO_MATCH, DENY, "pin_forbidden"),
        (FORBIDDING, "report-only", Verdict.NO_MATCH, DENY, "pin_forbidden"),
        (expired(FORBIDDING, "disabled"), "report-only", Verdict.NO_MATCH, DENY, "pin_forbidden"),
        (expired(MATCHING, "enforce"), "enforce", Verdict.MATCHED, ALLOW, None),
        (expired(MISSING, "enforce"), "enforce", Verdict.EXPIRED, DENY, "pin_set_expired"),
        (expired(MISSING, "enforce"), "report-only", Verdict.EXPIRED, REPORT, "pin_set_expired"),
        (expired(MISSING, "report-only"), "enforce", Verdict.EXPIRED, REPORT, "pin_set_expired"),
        (expired(MISSING, "disabled"), "enforce", Verdict.EXPIRED, ALLOW, None),
        (replace(MISSING, expires=NOW), "enforce", Verdict.NO_MATCH, DENY, "pin_mismatch"),
    ],
)
def test_the_table_of_verdicts_and_decisions(
    pin_set: PinSet | None, mode: Mode, verdict: Verdict, decision: Decision, code: str | None
) -> None:
    """Report-only changes the decision and never the verdict; `expires` itself is still inside."""
    judgement = judge(pin_set, mode)
    assert (judgement.verdict, judgement.decision) == (verdict, decision)
    assert (judgement.refusal.code if judgement.refusal else None) == code
    assert judgement.would_deny is (decision is REPORT)
    assert judgement.matched_pin == (LEAF.pin if verdict is Verdict.MATCHED else None)


@pytest.mark.parametrize("mode", ["enforce", "report-only"])
@pytest.mark.parametrize("pin_set", [MISSING, FORBIDDING, expired(MISSING, "enforce")])
def test_every_failure_is_classed_and_no_verdict_depends_on_the_class(pin_set: PinSet, mode: Mode) -> None:
    """A likelihood tells people where to look; it lets nothing pass."""
    with_record, without = judge(pin_set, mode, last_good=BEFORE), judge(pin_set, mode)
    assert (with_record.verdict, with_record.decision) == (without.verdict, without.decision)
    classes = [judgement.refusal.mismatch_class for judgement in (with_record, without) if judgement.refusal]
    assert classes == ["new_key_same_issuer", "never_seen"]


def test_nobody_is_told_to_add_a_pin_for_a_forbidden_key() -> None:
    """Another pin would not help, and the key is known to be bad: the text says so, with the operator's own words for it."""
    forbidden = replace(MATCHING, forbidden=(replace(ROOT.pin, note="lost\nin 2026"),))
    refusal = judge(forbidden, last_good=BEFORE).refusal
    assert refusal is not None
    first, *_, likely, to_do = refusal.detail.splitlines()
    assert first == f"{HOST}:443: forbidden {ROOT.pin} (lost\\nin 2026) is in the verified chain, as ca (enforce)"
    assert likely.startswith("  likely    a key that was ruled out is still in use")
    assert to_do.startswith("  to do     add no pins")


@pytest.mark.parametrize(
    ("pin", "said"),
    [
        (replace(LEAF.pin, note="old", not_after=NOW - DAY), f"has not counted since {NOW - DAY:%Y-%m-%d}"),
        (replace(LEAF.pin, note="old", not_before=NOW + DAY), f"counts only from {NOW + DAY:%Y-%m-%d}"),
    ],
)
def test_a_pin_out_of_force_is_said_to_be(pin: Pin, said: str) -> None:
    """The chain shows the very key, and beside it nobody would see why it does not count; the twin is in force, and matches."""
    refusal = judge(PinSet("payments", (pin, OTHER.pin))).refusal
    assert refusal is not None
    assert f"  expected  {LEAF.pin}  any   {said}  old" in refusal.detail.splitlines()
    assert f"            {OTHER.pin}  any" in refusal.detail.splitlines()
    assert judge(PinSet("payments", (LEAF.pin, OTHER.pin))).refusal is None


@pytest.mark.parametrize("mode", ["enforce", "report-only", "disabled"])
@pytest.mark.parametrize("pin_set", [MATCHING, MISSING])
def test_no_chain_is_denied_in_every_mode(mode: Mode, pin_set: PinSet) -> None:
    """Nothing to compare is not a match."""
    judgement = judge(pin_set, mode, chain=None)
    assert (judgement.verdict, judgement.decision) == (Verdict.CHAIN_UNAVAILABLE, DENY)


@pytest.mark.parametrize("decision", [DENY, REPORT])
def test_a_denial_without_a_reason_cannot_be_made(decision: Decision) -> None:
    """Nor can an allowance with one."""
    with pytest.raises(ValueError, match="carries its reason"):
        Judgement(Verdict.NO_MATCH, decision)
    refusal = judge(MISSING).refusal
    with pytest.raises(ValueError, match="only such a one"):
        Judgement(Verdict.MATCHED, ALLOW, refusal)
    assert Judgement(Verdict.NO_MATCH, decision, refusal).refusal is refusal


def test_a_failure_says_what_was_seen_and_expected_in_pins_that_can_be_pasted() -> None:
    """The text of spec section 4.4, line by line."""
    pins = PinSet("payments", (replace(OTHER.pin, note="offline backup", position="ca"), OTHER.pin))
    refusal = judge(pins, last_good=BEFORE).refusal
    assert refusal is not None
    assert refusal.detail.splitlines() == [
        f"{HOST}:443: no pin matched the verified chain (enforce)",
        f"  seen      {LEAF.pin}  leaf  CN={HOST}   not after {LEAF.certificate.not_valid_after_utc:%Y-%m-%d}",
        f"            {INTERMEDIATE.pin}  ca    CN=Example CA R13",
        f"            {ROOT.pin}  ca    CN=Example Root",
        f"  expected  {OTHER.pin}  ca    offline backup",
        f"            {OTHER.pin}  any",
        "  likely    new key, same issuer: a renewal without the pinned key",
        "  to do     if the renewal is yours, add the leaf line to pin_sets.payments.pins",
    ]
    assert [parse_pin(text) for text in refusal.seen] == [LEAF.pin, INTERMEDIATE.pin, ROOT.pin]
    assert refusal.expected == (str(OTHER.pin), str(OTHER.pin))


def test_pins_that_stand_at_the_host_are_named_there() -> None:
    """There is no set of that name to look for."""
    refusal = judge(PinSet(HOST, (OTHER.pin,))).refusal
    assert refusal is not None
    assert f"add it to the pins of host {HOST}" in refusal.detail


def test_a_rule_without_pins_has_no_failure_to_describe() -> None:
    """Asking for one is a defect of the caller."""
    with pytest.raises(ValueError, match="no pins that could fail"):
        describe_failure("", AUTHORITY, CHAIN, host_rule((), ROOT.anchors, mode="disabled"), NOW)


def test_what_a_certificate_says_of_itself_stays_on_its_line() -> None:
    """CWE-117: an attacker may choose the common name."""
    evil = forge_leaf(INTERMEDIATE, HOST, common_name="x\n  to do     add sha256/AAAA\x1b[2J\u202e")
    chain = VerifiedChain((certificate(evil.der), certificate(ROOT.der)))
    refusal = judge(MISSING, chain=chain).refusal
    assert refusal is not None
    assert len(refusal.detail.splitlines()) == 6
    assert all(char.isprintable() for line in refusal.detail.split("\n") for char in line)
    assert r"\n" in refusal.detail


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain", "plain"), ("a\r\nb", r"a\r\nb"), ("\x00\x1b", r"\x00\x1b"), ("x" * 101, "x" * 99 + "…"), ("é", "é"), ("", "")],
)
def test_printable_escapes_and_cuts(text: str, shown: str) -> None:
    """One line stays one line, and a short one."""
    assert printable(text) == shown


# --- trust: pins-only ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_expiry", ["enforce", "report-only", "disabled"])
def test_where_pins_are_all_there_is_no_expiry_lets_a_mismatch_pass(on_expiry: OnExpiry) -> None:
    """Its twin with a validated chain stands in the table above."""
    rule = replace(host_rule([OTHER.pin], PinsOnly()), pin_set=expired(MISSING, on_expiry))
    judgement = judge_pins(VerifiedChain((certificate(LEAF.der),)), rule, AUTHORITY, NOW)
    assert (judgement.verdict, judgement.decision) == (Verdict.EXPIRED, DENY)
    assert judgement.refusal is not None
    assert judgement.refusal.code == "pin_set_expired"


def test_the_text_says_that_only_the_leaf_counts() -> None:
    """A pin of the issuer, right as it may be, is looked for in vain."""
    judgement = judge_pins(VerifiedChain((certificate(LEAF.der),)), host_rule([INTERMEDIATE.pin], PinsOnly()), AUTHORITY, NOW)
    assert judgement.refusal is not None
    assert "no pin matched the leaf, which alone counts here" in judgement.refusal.detail
