"""The status page: every rule with its mode, last verdict, pins and dates, and the refusals of late. What is wrong comes first.

Rules of this file:
- Everything goes through `html.tag`; certificate subjects, host names and notes are other people's text.
- No script, no form, nothing from elsewhere: the page must be as readable in an incident as on any day.
- State is said in words, and only repeated in colour.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib.resources import files
from typing import Literal

from pinproxy import __version__
from pinproxy.admin.html import Html, join, tag
from pinproxy.admin.view import AdminView, Readiness, check_readiness
from pinproxy.policy.rule import HostRule, PinsOnly
from pinproxy.policy.verdict import Decision, Verdict
from pinproxy.report.status_book import RefusalRecord, RuleRecord, StatusBook

Tone = Literal["bad", "warn", "good", "calm"]

STYLE = files(__package__).joinpath("status_page.css").read_text(encoding="utf-8")

_SOON = timedelta(days=14)  # the last third of a 47-day certificate (CA/Browser Forum SC-081v3): renewal is late by then
_ORDER: tuple[Tone, ...] = ("bad", "warn", "good", "calm")
_VERDICTS: dict[Verdict, str] = {
    Verdict.MATCHED: "matched",
    Verdict.NO_MATCH: "no match",
    Verdict.EXPIRED: "pin set expired",
    Verdict.CHAIN_UNAVAILABLE: "no chain",
    Verdict.NOT_PINNED: "not pinned",
}


def render_status_page(view: AdminView, now: datetime) -> str:
    """Write the page.

    Args:
        view: What may be seen.
        now: The wall clock, UTC.

    Returns:
        A whole HTML document.
    """
    book = view.book
    hosts = sorted(book.records, key=lambda record: _ORDER.index(_tone(record, now)))
    body = tag(
        "main",
        _header(view, check_readiness(view), now),
        _stale_banner(book, now),
        _tiles(view),
        _heading("Hosts", str(len(hosts))),
        *(_host(record, now) for record in hosts),
        None if hosts else tag("p", "No host is listed.", class_="empty"),
        _heading("Recent refusals", "and what report-only let pass"),
        *(_refusal(refusal, now) for refusal in book.refusals),
        None if book.refusals else tag("p", "Nothing has been refused since the start.", class_="empty"),
        _footer(),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "pinproxy"),
        tag("style", Html(STYLE)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", body), lang="en")


def _header(view: AdminView, readiness: Readiness, now: datetime) -> Html:
    book = view.book
    if readiness.checks["draining"] == "yes":
        state = _chip("draining", "warn")
    elif not readiness.is_ready:
        state = _chip("not ready", "bad")
    elif book.failed_at is not None:
        state = _chip("ready, configuration stale", "warn")
    else:
        state = _chip("ready", "good")
    loaded = join("configuration loaded ", _ago(book.loaded_at, now)) if book.loaded_at else "no configuration"
    policy = {"deny": "are denied", "allow": "are allowed"}[book.table.unlisted] if book.table else "are denied"
    return tag(
        "header",
        tag("div", tag("h1", "pinproxy", tag("small", __version__)), tag("span", state, class_="push"), class_="row"),
        tag("p", loaded, f" · unlisted hosts {policy} · as of {now:%Y-%m-%d %H:%M:%S} UTC", class_="quiet"),
    )


def _stale_banner(book: StatusBook, now: datetime) -> Html | None:
    if book.failed_at is None:
        return None
    lead = tag("strong", "A newer configuration was rejected ", _ago(book.failed_at, now), ". The one before stays in force.")
    return tag("div", lead, tag("ul", *(tag("li", str(problem)) for problem in book.problems)), class_="banner", role="status")


def _tiles(view: AdminView) -> Html:
    book = view.book
    modes = [record.rule.mode for record in book.records]
    tallies = [book.unlisted, *(record.tally for record in book.records)]
    reported, denied = sum(tally.reported for tally in tallies), sum(tally.denied for tally in tallies)
    unlisted = book.unlisted.denied
    others = f"{modes.count('report-only')} report-only, {modes.count('disabled')} not pinned"
    return tag(
        "dl",
        _tile("Enforced hosts", modes.count("enforce"), others),
        _tile("Open connections", view.metrics.active),
        _tile("Allowed", sum(tally.allowed for tally in tallies)),
        _tile("Would be denied", reported, "report-only", "warn" if reported else "calm"),
        _tile("Denied", denied, f"{unlisted:,} to unlisted hosts" if unlisted else "", "bad" if denied - unlisted else "calm"),
        class_="tiles",
    )


def _tile(name: str, number: int, below: str = "", tone: Tone = "calm") -> Html:
    small = tag("small", below) if below else None
    return tag("div", tag("dt", name), tag("dd", f"{number:,}", small), class_=f"tile {tone}")


def _host(record: RuleRecord, now: datetime) -> Html:
    rule, tone = record.rule, _tone(record, now)
    if record.decided_at is None:
        seen = tag("span", "never seen", class_="quiet")
    else:
        seen = join(
            _chip(_outcome(record), _decision_tone(record)), " ", tag("span", _ago(record.decided_at, now), class_="quiet")
        )
    return tag(
        "article",
        tag("div", tag("h3", rule.label), *_settings(rule), tag("span", seen, class_="push"), class_="row"),
        _facts(record, now),
        _backup_note(record),
        _pins(record, now),
        class_=f"card {tone}",
    )


def _settings(rule: HostRule) -> tuple[Html, ...]:
    """Say the mode, and what of a verification is switched off."""
    mode = _chip(rule.mode, "outline")
    if not isinstance(rule.trust, PinsOnly):
        return (mode,)
    return (mode, _chip(rule.trust.name, "outline"), *(_chip(key, "warn") for key in rule.trust.skipped))


def _outcome(record: RuleRecord) -> str:
    verdict = _VERDICTS[record.verdict] if record.verdict and record.verdict_at == record.decided_at else ""
    if record.decision is Decision.ALLOW:
        return verdict or "allowed"
    act = "let pass" if record.decision is Decision.ALLOW_AND_REPORT else "denied"
    return f"{verdict}, {act}" if verdict else f"{act}: {record.code}"


def _facts(record: RuleRecord, now: datetime) -> Html:
    tally, pin_set = record.tally, record.rule.pin_set
    counts = [f"{tally.allowed:,} allowed", f"{tally.reported:,} would be denied", f"{tally.denied:,} denied"]
    shown = [text for text in counts if not text.startswith("0 ")] or ["none yet"]
    set_name = "none" if pin_set is None else "of its own" if pin_set.name == str(record.rule.pattern) else pin_set.name
    expires = _deadline(pin_set.expires, now) if pin_set and pin_set.expires else None
    verb = None if expires is None else ", ended " if pin_set and pin_set.is_expired(now) else ", ends "
    # The chip speaks of the last connection; where that got no verdict, as when the dial failed, the last one stands here.
    earlier = record.verdict_at if record.verdict_at != record.decided_at else None
    return tag(
        "dl",
        _fact("Last verdict", join(_VERDICTS[record.verdict], " ", _ago(earlier, now))) if record.verdict and earlier else None,
        _fact(
            "Certificate ends", _deadline(record.certificate_expires, now) if record.certificate_expires else "none admitted yet"
        ),
        _fact("Mismatch class", record.mismatch_class) if record.mismatch_class else None,
        _fact("Pin set", join(set_name, verb, expires)),
        _fact("Connections", ", ".join(shown)),
        class_="facts",
    )


def _fact(name: str, value: str) -> Html:
    return tag("div", tag("dt", name), tag("dd", value))


def _backup_note(record: RuleRecord) -> Html | None:
    if not record.is_backup_missing:
        return None
    text = "No backup pin: every pin of this set is in the chain that is served. Add the pin of a key that is not in use yet."
    return tag("p", text, class_="note")


def _pins(record: RuleRecord, now: datetime) -> Html | None:
    pin_set = record.rule.pin_set
    if pin_set is None:
        return None
    head = tag("thead", tag("tr", *(tag("th", name) for name in ("Pin", "Position", "Note", "Last match"))))
    rows = []
    for pin in pin_set.pins:
        at = record.last_matches.get(pin)
        when = _ago(at, now) if at else "never" if pin.is_current(now) else "not in its dates"
        cells = (tag("td", str(pin), class_="mono"), tag("td", pin.position), tag("td", pin.note), tag("td", when))
        rows.append(tag("tr", *cells, class_="met" if at else "unmet"))
    return tag("table", head, tag("tbody", *rows))


def _refusal(refusal: RefusalRecord, now: datetime) -> Html:
    is_denied = refusal.decision is Decision.DENY
    times = f"{refusal.count:,} times, last " if refusal.count > 1 else ""
    return tag(
        "article",
        tag(
            "div",
            tag("h3", refusal.authority or "no host"),
            _chip("denied" if is_denied else "would be denied", "bad" if is_denied else "warn"),
            _chip(refusal.code, "outline"),
            _chip(refusal.mismatch_class, "outline") if refusal.mismatch_class else None,
            tag("span", times, _ago(refusal.last_at, now), class_="push quiet"),
            class_="row",
        ),
        tag("p", "from ", tag("code", refusal.client), ", id ", tag("code", refusal.id), class_="quiet"),
        tag("pre", refusal.text, tabindex="0") if refusal.text else None,
        class_="card bad" if is_denied and refusal.rule else "card warn" if not is_denied else "card",
    )


def _footer() -> Html:
    names = ("/api/hosts", "/api/observations", "/metrics", "/ca.pem", "/readyz", "/livez")
    links = (tag("a", name, href=name) for name in names)
    return tag("footer", tag("div", *links, class_="row"))


def _heading(text: str, aside: str) -> Html:
    return tag("h2", text, tag("small", aside))


def _chip(text: str, tone: Tone | Literal["outline"]) -> Html:
    return tag("span", text, class_=f"chip {tone}")


def _tone(record: RuleRecord, now: datetime) -> Tone:
    pin_set, ends = record.rule.pin_set, record.certificate_expires
    if pin_set is not None and pin_set.is_expired(now):
        return "bad"
    is_ending = any(at is not None and at - now < _SOON for at in (ends, pin_set.expires if pin_set else None))
    tone = _decision_tone(record)
    return "warn" if tone in {"good", "calm"} and (is_ending or record.is_backup_missing) else tone


def _decision_tone(record: RuleRecord) -> Tone:
    if record.decision is Decision.DENY:
        return "bad"
    if record.decision is Decision.ALLOW_AND_REPORT:
        return "warn"
    return "good" if record.verdict is Verdict.MATCHED else "calm"


def _deadline(at: datetime, now: datetime) -> Html:
    left = at - now
    words = f"{at:%Y-%m-%d} (in {_duration(left)})" if left > timedelta() else f"{at:%Y-%m-%d} ({_duration(-left)} ago)"
    return tag("span", words, class_="bad" if left <= timedelta() else "warn" if left < _SOON else "calm")


def _ago(at: datetime, now: datetime) -> Html:
    words = "just now" if now - at < timedelta(seconds=5) else f"{_duration(now - at)} ago"
    return tag("time", words, datetime=at.isoformat(timespec="seconds"), title=f"{at:%Y-%m-%d %H:%M:%S} UTC")


def _duration(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "0 seconds"
