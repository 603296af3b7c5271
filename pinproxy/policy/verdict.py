"""Fact and act: what a chain is worth under a rule, and what is done about it.

A `Verdict` is a fact about a chain and a pin set. A `Decision` is an act. Report-only changes the second and never the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from pinproxy.authority import Authority
from pinproxy.errors import ChainUnavailable, PinError, PinForbidden, PinMismatch, PinSetExpired
from pinproxy.pins.chain import VerifiedChain
from pinproxy.pins.pin import Pin, spki_pin
from pinproxy.policy.known_chain import KnownChain, remember_chain
from pinproxy.policy.mismatch import advise, classify, explain
from pinproxy.policy.rule import HostRule


class Verdict(StrEnum):
    """The fact."""

    MATCHED = "matched"
    NO_MATCH = "no_match"
    EXPIRED = "expired"
    CHAIN_UNAVAILABLE = "chain_unavailable"
    NOT_PINNED = "not_pinned"


class Decision(StrEnum):
    """The act."""

    ALLOW = "allow"
    ALLOW_AND_REPORT = "allow_and_report"
    DENY = "deny"


# For whoever compares with them at each request: to read a member off its Enum costs ten times as much on Python 3.11.
MATCHED: Final = Verdict.MATCHED
ALLOW: Final = Decision.ALLOW
ALLOW_AND_REPORT: Final = Decision.ALLOW_AND_REPORT
DENY: Final = Decision.DENY


class Assurance(StrEnum):
    """How much a verdict binds the connection it was reached for."""

    FULL = "full"
    ADVISORY = "advisory"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, the decision that follows, and why.

    Attributes:
        verdict: The fact.
        decision: The act.
        refusal: What is told to the client, or would be: set on `deny` and on `allow_and_report`, else None.
        matched_pin: The pin that was met, if any.
        assurance: `full` wherever the checked handshake is the one that carries the traffic.
    """

    verdict: Verdict
    decision: Decision
    refusal: PinError | None = None
    matched_pin: Pin | None = None
    assurance: Assurance = Assurance.FULL

    def __post_init__(self) -> None:
        """Refuse a denial without a reason, by construction."""
        if (self.refusal is None) != (self.decision is Decision.ALLOW):
            raise ValueError("a decision other than allow carries its reason, and only such a one")

    @property
    def would_deny(self) -> bool:
        """Whether enforce mode would have denied what report-only let pass."""
        return self.decision is Decision.ALLOW_AND_REPORT


_FORBIDDEN_LIKELY = "a key that was ruled out is still in use, at the server or by whoever else has it"
_FORBIDDEN_ADVICE = "add no pins: somebody else may hold this key; have the server's owner replace it"


def judge_pins(  # noqa: PLR0911 - five numbered outcomes read best as five returns
    chain: VerifiedChain | None, rule: HostRule, authority: Authority, now: datetime, last_good: KnownChain | None = None
) -> Judgement:
    """Hold a verified chain against a rule's pins: the last step of the procedure in `policy.verify`.

    Args:
        chain: What path validation built; None when it could not be had (a resumed session).
        rule: The rule of the host, pins included.
        authority: For the text of a refusal.
        now: The wall clock, UTC.
        last_good: The last good chain of the authority, for the class of a mismatch and for no verdict; None: there was none.

    Returns:
        Verdict and decision. Never raises: the caller acts on the decision.
    """
    # 1. Nothing to compare is not a match, and no report-only softens it: there is no mismatch to report either.
    if chain is None:
        text = f"{authority}: the handshake gave no certificate chain to compare (a resumed session gives none)"
        return Judgement(Verdict.CHAIN_UNAVAILABLE, Decision.DENY, ChainUnavailable(text))
    # 2. A rule without pins is one the operator called `mode: disabled`.
    pin_set = rule.pin_set
    if pin_set is None or rule.mode == "disabled":
        return Judgement(Verdict.NOT_PINNED, Decision.ALLOW)
    # 3. A forbidden key denies: where another pin matches, after expiry, and in report-only too. Somebody else holds it.
    if forbidden := pin_set.match_forbidden(chain, now):
        note = f" ({printable(forbidden.pin.note)})" if forbidden.pin.note else ""
        failure = f"forbidden {forbidden.pin}{note} is in the verified chain, as {forbidden.position}"
        return Judgement(Verdict.NO_MATCH, Decision.DENY, _failed(PinForbidden, failure, authority, chain, rule, now, last_good))
    # 4. One pin met is enough (RFC 7469 §2.6).
    if match := pin_set.match(chain, now):
        return Judgement(Verdict.MATCHED, Decision.ALLOW, matched_pin=match.pin)
    # 5. None met.
    verdict, otherwise = outcome_of_mismatch(rule, now)
    if otherwise is Decision.ALLOW:
        return Judgement(verdict, otherwise)
    if verdict is Verdict.EXPIRED:
        failure = f"no pin matched, and the pin set expired on {pin_set.expires:%Y-%m-%d}"
        return Judgement(verdict, otherwise, _failed(PinSetExpired, failure, authority, chain, rule, now, last_good))
    failure = f"no pin matched the {'leaf, which alone counts here' if rule.is_pins_only else 'verified chain'}"
    return Judgement(verdict, otherwise, _failed(PinMismatch, failure, authority, chain, rule, now, last_good))


def outcome_of_mismatch(rule: HostRule, now: datetime) -> tuple[Verdict, Decision]:
    """Say what a chain that meets no pin of a rule is worth, and what is done about it; nobody need show one to find out.

    Args:
        rule: The rule.
        now: The wall clock, UTC, or the day that is asked about.
    """
    pin_set = rule.pin_set
    if pin_set is None or rule.mode == "disabled":
        return Verdict.NOT_PINNED, Decision.ALLOW
    # An expired set stays a set (`on_expiry: enforce`) and says that it is expired. So does every set that is all there is to
    # tell a server by (`trust: pins-only`): without it, nobody would be verified.
    expired = pin_set.is_expired(now)
    on_expiry = "enforce" if rule.is_pins_only else pin_set.on_expiry
    if expired and on_expiry == "disabled":
        return Verdict.EXPIRED, Decision.ALLOW
    report_only = rule.mode == "report-only" or (expired and on_expiry == "report-only")
    return Verdict.EXPIRED if expired else Verdict.NO_MATCH, Decision.ALLOW_AND_REPORT if report_only else Decision.DENY


def _failed(
    kind: type[PinError],
    what: str,
    authority: Authority,
    chain: VerifiedChain,
    rule: HostRule,
    now: datetime,
    last_good: KnownChain | None,
) -> PinError:
    present, pins = remember_chain(chain), rule.pin_set.pins if rule.pin_set else ()
    mismatch = classify(present, last_good)
    likely, advice = explain(mismatch, present, last_good), advise(mismatch, _place_of_pins(rule))
    if kind is PinForbidden:
        # How far the chain is from the last good one says nothing here: it may meet a pin, and be that very one.
        likely, advice = _FORBIDDEN_LIKELY, _FORBIDDEN_ADVICE
    remedy = f"  likely    {likely}\n  to do     {advice}"
    return kind(
        f"{describe_failure(what, authority, chain, rule, now)}\n{remedy}",
        seen=tuple(item.spki for item in present.certificates),
        expected=tuple(map(str, pins)),
        mismatch_class=mismatch,
    )


def _place_of_pins(rule: HostRule) -> str:
    """Say where in the configuration the pins of a rule stand."""
    name = rule.pin_set.name if rule.pin_set else ""
    return f"the pins of host {name}" if name == str(rule.pattern) else f"pin_sets.{name}.pins"


def describe_failure(what: str, authority: Authority, chain: VerifiedChain, rule: HostRule, now: datetime) -> str:
    """Write the facts of a pin failure: what was seen and what was expected; its pins can be pasted into the file."""
    pin_set = rule.pin_set
    if pin_set is None:
        raise ValueError(f"rule {rule.label!r} has no pins that could fail")
    lines = [f"{authority}: {what} ({rule.mode})"]
    for index, (position, item) in enumerate(chain.positioned()):
        lead = "seen     " if index == 0 else "         "
        tail = f"   not after {item.not_after:%Y-%m-%d}" if position == "leaf" else ""
        lines.append(f"  {lead} {spki_pin(item)}  {position:<4}  CN={printable(item.common_name)}{tail}")
    for index, pin in enumerate(pin_set.pins):
        lead = "expected " if index == 0 else "         "
        lines.append(f"  {lead} {describe_pin(pin, now)}")
    return "\n".join(lines)


def describe_pin(pin: Pin, at: datetime) -> str:
    """Write a pin with its position, the operator's note, and from when or until when it counts.

    Beside a chain that shows its key, nothing else would tell why it does not.
    """
    dates = ""
    if pin.not_before is not None and at < pin.not_before:
        dates = f"  counts only from {pin.not_before:%Y-%m-%d}"
    elif pin.not_after is not None:
        dates = f"  {'until' if at <= pin.not_after else 'has not counted since'} {pin.not_after:%Y-%m-%d}"
    note = f"  {printable(pin.note)}" if pin.note else ""
    return f"{pin}  {pin.position:<4}{dates}{note}".rstrip()


def printable(text: str, limit: int = 100) -> str:
    """Escape what a certificate or an operator wrote, so that one line stays one line (CWE-117), and cap its length."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
