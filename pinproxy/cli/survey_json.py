"""What `verify --json` prints. A public interface: keys are added, none is renamed or removed; times are RFC 3339 in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pinproxy import __version__
from pinproxy.cli.surveying import why_skipped
from pinproxy.net.survey import Handshake, Survey
from pinproxy.pins.pin import spki_pin
from pinproxy.policy.rule import HostRule

WHY_NOT_TRIED = (
    "no supported Python can offer signature algorithms of one kind, so TLS 1.3 shows the certificate the server prefers"
)


def describe_surveys(surveys: Sequence[Survey], skipped: Sequence[HostRule], exit_code: int) -> dict[str, Any]:
    """Describe what was found."""
    return {
        "version": __version__,
        "exit_code": int(exit_code),
        "hosts": [_survey(item) for item in surveys],
        "skipped": [{"rule": rule.label, "reason": why_skipped(rule)} for rule in skipped],
        "not_tried": [{"tls": "1.3", "key": key, "reason": WHY_NOT_TRIED} for key in ("RSA", "ECDSA")],
    }


def _survey(survey: Survey) -> dict[str, Any]:
    rule, backup = survey.rule, survey.backup_pins
    return {
        "host": survey.authority.host,
        "port": survey.authority.port,
        "rule": rule.label,
        "mode": rule.mode,
        "pin_set": rule.pin_set.name if rule.pin_set else None,
        "as_of": _time(survey.at),
        "outcome": survey.outcome,
        "code": survey.error.code if survey.error else None,
        "detail": survey.error.detail if survey.error else None,
        "is_behind_proxy": survey.is_behind_proxy,
        "backup_pins": None if backup is None else [str(pin) for pin in backup],
        "backup_pin_missing": None if backup is None else not backup,
        "handshakes": [_handshake(item) for item in survey.handshakes],
    }


def _handshake(handshake: Handshake) -> dict[str, Any]:
    judgement, chain, error = handshake.judgement, handshake.chain, handshake.error
    return {
        "address": handshake.address,
        "offered_tls": handshake.way.tls if handshake.way else None,
        "offered_key": handshake.way.key if handshake.way else None,
        "outcome": handshake.outcome,
        "tls_version": handshake.tls_version,
        "key": chain.leaf.key_name if chain else None,
        "verdict": judgement.verdict if judgement else None,
        "decision": judgement.decision if judgement else None,
        "code": error.code if error else None,
        "detail": error.detail if error else None,
        "matched_pin": str(judgement.matched_pin) if judgement and judgement.matched_pin else None,
        "certificate_expires": _time(chain.leaf.not_after) if chain else None,
        "chain": [str(spki_pin(item)) for item in chain.certificates] if chain else [],
    }


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
