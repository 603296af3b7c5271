"""What happened to a connection, in words: its log line, or what a running proxy remembers of a refusal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from pinproxy.cli.advice import ADVICE
from pinproxy.cli.foresight import Section
from pinproxy.cli.options import STDIN
from pinproxy.errors import refusal_codes
from pinproxy.policy.verdict import printable

_LONGEST_TEXT = 512
_ACTS = {
    "allow": "allowed",
    "allow_and_report": "passed and was reported: enforce would have denied it",
    "deny": "denied",
}


def find_line(connection_id: str, files: Iterable[Path]) -> tuple[str, dict[str, Any]] | None:
    """Find the line of a connection in JSON logs.

    Args:
        connection_id: As in `X-Pinproxy-Id`.
        files: Read in order; `-` is standard input. Lines that are no JSON are passed over.

    Returns:
        `file:line` and its fields; None: it is in none of them.

    Raises:
        click.UsageError: A file cannot be read.
    """
    wanted = connection_id.encode("ascii")
    for file in files:
        try:
            with sys.stdin.buffer if file == STDIN else file.open("rb") as opened:
                for number, line in enumerate(opened, start=1):
                    if wanted in line and (found := _connection(line, connection_id)) is not None:
                        return f"{file}:{number}", found
        except OSError as error:
            raise click.UsageError(f"{file} cannot be read ({error.strerror})") from error
    return None


def _connection(line: bytes, connection_id: str) -> dict[str, Any] | None:
    # Container runtimes and journals put their own words in front of a line.
    start = line.find(b"{")
    try:
        found = json.loads(line[max(start, 0) :])
    except ValueError:
        return None
    is_it = isinstance(found, dict) and found.get("id") == connection_id and found.get("event") == "connection"
    return found if is_it else None


def of_refusal(refusal: dict[str, Any]) -> dict[str, Any]:
    """Bring a refusal of `/api/hosts` into the form of a log line."""
    same = {key: refusal.get(key) for key in ("id", "authority", "client", "code", "decision", "mismatch_class")}
    return {**same, "host_rule": refusal.get("rule"), "timestamp": refusal.get("last_at"), "detail": refusal.get("text")}


def retell(line: dict[str, Any]) -> tuple[Section, ...]:
    """Tell the story of a log line; what it does not say is left out."""
    sections = (
        Section("asked", tuple(_asked(line))),
        Section("rule", (_text(line.get("host_rule")) or "none: the host is not listed, or none was named",)),
        Section("verdict", tuple(_verdict(line))),
        Section("class", (_text(line["mismatch_class"]),) if line.get("mismatch_class") else ()),
        Section("so it was", tuple(_decision(line))),
        Section("text", tuple(printable(part, _LONGEST_TEXT) for part in str(line.get("detail") or "").splitlines())),
        Section("cause", tuple(_advice(line, 0))),
        Section("to do", tuple(_advice(line, 1))),
        Section("more", tuple(_more(line))),
    )
    return tuple(section for section in sections if section.lines)


def _asked(line: dict[str, Any]) -> Iterator[str]:
    method, authority, mode = (_text(line.get(key)) for key in ("method", "authority", "mode"))
    who = " ".join(filter(None, (_text(line.get("client")), f"({_text(line['user'])})" if line.get("user") else "")))
    yield f"{f'{method} ' if method else ''}{authority or 'no host that can be read'}, by {who or 'somebody'}" + (
        f", carried by {mode}" if mode and mode != "none" else ""
    )
    if line.get("upstream_address"):
        version = f", {_text(line['tls_version'])}" if line.get("tls_version") else ""
        yield f"upstream {_text(line['upstream_address'])}{version}"


def _verdict(line: dict[str, Any]) -> Iterator[str]:
    if line.get("verdict"):
        yield f"{_text(line['verdict'])} (assurance: {_text(line.get('assurance')) or 'unknown'})"
    elif "verdict" in line:
        yield "none: it came to no pin check"
    if line.get("matched_pin"):
        yield f"met {_text(line['matched_pin'])}"


def _decision(line: dict[str, Any]) -> Iterator[str]:
    act = _ACTS.get(str(line.get("decision")), _text(line.get("decision")))
    kind = refusal_codes().get(str(line.get("code")))
    said = f": {kind.code}, {kind.title[0].lower()}{kind.title[1:]}" if kind else ""
    status = f" (status {_text(line['status'])})" if line.get("status") else ""
    yield f"{act}{said}{status}"


def _advice(line: dict[str, Any], part: int) -> Iterator[str]:
    detail = str(line.get("detail") or "")
    # A pin failure says both itself, and knows more.
    if (advice := ADVICE.get(str(line.get("code")))) and "\n  to do " not in detail:
        yield advice[part]


def _more(line: dict[str, Any]) -> Iterator[str]:
    if str(line.get("code")) in ADVICE:
        yield f"docs/errors.md#{line['code']}"


def _text(value: object) -> str:
    return "" if value is None else printable(str(value), _LONGEST_TEXT)
