"""One value of a configuration changed in its text, and nothing else: comments, order, quotes and spaces stay as they are.

The places come from the parser's own marks (`settings.document`), so text and value cannot disagree. A round trip through the
YAML library, with nothing changed, changes 90 lines of config/pinproxy.yaml: nulls, indentation, folded lists, the distance of
comments. Whoever edits here loads the result and compares it before it takes the place of the file.
"""

from __future__ import annotations

import re

from pinproxy.settings.document import Document

_BYTE_ORDER_MARK = "\ufeff"
_SCALAR = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\n]|'')*'|[^\s,\[\]{}#&*!|>'\"%@`][^\s,\[\]{}]*")


class NotEditable(Exception):
    """A text in which the place to change is not written plainly; the message says where."""


def with_host_mode(text: str, document: Document, index: int, mode: str) -> str:
    """Set the `mode` of an entry of `hosts`: replace what it says, or add the key behind `host`.

    Args:
        text: The configuration.
        document: The same, parsed.
        index: Of the entry, from 0.
        mode: The word to stand there.

    Raises:
        NotEditable: The entry or its mode is written in a way that cannot be changed safely: an alias, a tag, several lines.
    """
    entry = ("hosts", index)
    if (*entry, "mode") in document.values:
        start, end = _scalar(text, document, (*entry, "mode"))
        return text[:start] + mode + text[end:]
    _, end = _scalar(text, document, (*entry, "host"))
    if text[_offset(text, *document.values[entry])] == "{":
        return f"{text[:end]}, mode: {mode}{text[end:]}"
    _, column = document.keys[*entry, "host"]
    line_end = text.find("\n", end)
    newline = "\r\n" if line_end > 0 and text[line_end - 1] == "\r" else "\n"
    if line_end < 0:
        return f"{text}\n{' ' * (column - 1)}mode: {mode}\n"
    return f"{text[: line_end + 1]}{' ' * (column - 1)}mode: {mode}{newline}{text[line_end + 1 :]}"


def _scalar(text: str, document: Document, place: tuple[str | int, ...]) -> tuple[int, int]:
    line, column = document.values[place]
    start = _offset(text, line, column)
    key_line, _ = document.keys[place]
    found = _SCALAR.match(text, start)
    # An alias has the mark of what it stands for, which is elsewhere; a tag or anchor stands before its value.
    if found is None or line != key_line:
        raise NotEditable(f"line {key_line}: the value of `{place[-1]}` is not written plainly in its place")
    return found.span()


def _offset(text: str, line: int, column: int) -> int:
    """Find the character at a line and column, both counted from 1; a byte order mark counts for neither."""
    at = len(_BYTE_ORDER_MARK) if text.startswith(_BYTE_ORDER_MARK) else 0
    for _ in range(line - 1):
        at = text.find("\n", at) + 1
        if not at:
            raise NotEditable(f"line {line}: the lines before it end in something else than a line feed")
    return at + column - 1
