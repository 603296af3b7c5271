"""The `connection` line of the log as JSON: one for each event, its fields always there and always in this order. Pure.

It is written out and not made by an encoder: it stands on the data path, where a dictionary of 22 fields and a walk over it would
cost as much as reading a request head. The middle of it is the same for most requests to a host, and written once.
"""

from __future__ import annotations

from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted

from pinproxy.authority import Authority
from pinproxy.pins.pin import Pin
from pinproxy.policy.verdict import Assurance, Decision, Verdict
from pinproxy.report.event import CarryMode, ConnectionEvent


def connection_line(event: ConnectionEvent, level: str, timestamp: str) -> str:
    """Write the line of a connection or request, without its end.

    Args:
        event: What happened.
        level: `info` or `warning`.
        timestamp: When it ended, as `report.timestamp` writes it.

    Returns:
        One JSON object in printable ASCII, so that no terminal sequence (C1 too), no line separator and no lone surrogate
        survives (CWE-117); `trust` is there where no chain was validated, `user` and `detail` where there is one. Unbounded,
        as `detail` is.
    """
    judgement, rule = event.judgement, event.rule
    verdict = assurance = matched_pin = None
    if judgement is not None:
        verdict, assurance, matched_pin = judgement.verdict, judgement.assurance, judgement.matched_pin
    middle = _middle(
        event.mode,
        event.method,
        event.authority,
        None if rule is None else rule.label,
        verdict,
        assurance,
        matched_pin,
        event.decision,
        event.code,
        event.mismatch_class,
        event.tls_version,
        event.alpn,
        event.upstream_address,
    )
    trust = f',"trust":{_quoted(rule.trust.name)}' if rule is not None and rule.is_pins_only else ""
    user = "" if event.user is None else f',"user":{_quoted(event.user)}'
    detail = "" if event.detail is None else f',"detail":{_quoted(event.detail)}'
    return (
        f'{{"timestamp":"{timestamp}","level":"{level}","event":"connection","id":"{event.id}",'
        f'"client":{_quoted(event.client)},{middle},"status":{"null" if event.status is None else event.status},'
        f'"bytes_up":{event.bytes_up},"bytes_down":{event.bytes_down},'
        f'"duration_ms":{event.duration_seconds * 1000:.3f}{trust}{user}{detail}}}'
    )


@lru_cache(maxsize=1024)
def _middle(
    mode: CarryMode,
    method: str | None,
    authority: Authority | None,
    rule: str | None,
    verdict: Verdict | None,
    assurance: Assurance | None,
    matched_pin: Pin | None,
    decision: Decision,
    code: str | None,
    mismatch_class: str | None,
    tls_version: str | None,
    alpn: str | None,
    upstream_address: str | None,
) -> str:
    return (
        f'"mode":{_text(mode)},"method":{_text(method)},"authority":{_text(authority)},"host_rule":{_text(rule)},'
        f'"verdict":{_text(verdict)},"assurance":{_text(assurance)},"decision":{_text(decision)},'
        f'"would_deny":{"true" if decision is Decision.ALLOW_AND_REPORT else "false"},'
        f'"code":{_text(code)},"matched_pin":{_text(matched_pin)},"mismatch_class":{_text(mismatch_class)},'
        f'"tls_version":{_text(tls_version)},"alpn":{_text(alpn)},"upstream_address":{_text(upstream_address)}'
    )


def _text(value: object) -> str:
    return "null" if value is None else _quoted(str(value))
