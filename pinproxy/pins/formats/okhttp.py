"""OkHttp's `CertificatePinner`: `.add("host", "sha256/…")` calls in Kotlin or Java, or plain lines `host sha256/…`.

What it means there: a pin counts anywhere in the chain; `*.` is one label and `**.` any depth with the name itself, as here;
the pins of *every* pattern that covers a host count together, where here the most specific pattern alone does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pinproxy.pins.formats.capability import Capability, Fitting
from pinproxy.pins.formats.values import ImportedPins, PinnedHost, PinSetDraft, Reading, Wildcard, Written, line_at
from pinproxy.pins.pin import Pin

CAPABILITY = Capability("OkHttp", frozenset({"", "*.", "**."}))
_CALL = re.compile(r"\.add\(")
_LITERALS = re.compile(r'\s*"([^"\n]*)"((?:\s*,\s*"[^"\n]*")*)\s*,?\s*\)')
_LITERAL = re.compile(r'"([^"\n]*)"')
_COMMENT = re.compile(r"^[ \t]*(?://[^\n]*|/\*.*?\*/)", re.MULTILINE | re.DOTALL)


def read(content: bytes, name: str) -> ImportedPins:
    """Read the pins of a source file or of a plain list.

    Args:
        content: Kotlin, Java or lines of a host and a pin, `#` before comments.
        name: The file's name, for messages.

    Raises:
        PinFormatError: Every problem there is.
    """
    reading = Reading(name)
    text = reading.decode(content)
    found = _Found(reading)
    if _CALL.search(text):
        _read_calls(text, found)
    else:
        _read_lines(text, found)
    found.close()
    return reading.finish()


def write(hosts: Sequence[PinnedHost]) -> Written:
    """Write the calls that belong between `CertificatePinner.Builder()` and `.build()`."""
    fitting = Fitting(CAPABILITY)
    lines = [
        f'.add("{host.pattern}", "{pin}")\n'
        for host, pin_set in fitting.hosts(hosts)
        for pin in dict.fromkeys(str(pin) for pin in pin_set.pins)
    ]
    return Written("".join(lines), tuple(fitting.notes))


class _Found:
    """The pins of each pattern, gathered over the file."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self._pins: dict[str, list[Pin | None]] = {}
        self._lines: dict[str, int] = {}

    def add(self, line: int, pattern: str, text: str) -> None:
        self._lines.setdefault(pattern, line)
        if text.startswith("sha256/"):
            pin = self.reading.pin(line, text)
        else:
            pin = None
            self.reading.refuse(line, f"found the pin {text[:80]!r}; expected sha256/<base64>")
        self._pins.setdefault(pattern, []).append(pin)

    def close(self) -> None:
        if not self._pins:
            self.reading.refuse(1, 'holds no pins; expected `.add("host", "sha256/…")` or lines `host sha256/…`')
        kept: list[PinnedHost] = []
        for pattern, pins in self._pins.items():
            line = self._lines[pattern]
            wildcard, name = _split(pattern)
            host = self.reading.host(line, name)
            pin_set = self.reading.pin_set(line, PinSetDraft(host or pattern, pins))
            if host is not None and pin_set is not None:
                found = PinnedHost(host, pin_set, wildcard)
                self.reading.add(line, found)
                self._compare(line, found, kept)
                kept.append(found)

    def _compare(self, line: int, host: PinnedHost, others: list[PinnedHost]) -> None:
        for other in others:
            if _may_overlap(host, other) or _may_overlap(other, host):
                said = f"{other.pattern} and {host.pattern} cover the same hosts; OkHttp adds their pins together"
                self.reading.note(line, f"{said}, here those of the more specific one count alone")


def _split(pattern: str) -> tuple[Wildcard, str]:
    if pattern.startswith("**."):
        return "**.", pattern[3:]
    if pattern.startswith("*."):
        return "*.", pattern[2:]
    return "", pattern


def _may_overlap(wide: PinnedHost, narrow: PinnedHost) -> bool:
    return bool(wide.wildcard) and (narrow.host == wide.host or narrow.host.endswith("." + wide.host))


def _blank(match: re.Match[str]) -> str:
    """Take a comment out and leave its line ends, so that lines keep their numbers."""
    return "\n" * match[0].count("\n")


def _read_calls(text: str, found: _Found) -> None:
    code = _COMMENT.sub(_blank, text)
    for call in _CALL.finditer(code):
        line = line_at(code, call.start())
        literals = _LITERALS.match(code, call.end())
        if literals is None:
            found.reading.note(line, "the arguments of this `.add(` are no string literals; it is not read")
            continue
        # A comment may stand between the arguments; positions are of the code, whose lines are those of the file.
        for pin in _LITERAL.finditer(code, literals.start(2), literals.end(2)):
            found.add(line_at(code, pin.start()), literals[1], pin[1])
        if not literals[2]:
            found.reading.refuse(line, f"{literals[1]!r} is added without a pin; expected one or more behind it")


def _read_lines(text: str, found: _Found) -> None:
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) == 1:
            found.reading.refuse(number, f"found {words[0][:80]!r} alone; expected a host and its pins")
        for word in words[1:]:
            found.add(number, words[0], word)
