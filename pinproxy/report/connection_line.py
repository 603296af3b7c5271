"""The `connection` line of the log as JSON: one for each event, its fields always there and always in this order. Pure.

It is written out and not made by an encoder: it stands on the data path, where a dictionary of 22 fields and a walk over it would
cost as much as reading a request head.
"""

from __future__ import annotations

from datetime import datetime
from json.encoder import encode_basestring_ascii as _quoted

from pinproxy.policy.verdict import Decision
from pinproxy.report.event import ConnectionEvent

_ALLOW_AND_REPORT = Decision.ALLOW_AND_REPORT  # reading a member of an Enum costs ten times as much on Python 3.11


def connection_line(event: ConnectionEvent, level: str) -> str:
    """Write the line of a connection or request, without its end.

    Args:
        event: What happened.
        level: `info` or `warning`.

    Returns:
        One JSON object in printable ASCII, so that no terminal sequence (C1 too), no line separator and no lone surrogate
        survives (CWE-117); `trust` is there where no chain was validated, `user` and
        `detail` where there is one. Unbounded, as `detail` is.
    """
    judgement = event.judgement
    authority = None if event.authority is None else str(event.authority)
    rule = None if event.rule is None else event.rule.label
    if judgement is None:
        verdict = assurance = matched_pin = "null"
    else:
        verdict, assurance = f'"{judgement.verdict}"', f'"{judgement.assurance}"'
        matched_pin = f'"{judgement.matched_pin}"' if judgement.matched_pin else "null"
    would_deny = "true" if event.decision is _ALLOW_AND_REPORT else "false"
    trust = f',"trust":"{event.rule.trust.name}"' if event.rule is not None and event.rule.is_pins_only else ""
    user = "" if event.user is None else f',"user":{_quoted(event.user)}'
    detail = "" if event.detail is None else f',"detail":{_quoted(event.detail)}'
    return (
        f'{{"timestamp":"{format_time(event.at)}","level":"{level}","event":"connection","id":"{event.id}",'
        f'"client":{_quoted(event.client)},"mode":"{event.mode}","method":{_text(event.method)},'
        f'"authority":{_text(authority)},"host_rule":{_text(rule)},'
        f'"verdict":{verdict},"assurance":{assurance},"decision":"{event.decision}","would_deny":{would_deny},'
        f'"code":{_text(event.code)},"matched_pin":{matched_pin},'
        f'"mismatch_class":{_text(event.mismatch_class)},"tls_version":{_text(event.tls_version)},'
        f'"alpn":{_text(event.alpn)},"upstream_address":{_text(event.upstream_address)},'
        f'"status":{"null" if event.status is None else event.status},'
        f'"bytes_up":{event.bytes_up},"bytes_down":{event.bytes_down},'
        f'"duration_ms":{int(event.duration_seconds * 1_000_000) / 1000}{trust}{user}{detail}}}'
    )


def format_time(at: datetime) -> str:
    """Format a UTC instant to the millisecond."""
    # > RFC 3339 §5.6: time-offset = "Z" / time-numoffset. `Z` is what log pipelines recognise without being told.
    return at.isoformat(timespec="milliseconds")[:23] + "Z"


def _text(value: str | None) -> str:
    return "null" if value is None else _quoted(value)
