"""What `check --live` adds to the lints: what servers show today, held against what the configuration expects of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from pinproxy.cli.check_files import SHORT_LIVED
from pinproxy.cli.surveying import why_skipped
from pinproxy.net.survey import Handshake, Outcome, Survey
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable
from pinproxy.policy.verdict import Decision, Verdict, printable
from pinproxy.settings.document import Place
from pinproxy.settings.findings import Remark, Severity, day, days_left
from pinproxy.settings.model import Settings


def remark_on_surveys(
    surveys: Sequence[Survey],
    skipped: Sequence[HostRule],
    settings: Settings,
    table: PolicyTable,
    now: datetime,
    soon: timedelta,
) -> Iterator[Remark]:
    """Remark on what servers show.

    Args:
        surveys: What was found.
        skipped: Rules that nobody was asked for.
        settings: The configuration.
        table: Its rules, in the order of `hosts`.
        now: The wall clock, UTC.
        soon: How far ahead the end of a certificate is near.
    """
    number_of = {id(rule): number for number, rule in enumerate(table.rules)}
    for survey in surveys:
        place = ("hosts", number_of[id(survey.rule)])
        yield from _failures(survey, place)
        yield from _backup(survey, place)
        yield from _ends(survey, place, now, soon)
        yield from _renewals(survey, place)
    yield from _unseen(surveys, settings, number_of)
    for rule in skipped:
        yield Remark(
            "note", ("hosts", number_of[id(rule)], "host"), f"no server was asked: {why_skipped(rule)} to `pinproxy verify`"
        )


def place_of_pins(settings: Settings, rule: HostRule, number: int) -> Place:
    """Say where the pins of a rule stand: at its own entry, or in `pin_sets`."""
    is_own = rule.pin_set is None or settings.hosts[number].pins is not None
    return ("hosts", number) if is_own else ("pin_sets", rule.pin_set.name if rule.pin_set else "")


def _failures(survey: Survey, place: Place) -> Iterator[Remark]:
    if survey.error is not None:
        yield Remark("warning", place, f"not asked: {survey.error}")
    # A server with two addresses fails in six ways for one reason.
    alike: dict[tuple[Severity, str], list[Handshake]] = {}
    for item in survey.handshakes:
        if item.outcome is Outcome.NO_ROUTE:
            yield Remark("note", place, f"{item.address} was not asked: this machine has no route to it")
        elif item.outcome is Outcome.UNREACHABLE:
            yield Remark("warning", place, f"{item.address} was not asked: {item.error}")
        elif item.outcome is Outcome.MISMATCH:
            alike.setdefault(_failure(item), []).append(item)
    for (severity, text), items in alike.items():
        further = len(items) - 1
        more = f", and {further} more handshake{'s' * (further != 1)}" if further else ""
        yield Remark(severity, place, f"{_asked(items[0])}{more}: {text}")


def _failure(item: Handshake) -> tuple[Severity, str]:
    passes = item.judgement is not None and item.judgement.decision is not Decision.DENY
    effect = "it passes here, and `enforce` would deny it" if passes else "it would be denied"
    severity: Severity = "warning" if passes else "mismatch"
    if item.error is None:
        return severity, f"no pin matched: {effect}"
    summary, _, _ = item.error.detail.partition("\n")
    return severity, f"{item.error.code}: {printable(summary, 300)}: {effect}"


def _asked(item: Handshake) -> str:
    return f"{item.address} by TLS {item.way.tls}{f', {item.way.key}' if item.way.key else ''}" if item.way else item.address


def _backup(survey: Survey, place: Place) -> Iterator[Remark]:
    if survey.backup_pins == ():
        text = (
            f"every pin is in the chains that {survey.authority} serves: a lost key is an outage; add the pin of a key that is "
            f"kept offline (`pinproxy backup-key`)"
        )
        yield Remark("warning", place, text)


def _ends(survey: Survey, place: Place, now: datetime, soon: timedelta) -> Iterator[Remark]:
    for leaf in dict.fromkeys(chain.leaf for chain in survey.chains):
        # With `unsafe_skip_dates` it may have ended already, which is then no news.
        if timedelta() <= leaf.not_after - now < soon:
            text = f"{survey.authority} serves a certificate that ends on {day(leaf.not_after)}, {days_left(leaf.not_after, now)}"
            yield Remark("warning", place, f"{text}; see that its successor's key is pinned")


def _renewals(survey: Survey, place: Place) -> Iterator[Remark]:
    pin_set = survey.rule.pin_set
    if pin_set is None:
        return
    for chain in survey.chains:
        lifetime = chain.leaf.not_after - chain.leaf.not_before
        met = pin_set.met_by(chain, survey.at)
        above = any(pin.is_met_by(item, "ca") for pin in met for item in chain.certificates[1:])
        if met and not above and lifetime < SHORT_LIVED:
            text = (
                f"{survey.authority} serves a certificate that lasts {lifetime.days} days, and only its own key is pinned: "
                f"unless renewals keep the key, or use the backup key, the next one is denied"
            )
            yield Remark("note", place, text)
            return


def _unseen(surveys: Sequence[Survey], settings: Settings, number_of: dict[int, int]) -> Iterator[Remark]:
    """Name the pins of each set that no server shows; a set none of whose hosts matched has other problems."""
    by_place: dict[Place, tuple[PinSet, list[Survey]]] = {}
    for survey in surveys:
        pin_set = survey.rule.pin_set
        if pin_set is not None:
            place = place_of_pins(settings, survey.rule, number_of[id(survey.rule)])
            by_place.setdefault(place, (pin_set, []))[1].append(survey)
    for place, (pin_set, users) in by_place.items():
        if not any(item.judgement and item.judgement.verdict is Verdict.MATCHED for user in users for item in user.handshakes):
            continue
        seen = {pin for user in users for chain in user.chains for pin in pin_set.met_by(chain, user.at)}
        for index, pin in enumerate(pin_set.pins):
            if pin not in seen and pin.is_current(users[0].at):
                text = "in no chain of any host that was asked: right for a backup key; else remove it"
                yield Remark("note", (*place, "pins", index), text)
