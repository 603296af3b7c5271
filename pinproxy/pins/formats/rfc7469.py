"""HTTP Public Key Pinning (RFC 7469): `Public-Key-Pins` and `Public-Key-Pins-Report-Only` header fields.

What it means there: a pin counts anywhere in the chain, and for `max-age` seconds after the field was seen. A field names no
host: it is for the one that sent it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pinproxy.pins.formats.capability import Capability, Fitting
from pinproxy.pins.formats.values import ImportedPins, Mode, PinnedHost, PinSetDraft, Reading, Written, wildcard_for
from pinproxy.pins.pin import Pin
from pinproxy.pins.pin_set import PinSet

CAPABILITY = Capability("RFC 7469", frozenset({"", "**."}), has_report_only=True)
_ENFORCED = "Public-Key-Pins"
_REPORTED = "Public-Key-Pins-Report-Only"
_FIELD = re.compile(r"(public-key-pins(?:-report-only)?)[ \t]*:", re.IGNORECASE)
# > RFC 7469 §2.1: directive = directive-name [ "=" directive-value ]; directive-value = token / quoted-string
# Wider: the value may hold what stands in URLs, and base64 without quotes, as servers have sent them.
_DIRECTIVE = re.compile(r"""\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*(?:"([^"]*)"|([^\s;"]+)))?\s*(?:;|\Z)""")
_MAX_AGE = 60 * 24 * 3600  # RFC 7469 §4.1: sixty days are a balance between loss and protection
_ONCE = {"max-age", "includesubdomains", "report-uri"}


def read(content: bytes, name: str, host: str | None = None) -> ImportedPins:
    """Read the header field among the lines of a response head.

    Args:
        content: Header lines; continuation lines begin with white space.
        name: The file's name, for messages.
        host: Who sent it; None: the set is imported without a host.

    Raises:
        PinFormatError: Every problem there is.
    """
    reading = Reading(name)
    fields = _fields(reading.decode(content))
    if not fields:
        raise reading.refusal(1, f"holds no field {_ENFORCED} or {_REPORTED}")
    # > RFC 7469 §2.3.1: If a UA receives more than one PKP header field … then the UA MUST process only the first PKP header
    # > field (if present) and only the first PKP-RO header field (if present).
    first = next((field for field in fields if not field[2]), fields[0])
    for line, _, is_report_only in fields:
        if line != first[0]:
            said = "is report-only beside one that is enforced" if is_report_only and not first[2] else "is not the first"
            reading.note(line, f"this field {said}, and is not carried")
    line, value, is_report_only = first
    found = reading.host(line, host) if host is not None else None
    pin_set, has_subdomains = _read_value(line, value, found or name.rpartition("/")[2], reading, is_report_only=is_report_only)
    if has_subdomains and host is None:
        reading.note(line, "includeSubDomains: the host, once you write it, is `**.host`")
    if is_report_only and host is None:
        reading.note(line, "report-only: the host, once you write it, has `mode: report-only`")
    if pin_set is not None and found is not None:
        mode: Mode = "report-only" if is_report_only else "enforce"
        reading.add(line, PinnedHost(found, pin_set, wildcard_for(has_subdomains=has_subdomains), mode=mode))
    return reading.finish()


def write(hosts: Sequence[PinnedHost]) -> Written:
    """Write one field for each host, below a comment that names it: a field is for the host that sends it."""
    fitting = Fitting(CAPABILITY)
    lines = []
    for host, pin_set in fitting.hosts(hosts):
        pins = dict.fromkeys(f'pin-sha256="{str(pin).partition("/")[2]}"' for pin in pin_set.pins)
        subdomains = ["includeSubDomains"] if host.wildcard else []
        fitting.note(host, f"max-age is {_MAX_AGE} s (60 days) from each response on: a field has no date of its own")
        value = "; ".join([*pins, f"max-age={_MAX_AGE}", *subdomains])
        lines.append(f"# {host.pattern}\n{_REPORTED if host.is_report_only else _ENFORCED}: {value}\n")
    return Written("".join(lines), tuple(fitting.notes))


def _fields(text: str) -> list[tuple[int, str, bool]]:
    """Find the fields: line, value with its continuations, and whether it is report-only."""
    fields: list[tuple[int, str, bool]] = []
    is_inside = False
    for number, line in enumerate(text.split("\n"), start=1):
        if match := _FIELD.match(line):
            fields.append((number, line[match.end() :], match[1].lower() == _REPORTED.lower()))
            is_inside = True
        elif is_inside and line[:1] in (" ", "\t") and line.strip():
            start, value, is_report_only = fields[-1]
            fields[-1] = (start, f"{value}\n{line}", is_report_only)
        else:
            is_inside = False
    return fields


def _read_value(line: int, value: str, set_name: str, reading: Reading, *, is_report_only: bool) -> tuple[PinSet | None, bool]:
    position, last = 0, line
    pins: list[Pin | None] = []
    seen: dict[str, str] = {}
    while value[position:].strip(" \t\r\n;"):
        here = line + value.count("\n", 0, position + len(value[position:]) - len(value[position:].lstrip()))
        match = _DIRECTIVE.match(value, position)
        if match is None:
            reading.refuse(here, f'found {value[position:].strip()[:40]!r}; expected a directive such as pin-sha256="<base64>"')
            return None, False
        directive, text, last = match[1].lower(), match[2] if match[2] is not None else match[3] or "", here
        if directive == "pin-sha256":
            pins.append(reading.pin(here, f"sha256/{text}"))
        elif directive in _ONCE and directive in seen:
            # > RFC 7469 §2.1: With the exception of pin-directives … a given directive MUST NOT appear more than once.
            reading.refuse(here, f"{match[1]} stands there twice; keep one of them")
        elif directive not in _ONCE:
            # > RFC 7469 §2.1: If a header field contains any directive(s) the UA does not recognize, the UA MUST ignore those.
            reading.note(here, f"{match[1]} is not known here and is not carried")
        seen[directive] = text
        position = match.end()
    _read_max_age(last, seen.get("max-age"), reading, is_report_only=is_report_only)
    if "report-uri" in seen:
        reading.note(
            last, f"report-uri {seen['report-uri'][:200]!r} is not carried: log, metrics and status page tell of a mismatch"
        )
    pin_set = reading.pin_set(line, PinSetDraft(set_name, pins))
    return pin_set, "includesubdomains" in seen


def _read_max_age(line: int, text: str | None, reading: Reading, *, is_report_only: bool) -> None:
    if text is None:
        # > RFC 7469 §2.1.2: The "max-age" directive is REQUIRED to be present within a "Public-Key-Pins" header field.
        if not is_report_only:
            reading.refuse(line, "found no max-age; expected max-age=<seconds>, without which the field counts for nothing")
    elif not re.fullmatch(r"[0-9]{1,18}", text):
        reading.refuse(line, f"found max-age {text[:40]!r}; expected a number of seconds")
    elif int(text) == 0 and not is_report_only:
        # So a host says that it is pinned no longer (RFC 7469 §2.3.1).
        reading.refuse(line, "max-age=0 asks to forget the pins; there is nothing to import")
    else:
        reading.note(line, f"max-age={text} is not carried: it counts from the moment the field is seen; write `expires`")
