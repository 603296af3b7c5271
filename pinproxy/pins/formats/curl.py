"""curl's `--pinnedpubkey`: `sha256//…;sha256//…`, alone or as it stands on a command line or in a `.curlrc`.

What it means there: the leaf's key alone is compared, so that every pin gets `position: leaf`. It names no host.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pinproxy.pins.formats.capability import Capability, Fitting
from pinproxy.pins.formats.values import ImportedPins, PinnedHost, PinSetDraft, Reading, Written
from pinproxy.pins.pin import Pin

CAPABILITY = Capability("curl", frozenset({"", "*.", "**."}), positions="leaf")
_OPTION = re.compile(r"""(?:--)?pinnedpubkey\s*[=:\s]\s*""")


def read(content: bytes, name: str, host: str | None = None) -> ImportedPins:
    """Read one list of pins.

    Args:
        content: The list; `#` begins a comment line.
        name: The file's name, for messages.
        host: Whom it is for; None: the set is imported without a host.

    Raises:
        PinFormatError: Every problem there is.
    """
    reading = Reading(name)
    lists = [
        (number, _OPTION.sub("", line.strip(), count=1).strip("\"'"))
        for number, line in enumerate(reading.decode(content).split("\n"), start=1)
        if line.strip() and not line.strip().startswith("#")
    ]
    if not lists:
        raise reading.refusal(1, "holds no pins; expected sha256//<base64>, several with `;` between them")
    line, text = lists[0]
    for more, _ in lists[1:]:
        reading.refuse(more, "a second list; expected one, for one host")
    pins: list[Pin | None] = []
    for word in text.split(";"):
        if not word.strip().startswith("sha256//"):
            said = f"found {word.strip()[:80]!r}; expected sha256//<base64>"
            reading.refuse(line, f"{said}, or the pin of a key file, which `pinproxy pin --key FILE` prints")
            pins.append(None)
        else:
            pins.append(reading.pin(line, word.strip(), "leaf"))
    found = reading.host(line, host) if host is not None else None
    pin_set = reading.pin_set(line, PinSetDraft(found or name.rpartition("/")[2], pins))
    if pin_set is not None and found is not None:
        reading.add(line, PinnedHost(found, pin_set))
    return reading.finish()


def write(hosts: Sequence[PinnedHost]) -> Written:
    """Write one list for each host, below a comment that names it: curl takes one list at a time."""
    fitting = Fitting(CAPABILITY)
    lines = []
    for host, pin_set in fitting.hosts(hosts):
        for pin in pin_set.pins:
            if pin.position == "any":
                fitting.note(host, f"{pin} counts at the leaf alone there")
        pins = dict.fromkeys(str(pin).replace("sha256/", "sha256//", 1) for pin in pin_set.pins)
        lines.append(f"# {host.pattern}\n{';'.join(pins)}\n")
    return Written("".join(lines), tuple(fitting.notes))
