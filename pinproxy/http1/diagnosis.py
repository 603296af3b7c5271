"""Say in words why a head is refused. Slow, and only run on what `grammar` has refused already; it decides nothing.

What it says never holds a byte of the head: only the number of the line and the rule it breaks.
"""

from __future__ import annotations

import re
from typing import Final

from pinproxy.http1.grammar import REQUESTS, TOKEN, Side

_TOKEN: Final = re.compile(TOKEN)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HIGH: Final = re.compile(rb"[\x80-\xff]")


def why_head(raw: bytes, side: Side) -> str:
    """Name the first rule that a refused head breaks.

    Args:
        raw: The head, or as much of it as has arrived; at least one whole line.
        side: Whether it was read as a request or as a response.

    Returns:
        One sentence without any byte of the head.
    """
    lines = raw.split(b"\n")
    fault = _why_start_line(lines[0], side)
    return fault or _first_field_fault(lines[1:], side)


def why_section(raw: bytes, side: Side) -> str:
    """Name the first rule that a refused trailer section breaks; as `why_head`, without a start line."""
    return _first_field_fault(raw.split(b"\n"), side)


def _first_field_fault(lines: list[bytes], side: Side) -> str:
    for number, line in enumerate(lines, start=1):
        fault = _why_field(line, side)
        if fault:
            return f"field line {number} {fault}"
    return "the head is malformed"


def _why_start_line(line: bytes, side: Side) -> str:
    if side.start_line.fullmatch(line + b"\n"):
        return ""
    if line.startswith(b"PRI * HTTP/2"):
        return "this is HTTP/2 with prior knowledge; send HTTP/1.1"
    if not line.endswith(b"\r"):
        return "the first line ends with a bare LF; lines end with CRLF"
    if not line.removesuffix(b"\r"):
        return "there is more than one empty line before the first line"
    return _why_request_line(line[:-1]) if side is REQUESTS else _why_status_line(line[:-1])


def _why_request_line(line: bytes) -> str:
    if _CONTROL.search(line) or b"\t" in line:
        return "the request line holds a control character"
    if _HIGH.search(line):
        return "the request line holds a byte that is not ASCII; percent-encode it"
    words = line.split(b" ")
    rules = (
        (len(words) == 2 and not words[1].startswith(b"HTTP/"), "this is HTTP/0.9; send HTTP/1.1"),
        (len(words) != 3 or not all(words), "the request line is not `method SP target SP version`"),
        (not _TOKEN.fullmatch(words[0]), "the method is not a token"),
        (b"#" in line, "the request target holds a fragment"),
    )
    return next((why for broken, why in rules if broken), "the version is neither HTTP/1.0 nor HTTP/1.1")


def _why_status_line(line: bytes) -> str:
    if not line.startswith(b"HTTP/"):
        return "the answer does not start with an HTTP status line"
    if not line.startswith((b"HTTP/1.0 ", b"HTTP/1.1 ")):
        return "the version of the answer is neither HTTP/1.0 nor HTTP/1.1"
    if _CONTROL.search(line):
        return "the status line holds a control character"
    return "the status line is not `version SP status-code SP reason-phrase`"


def _why_field(line: bytes, side: Side) -> str:
    """Return the predicate of a sentence that starts with the number of the line, or nothing."""
    if line in {b"", b"\r"} or side.field_section.fullmatch(line + b"\n\r\n"):
        return ""
    name, colon, value = line.partition(b":")
    rules = (
        (not line.endswith(b"\r"), "ends with a bare LF; lines end with CRLF"),
        (line[:1] in {b" ", b"\t"}, "continues the line before it (obs-fold)"),
        (b"\r" in line[:-1], "holds a bare CR"),
        (not colon, "has no colon"),
        (not name, "has an empty field name"),
        (name[-1:] in {b" ", b"\t"}, "has whitespace before the colon"),
        (not _TOKEN.fullmatch(name), "has a field name that is not a token"),
        (_CONTROL.search(value[:-1]), "holds a control character"),
    )
    return next((words for broken, words in rules if broken), "holds a byte that is not ASCII")
