"""The status as JSON, for `/api/hosts`. Times are RFC 3339 in UTC; what is not known yet is null."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pinproxy import __version__
from pinproxy.admin.view import AdminView
from pinproxy.policy.rule import PinsOnly
from pinproxy.report.status_book import RefusalRecord, RuleRecord, Tally


def describe_hosts(view: AdminView, now: datetime) -> dict[str, Any]:
    """Describe every rule and the refusals of late.

    Args:
        view: What may be seen.
        now: The wall clock, UTC.
    """
    book = view.book
    return {
        "version": __version__,
        "as_of": _time(now),
        "configuration": {
            "loaded_at": _time(book.loaded_at),
            "is_stale": book.failed_at is not None,
            "failed_at": _time(book.failed_at),
            "problems": [str(problem) for problem in book.problems],
        },
        "unlisted": {"policy": book.table.unlisted if book.table else None, "counts": _counts(book.unlisted)},
        "hosts": [_host(record, now) for record in book.records],
        "refusals": [_refusal(refusal) for refusal in book.refusals],
    }


def _host(record: RuleRecord, now: datetime) -> dict[str, Any]:
    rule, pin_set = record.rule, record.rule.pin_set
    return {
        "rule": rule.label,
        "mode": rule.mode,
        "connect": rule.connect,
        "min_tls": rule.min_tls,
        "trust": rule.trust.name,
        "skipped_checks": list(rule.trust.skipped) if isinstance(rule.trust, PinsOnly) else [],
        "chain_profile": rule.chain_profile,
        "pin_set": pin_set
        and {
            "name": pin_set.name,
            "expires": _time(pin_set.expires),
            "is_expired": pin_set.is_expired(now),
            "on_expiry": pin_set.on_expiry,
            "pins": [
                {
                    "pin": str(pin),
                    "position": pin.position,
                    "note": pin.note,
                    "is_current": pin.is_current(now),
                    "last_match": _time(record.last_matches.get(pin)),
                }
                for pin in pin_set.pins
            ],
            "forbidden": [str(pin) for pin in pin_set.forbidden],
        },
        "last_verdict": record.verdict,
        "last_verdict_at": _time(record.verdict_at),
        "last_decision": record.decision,
        "last_decision_at": _time(record.decided_at),
        "last_code": record.code,
        "last_mismatch_class": record.mismatch_class,
        "certificate_expires": _time(record.certificate_expires),
        "backup_pin_missing": record.is_backup_missing,
        "counts": _counts(record.tally),
    }


def _refusal(refusal: RefusalRecord) -> dict[str, Any]:
    return {
        "id": refusal.id,
        "rule": refusal.rule,
        "authority": refusal.authority,
        "client": refusal.client,
        "code": refusal.code,
        "decision": refusal.decision,
        "mismatch_class": refusal.mismatch_class,
        "count": refusal.count,
        "first_at": _time(refusal.first_at),
        "last_at": _time(refusal.last_at),
        "text": refusal.text,
    }


def _counts(tally: Tally) -> dict[str, int]:
    return {"allowed": tally.allowed, "would_deny": tally.reported, "denied": tally.denied}


def _time(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z") if at else None
