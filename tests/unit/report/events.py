"""Rules, chains and events for the tests of reporting: one good event, and whatever a test changes in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pinproxy.authority import Authority
from pinproxy.pins.chain import VerifiedChain
from pinproxy.pins.pin import Pin, spki_pin
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.pattern import parse_pattern
from pinproxy.policy.rule import HostRule, Mode, TrustAnchors
from pinproxy.policy.verdict import Decision, judge_pins
from pinproxy.report.event import ConnectionEvent
from tests.unit.pins.certificates import self_signed

NOW = datetime(2027, 6, 1, 12, 0, 0, 123_000, tzinfo=UTC)
API = Authority("api.example.com", 443)
LEAF, ISSUER = self_signed("api.example.com"), self_signed("Example CA")
CHAIN = VerifiedChain((LEAF, ISSUER))
LEAF_PIN, ISSUER_PIN = spki_pin(LEAF), spki_pin(ISSUER)
BACKUP_PIN = Pin("spki", "sha256", b"b" * 32, note="offline backup")
ROOTS = TrustAnchors("system", ())


def rule(host: str, *pins: Pin, mode: Mode = "enforce", expires: datetime | None = None) -> HostRule:
    """Make a rule with these pins; without any it is one that does not pin."""
    if not pins:
        return HostRule(parse_pattern(host), "disabled", None, ROOTS)
    return HostRule(parse_pattern(host), mode, PinSet("payments", pins, expires=expires), ROOTS)


API_RULE = rule("api.example.com", LEAF_PIN, BACKUP_PIN)


def event(met: HostRule | None = API_RULE, **changes: Any) -> ConnectionEvent:
    """Tell of a connection to the API whose chain was held against the rule just now."""
    judgement = judge_pins(CHAIN, met, API, NOW) if met else None
    refusal = judgement.refusal if judgement else None
    told = ConnectionEvent(
        id="01JZ0Q7",
        at=NOW,
        client="127.0.0.1:53211",
        mode="interception",
        method="CONNECT",
        authority=API,
        rule=met,
        judgement=judgement,
        decision=judgement.decision if judgement else Decision.ALLOW,
        code=refusal.code if refusal else None,
        detail=refusal.detail if refusal else None,
        mismatch_class=refusal.mismatch_class if refusal else None,
        chain=CHAIN,
        tls_version="TLSv1.3",
        alpn="h2",
        upstream_address="192.0.2.1:443",
        status=None,
        bytes_up=100,
        bytes_down=2000,
        duration_seconds=0.25,
        handshake_seconds=0.02,
    )
    return replace(told, **changes)


def refused(code: str, host: str = "other.example", detail: str = "no", **changes: Any) -> ConnectionEvent:
    """Tell of a request to an unlisted host that was refused."""
    authority = Authority(host, 443)
    refusal = {
        "decision": Decision.DENY,
        "code": code,
        "detail": detail,
        "chain": None,
        "handshake_seconds": None,
        "mode": "none",
    }
    return event(None, authority=authority, **refusal, **changes)
