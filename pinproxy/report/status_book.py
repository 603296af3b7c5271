"""What is the case: for every rule its last verdict, its pins and its certificate; and the refusals of late, with their text.

Rules of this file:
- Bounded whatever peers do: one record for each rule, and a fixed number of refusals, of which equal ones are counted as one.
- Facts about pins are written only by events of the very rule in force; a connection that began under an older one just counts.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime

from pinproxy.errors import Problem
from pinproxy.pins.chain import VerifiedChain
from pinproxy.pins.pin import Pin
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable
from pinproxy.policy.verdict import ALLOW, DENY, MATCHED, Decision, Verdict
from pinproxy.report.event import ConnectionEvent

REFUSALS_KEPT = 50  # for listed hosts, and as many for the rest: a day's reading, and at 4 KiB of text each 400 KiB
_LONGEST_TEXT = 4096


@dataclass(slots=True)
class Tally:
    """How many connections and requests ended how."""

    allowed: int = 0
    reported: int = 0
    denied: int = 0

    def count(self, decision: Decision) -> None:
        """Add one."""
        if decision is ALLOW:
            self.allowed += 1
        elif decision is DENY:
            self.denied += 1
        else:
            self.reported += 1


@dataclass(slots=True)
class RuleRecord:
    """What is known of one rule.

    Attributes:
        rule: The rule in force.
        tally: Since the start, over reloads.
        verdict: Of the last pin check; None: none yet.
        verdict_at: When that connection ended, UTC.
        decision: Of the last connection or request, also where no pin check was reached; None: none yet.
        decided_at: When that was, UTC.
        code: Its reason code, if it was refused or would have been.
        mismatch_class: Its mismatch class, if a pin failed.
        last_matches: For every pin of the set that was ever met, when it last was, UTC.
        certificate_expires: End of the leaf that the last admitted handshake showed, UTC.
        is_backup_missing: Whether all current pins are in the chain that is served, so that losing one key loses all; None: no
            handshake has matched yet.
    """

    rule: HostRule
    tally: Tally = field(default_factory=Tally)
    verdict: Verdict | None = None
    verdict_at: datetime | None = None
    decision: Decision | None = None
    decided_at: datetime | None = None
    code: str | None = None
    mismatch_class: str | None = None
    last_matches: dict[Pin, datetime] = field(default_factory=dict)
    certificate_expires: datetime | None = None
    is_backup_missing: bool | None = None

    def succeed(self, rule: HostRule) -> RuleRecord:
        """Carry what stays true over to the rule of the same name in a new configuration."""
        if rule is self.rule:
            return self
        if rule.pin_set == self.rule.pin_set:
            self.rule = rule
            return self
        pins = frozenset(rule.pin_set.pins) if rule.pin_set else frozenset()
        kept = {pin: at for pin, at in self.last_matches.items() if pin in pins}
        return replace(self, rule=rule, last_matches=kept, is_backup_missing=None)


@dataclass(slots=True)
class RefusalRecord:
    """A refusal, or what report-only let pass; equal ones are one, with a count.

    Attributes:
        rule: Label of the rule; None: unlisted, or refused before there was a rule.
        authority: Host and port asked for, as text; None where none could be read.
        code: The reason code.
        decision: `deny` or `allow_and_report`.
        mismatch_class: Of a pin failure, how far its chain was from the last good one; None: no pin failed.
        text: The reason in full, of the last time.
        id: Of the last time.
        client: Of the last time.
        first_at: When it first happened, UTC.
        last_at: When it last happened, UTC.
        count: How often.
    """

    rule: str | None
    authority: str | None
    code: str
    decision: Decision
    mismatch_class: str | None
    text: str
    id: str
    client: str
    first_at: datetime
    last_at: datetime
    count: int = 1


class StatusBook:
    """The record that the status page, `/api/hosts` and the gauges are read from.

    Attributes:
        table: The rules in force; None before the first configuration.
        loaded_at: When they came into force, UTC.
        failed_at: When a newer configuration was rejected, UTC; None: the newest one is in force.
        problems: What was wrong with that one.
        unlisted: The tally of everything that met no rule.
    """

    def __init__(self, refusals_kept: int = REFUSALS_KEPT) -> None:
        """Open an empty book.

        Args:
            refusals_kept: How many different refusals are remembered, of listed hosts and of the rest each.
        """
        self.table: PolicyTable | None = None
        self.loaded_at: datetime | None = None
        self.failed_at: datetime | None = None
        self.problems: tuple[Problem, ...] = ()
        self.unlisted = Tally()
        self._records: dict[str, RuleRecord] = {}
        self._refusals_kept = refusals_kept
        # Apart, or a client that tries unlisted hosts would push out the one refusal that matters.
        self._refusals: OrderedDict[tuple[str | None, ...], RefusalRecord] = OrderedDict()
        self._unlisted_refusals: OrderedDict[tuple[str | None, ...], RefusalRecord] = OrderedDict()

    @property
    def records(self) -> tuple[RuleRecord, ...]:
        """One for each rule, in the order of the configuration."""
        return tuple(self._records.values())

    @property
    def refusals(self) -> tuple[RefusalRecord, ...]:
        """The refusals of late, newest first."""
        kept = (*self._refusals.values(), *self._unlisted_refusals.values())
        return tuple(sorted(kept, key=lambda refusal: refusal.last_at, reverse=True))

    def adopt(self, table: PolicyTable, at: datetime) -> None:
        """Follow a new configuration: rules that are gone are forgotten, those that stay keep their history."""
        before = self._records
        self._records = {
            rule.label: before[rule.label].succeed(rule) if rule.label in before else RuleRecord(rule) for rule in table.rules
        }
        self.table, self.loaded_at, self.failed_at, self.problems = table, at, None, ()

    def reject(self, problems: tuple[Problem, ...], at: datetime) -> None:
        """Note that a newer configuration was refused, and the one in force is stale."""
        self.failed_at, self.problems = at, problems

    def record(self, event: ConnectionEvent) -> RuleRecord | None:
        """Take an event down.

        Returns:
            The record of its rule if this event changed whether the rule has a backup pin, else None.
        """
        label = event.rule.label if event.rule else None
        if event.decision is not ALLOW:
            self._record_refusal(event, label)
        if event.rule is None:
            self.unlisted.count(event.decision)
            return None
        record = self._records.get(event.rule.label)
        if record is None:
            return None
        record.tally.count(event.decision)
        record.decision, record.decided_at = event.decision, event.at
        record.code, record.mismatch_class = event.code, event.mismatch_class
        if event.judgement is None or not (event.rule is record.rule or event.rule == record.rule):
            return None
        record.verdict, record.verdict_at = event.judgement.verdict, event.at
        if event.judgement.matched_pin:
            record.last_matches[event.judgement.matched_pin] = event.at
        # What only a handshake can change is looked at only after one; requests on a pooled connection stop here.
        if event.handshake_seconds is None or event.chain is None or event.decision is DENY:
            return None
        record.certificate_expires = event.chain.leaf.not_after
        if event.rule.pin_set is None or event.judgement.verdict is not MATCHED:
            return None
        return record if _record_met_pins(record, event.rule.pin_set, event.chain, event.at) else None

    def _record_refusal(self, event: ConnectionEvent, label: str | None) -> None:
        refusals = self._unlisted_refusals if label is None else self._refusals
        authority = str(event.authority) if event.authority else None
        text = (event.detail or "")[:_LONGEST_TEXT]
        key = (label, authority, event.code, event.decision, event.mismatch_class)
        found = refusals.get(key)
        if found is None:
            refusals[key] = RefusalRecord(
                rule=label,
                authority=authority,
                code=event.code or "",
                decision=event.decision,
                mismatch_class=event.mismatch_class,
                text=text,
                id=event.id,
                client=event.client,
                first_at=event.at,
                last_at=event.at,
            )
            if len(refusals) > self._refusals_kept:
                refusals.popitem(last=False)
            return
        found.text, found.id, found.client, found.last_at = text, event.id, event.client, event.at
        found.count += 1
        refusals.move_to_end(key)


def _record_met_pins(record: RuleRecord, pin_set: PinSet, chain: VerifiedChain, at: datetime) -> bool:
    """Note every pin the chain meets, not only the first, and whether one is left that it does not; tell if that is news."""
    current, met = pin_set.current(at), pin_set.met_by(chain, at)
    record.last_matches.update(dict.fromkeys(met, at))
    # > RFC 7469 §4.3: A Backup Pin is a fingerprint for the public key of a secondary, not-yet-deployed key pair.
    is_missing = len(met) == len(current)
    is_news = is_missing != bool(record.is_backup_missing)
    record.is_backup_missing = is_missing
    return is_news
