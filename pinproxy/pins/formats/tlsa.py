"""TLSA records of DANE (RFC 6698), as a zone file writes them.

What it means there: usages 0 and 2 are about a CA of the chain, 1 and 3 about the leaf. Usages 2 and 3 trust without a public
CA, and 3 looks at neither names nor dates; here pins add to chain, name and dates, and never replace them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

from pinproxy.authority import is_ip_address
from pinproxy.errors import PinSyntaxError
from pinproxy.pins.chain import Certificate
from pinproxy.pins.formats.capability import Capability, Fitting
from pinproxy.pins.formats.values import ImportedPins, PinnedHost, PinSetDraft, Reading, Written
from pinproxy.pins.pin import Pin, Where

CAPABILITY = Capability(
    "TLSA", frozenset({""}), frozenset({"sha256", "sha512"}), frozenset({"spki", "cert"}), "named", has_ports=True
)
_HTTPS = 443
# RFC 6698 §3: the port, then the protocol, each with an underscore, are prepended to the base domain name.
_OWNER = re.compile(r"_([0-9]{1,5})\._(tcp|udp|sctp)\.(.+?)\.?", re.IGNORECASE)
# RFC 6698 §2.1.1: 0 -- CA constraint, 1 -- service certificate constraint, 2 -- trust anchor, 3 -- domain-issued.
_POSITIONS: dict[str, Where] = {"0": "ca", "1": "leaf", "2": "ca", "3": "leaf"}
_USAGES: dict[Where, tuple[int, ...]] = {"leaf": (3,), "ca": (2,), "any": (3, 2)}
_MATCHING = {"sha256": 1, "sha512": 2}


def read(content: bytes, name: str) -> ImportedPins:
    """Read the TLSA records of a zone file.

    Args:
        content: Records, with `$ORIGIN`, comments and parentheses as RFC 1035 §5.1 has them.
        name: The file's name, for messages.

    Raises:
        PinFormatError: Every problem there is.
    """
    reading = Reading(name)
    records = _Records(reading)
    for line, words, is_owner_given in _entries(reading.decode(content), reading):
        records.add(line, words, is_owner_given=is_owner_given)
    records.close()
    return reading.finish()


def write(hosts: Sequence[PinnedHost]) -> Written:
    """Write records: usage 3 for a leaf, 2 for a CA, one of each for a pin that may be either."""
    fitting = Fitting(CAPABILITY)
    lines: list[str] = []
    for host, pin_set in fitting.hosts(hosts):
        if is_ip_address(host.host):
            fitting.note(host, "left out: a TLSA record is for a name, not for an address")
            continue
        if not host.ports:
            fitting.note(host, f"written for port {_HTTPS}; here it is pinned on every port")
        for port in host.ports or (_HTTPS,):
            lines += dict.fromkeys(f"_{port}._tcp.{host.host}. IN TLSA {data}\n" for pin in pin_set.pins for data in _data(pin))
    return Written("".join(lines), tuple(fitting.notes))


def _data(pin: Pin) -> list[str]:
    selector = 1 if pin.subject == "spki" else 0
    return [f"{usage} {selector} {_MATCHING[pin.algorithm]} {pin.digest.hex()}" for usage in _USAGES[pin.position]]


def _entries(text: str, reading: Reading) -> Iterator[tuple[int, list[str], bool]]:
    """Cut a zone file into entries: line, words, and whether the first one is an owner (RFC 1035 §5.1)."""
    words: list[str] = []
    start, depth, is_owner_given = 1, 0, False
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.partition(";")[0]
        if not depth:
            words, start, is_owner_given = [], number, not bare[:1].isspace()
        depth += bare.count("(") - bare.count(")")
        words += bare.replace("(", " ").replace(")", " ").split()
        if depth < 0:
            reading.refuse(number, "a `)` without its `(`")
            depth = 0
        if not depth and words:
            yield start, words, is_owner_given
    if depth:
        reading.refuse(start, "a `(` that is never closed")


class _Records:
    """The records of each name and port, gathered over the file."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._origin = ""
        self._owner = ""
        self._pins: dict[tuple[str, int], list[Pin | None]] = {}
        self._lines: dict[tuple[str, int], int] = {}
        self._others = 0

    def add(self, line: int, words: list[str], *, is_owner_given: bool) -> None:
        if words[0].upper() == "$ORIGIN" and len(words) > 1:
            self._origin = words[1].strip(".")
            return
        if words[0].startswith("$"):
            if words[0].upper() != "$TTL":
                self._reading.note(line, f"{words[0][:20]} is not carried")
            return
        if is_owner_given:
            self._owner = words.pop(0)
        kind = next((index for index, word in enumerate(words) if word.upper() == "TLSA"), None)
        if kind is None:
            self._others += 1
            return
        owner = self._owner if self._owner.endswith(".") or not self._origin else f"{self._owner}.{self._origin}."
        match = _OWNER.fullmatch(owner)
        if match is None or not 1 <= int(match[1]) <= 65535:
            self._reading.refuse(line, f"found the owner {owner[:80]!r}; expected _443._tcp.host")
            return
        if match[2].lower() != "tcp":
            self._reading.note(line, f"_{match[2].lower()} is not carried: TLS is spoken over TCP here")
            return
        host = self._reading.host(line, match[3])
        if host is not None:
            where = (host, int(match[1]))
            self._lines.setdefault(where, line)
            self._pins.setdefault(where, []).append(self._pin(line, words[kind + 1 :]))

    def close(self) -> None:
        if self._others:
            self._reading.note(1, f"{self._others} records of other types are left out")
        if not self._pins:
            self._reading.refuse(1, "holds no TLSA record; expected `_443._tcp.host. IN TLSA 3 1 1 <hex>`")
        for (host, port), pins in self._pins.items():
            line = self._lines[host, port]
            pin_set = self._reading.pin_set(line, PinSetDraft(host, pins))
            if pin_set is not None:
                self._reading.add(line, PinnedHost(host, pin_set, ports=(port,)))

    def _pin(self, line: int, data: list[str]) -> Pin | None:
        if len(data) < 4 or data[0] not in _POSITIONS or data[1] not in ("0", "1"):
            found = " ".join(data[:3])
            self._reading.refuse(line, f"found {found[:60]!r}; expected usage 0 to 3, selector 0 or 1, matching type, hex data")
            return None
        if data[0] in ("2", "3"):
            self._reading.note(line, "usages 2 and 3 trust without a public CA; here the chain must be valid too, see `trust`")
        position = _POSITIONS[data[0]]
        if data[2] == "0":
            return self._pin_of_full_data(line, data[1], "".join(data[3:]), position)
        # The pin's own spelling knows 2 and 3, which say the same about the position.
        return self._reading.pin(line, f"{3 if position == 'leaf' else 2} {data[1]} {data[2]} {''.join(data[3:])}")

    def _pin_of_full_data(self, line: int, selector: str, data: str, position: Where) -> Pin | None:
        """Hash what matching type 0 writes out in full; a certificate must be one, so that no typing error is pinned."""
        try:
            der = bytes.fromhex(data)
            certificate = Certificate(der)
            if selector == "0" and not certificate.is_readable:
                raise PinSyntaxError(f"{len(der)} bytes that are no certificate")
        except ValueError as error:
            self._reading.refuse(line, f"the data of matching type 0 cannot be decoded: {error}")
            return None
        return Pin("spki" if selector == "1" else "cert", "sha256", hashlib.sha256(der).digest(), position)
