"""Chromium's preloaded pins: `transport_security_state_static.json` and, beside it, `….pins`.

What it means there: a pin counts anywhere in the chain, `bad_static_spki_hashes` are forbidden keys, and a build compares
pins for some ten weeks after it was made. The format is two files, and is not written here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from itertools import takewhile
from typing import Any

from pinproxy.pins.chain import Certificate
from pinproxy.pins.formats.values import ImportedPins, PinnedHost, PinSetDraft, Reading, line_at
from pinproxy.pins.pin import Pin
from pinproxy.pins.pin_set import PinSet

_COMMENT = re.compile(r"^[ \t]*//.*$", re.MULTILINE)
_NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")
_BEGIN = re.compile(r"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----")
_FIELDS = {"name", "static_spki_hashes", "bad_static_spki_hashes"}


def read(content: bytes, name: str, pins: bytes, pins_name: str) -> ImportedPins:
    """Read the list and the keys it names.

    Args:
        content: JSON with `//` comment lines: `pinsets` and `entries`.
        name: Its file's name, for messages.
        pins: The keys: a name, and below it `sha256/…`, a certificate or a public key.
        pins_name: Its file's name, for messages.

    Raises:
        PinFormatError: Every problem of the first file that has any.
    """
    keys = _read_keys(pins, pins_name)
    reading = Reading(name)
    text = _COMMENT.sub("", reading.decode(content))
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise reading.refusal(error.lineno, f"not JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise reading.refusal(1, "JSON that is nested too deep, or holds a number too long") from error
    _List(reading, text, keys).read(document)
    return reading.finish()


class _List:
    """The JSON document being read."""

    def __init__(self, reading: Reading, text: str, keys: dict[str, Pin]) -> None:
        self._reading = reading
        self._text = text
        self._keys = keys
        self._sets: dict[str, PinSet | None] = {}

    def read(self, document: object) -> None:
        sections = document if isinstance(document, dict) else {}
        for key in ("pinsets", "entries"):
            if not isinstance(sections.get(key), list):
                raise self._reading.refusal(1, f"found no list {key!r}; expected pinsets and entries")
        self._reading.note(1, "Chromium compares pins for about ten weeks after a build; no expiry is imported, write `expires`")
        drafts = {str(item.get("name")): item for item in sections["pinsets"] if isinstance(item, dict)}
        pinned = [item for item in sections["entries"] if isinstance(item, dict) and item.get("pins")]
        if without := len(sections["entries"]) - len(pinned):
            self._reading.note(1, f"{without} entries without pins (HSTS alone) are left out")
        if not pinned:
            raise self._reading.refusal(1, "holds no entry with pins")
        for entry in pinned:
            self._entry(entry, drafts)

    def _entry(self, entry: dict[str, Any], drafts: dict[str, Any]) -> None:
        line = self._line(entry.get("name"))
        host = self._reading.host(line, str(entry.get("name")))
        set_name = str(entry["pins"])
        if set_name not in drafts:
            self._reading.refuse(line, f"{set_name[:80]!r} is no entry of pinsets")
            return
        if set_name not in self._sets:
            self._sets[set_name] = self._pin_set(set_name, drafts[set_name])
        pin_set = self._sets[set_name]
        if host is None or pin_set is None:
            return
        has_subdomains = entry.get("include_subdomains") is True or entry.get("include_subdomains_for_pinning") is True
        self._reading.add(line, PinnedHost(host, pin_set, "**." if has_subdomains else ""))

    def _pin_set(self, name: str, draft: dict[str, Any]) -> PinSet | None:
        line = self._line(name)
        for key in draft.keys() - _FIELDS:
            self._reading.note(line, f"{key} is not carried")
        wanted, bad = (self._named(line, draft.get(key) or []) for key in ("static_spki_hashes", "bad_static_spki_hashes"))
        if wanted is None or bad is None:
            return None
        return self._reading.pin_set(line, PinSetDraft(name, wanted, bad))

    def _named(self, line: int, names: object) -> list[Pin] | None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self._reading.refuse(line, "the keys of this pinset are no list of names")
            return None
        unknown = [name for name in names if name not in self._keys]
        for name in unknown:
            self._reading.refuse(line, f"the key {name[:80]!r} is not in the file of pins")
        return None if unknown else [self._keys[name] for name in names]

    def _line(self, name: object) -> int:
        """Find where an entry stands: JSON as Python reads it has no lines."""
        match = re.search(rf'"name"\s*:\s*{re.escape(json.dumps(name))}', self._text) if isinstance(name, str) else None
        return line_at(self._text, match.start()) if match else 1


def _read_keys(content: bytes, file: str) -> dict[str, Pin]:
    reading = Reading(file)
    keys: dict[str, Pin] = {}
    lines = enumerate(reading.decode(content).splitlines(), start=1)
    name = ""
    for number, line in lines:
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        if begin := _BEGIN.fullmatch(word):
            rest = (inside.strip() for _, inside in lines)
            body = takewhile(f"-----END {begin[1]}-----".__ne__, rest)
            pin = _pin_of_block(number, begin[1], "".join(body), name, reading)
        elif "/" in word:
            pin = reading.pin(number, word, note=name)
        elif word == "PinsListTimestamp":
            next(lines, None)  # when the list was last looked after
            continue
        elif _NAME.fullmatch(word):
            name = word
            continue
        else:
            raise reading.refusal(number, f"found {word[:60]!r}; expected a name, sha256/<base64>, or a PEM block")
        if not name or name in keys:
            reading.refuse(number, "a key without a name of its own above it")
        elif pin is not None:
            keys[name] = pin
    reading.finish()
    return keys


def _pin_of_block(line: int, kind: str, body: str, name: str, reading: Reading) -> Pin | None:
    try:
        der = base64.b64decode(body, validate=True)
        spki = Certificate(der).spki_der if kind == "CERTIFICATE" else der
    except (binascii.Error, ValueError) as error:
        reading.refuse(line, f"this {kind.lower()} cannot be decoded: {error}")
        return None
    return Pin("spki", "sha256", hashlib.sha256(spki).digest(), note=name)
