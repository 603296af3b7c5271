"""What all formats are read into and written from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Literal

from pinproxy.authority import canonical_host, is_ip_address
from pinproxy.errors import BadRequest, PinFormatError, PinSyntaxError, Problem
from pinproxy.pins.pin import Pin, Where, parse_pin
from pinproxy.pins.pin_set import OnExpiry, PinSet

Mode = Literal["enforce", "report-only", "disabled"]
Wildcard = Literal["", "*.", "**."]


@dataclass(frozen=True, slots=True)
class PinnedHost:
    """A host, or the hosts of one pattern, and their pins.

    Attributes:
        host: The canonical host, or the name behind the wildcard.
        pin_set: The pins; None only under `disabled`.
        wildcard: What stands before it: nothing, `*.` (exactly one label) or `**.` (any depth, and the name itself).
        ports: The ports; empty: every port.
        mode: `disabled` where a format exempts a host from the pins of those around it.
    """

    host: str
    pin_set: PinSet | None
    wildcard: Wildcard = ""
    ports: tuple[int, ...] = ()
    mode: Mode = "enforce"

    @property
    def pattern(self) -> str:
        """The pattern as it stands in a configuration."""
        return self.wildcard + self.host

    @property
    def is_report_only(self) -> bool:
        """Whether a mismatch is reported and passes."""
        return self.mode == "report-only"


@dataclass(frozen=True, slots=True)
class ImportedPins:
    """What a file of another program says.

    Attributes:
        hosts: In the order of the file.
        pin_sets: Every set, also those that no host uses because the format names none.
        notes: What the file says that is not carried, or carried in another way; one sentence each, with its line.
    """

    hosts: tuple[PinnedHost, ...]
    pin_sets: tuple[PinSet, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A file for another program.

    Attributes:
        text: The file.
        notes: What it cannot hold, one sentence each.
    """

    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PinSetDraft:
    """A pin set as a file has it, before anybody looked whether it can stand; `PinSet` says what the fields mean.

    Attributes:
        pins: None in the place of one that could not be read, which was said already.
        expires: When other programs stop to compare; None: never.
    """

    name: str
    pins: Sequence[Pin | None]
    forbidden: Sequence[Pin] = ()
    expires: datetime | None = None


class Reading:
    """One file being read: collects problems, notes, sets and hosts, and gives them out together or not at all."""

    def __init__(self, file: str) -> None:
        """Begin.

        Args:
            file: The name for messages.
        """
        self.file = file
        self._problems: list[Problem] = []
        self._notes: dict[str, int] = {}
        self._hosts: list[PinnedHost] = []
        self._by_pattern: dict[str, list[PinnedHost]] = {}
        self._pin_sets: dict[str, PinSet] = {}

    def refuse(self, line: int, message: str) -> None:
        """Write down a problem; the reading goes on, to tell all of them."""
        self._problems.append(Problem(self.file, line, 1, "", message))

    def refusal(self, line: int, message: str) -> PinFormatError:
        """Make the error of a file that cannot be read any further."""
        self.refuse(line, message)
        return PinFormatError(tuple(self._problems))

    def note(self, line: int, message: str) -> None:
        """Write down what is not carried, or carried in another way; what is said of several lines is said once."""
        self._notes.setdefault(message, line)

    def decode(self, content: bytes) -> str:
        """Decode UTF-8, with or without a byte order mark.

        Raises:
            PinFormatError: It is something else.
        """
        try:
            return content.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise self.refusal(line, f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8 text") from error

    def pin(self, line: int, text: str, position: Where = "any", note: str = "") -> Pin | None:
        """Read a pin; None, and a problem with both lengths, where it is none."""
        try:
            read = parse_pin(text)
        except PinSyntaxError as error:
            self.refuse(line, str(error))
            return None
        return Pin(read.subject, read.algorithm, read.digest, position if read.position == "any" else read.position, note)

    def end_of_pins(self, line: int, key: str, text: object, program: str) -> datetime | None:
        """Read the day on which a program stops to compare pins, with a note of what becomes of it here.

        Args:
            line: Where it stands.
            key: Its name there.
            text: `yyyy-MM-dd`; None: none is given.
            program: Whose day it is.

        Returns:
            The instant at which that day begins, UTC; None: none is given, or none that can be read, which is a problem.
        """
        if text is None:
            return None
        end = read_day(text.strip()) if isinstance(text, str) else None
        if end is None:
            self.refuse(line, f"found {key} {str(text)[:40]!r}; expected a day such as 2027-01-31")
            return None
        said = f"{key} {end.date()} switches the pins off in {program}: imported as `on_expiry: disabled`"
        self.note(line, f"{said}; `enforce` would keep them")
        return end

    def host(self, line: int, text: str) -> str | None:
        """Read a host without wildcard; None, and a problem, where it is none."""
        bracketed = f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text
        try:
            return canonical_host(bracketed)
        except BadRequest as error:
            self.refuse(line, error.detail)
            return None

    def pin_set(self, line: int, made: PinSetDraft) -> PinSet | None:
        """Keep a pin set; None, and a problem, where it could not stand in a configuration."""
        read = [pin for pin in made.pins if pin is not None]
        if not read:
            if not made.pins:
                self.refuse(line, "found no pins; expected two or more")
            return None
        pins = tuple({(*pin.identity, pin.position): pin for pin in read}.values())
        if len(pins) < len(read):
            self.note(line, "a pin stands there twice; it is written once")
        wanted = {pin.identity for pin in pins}
        both = [pin for pin in made.forbidden if pin.identity in wanted]
        if both:
            self.refuse(line, f"{both[0]} is both wanted and forbidden; remove it from one of the two lists")
            return None
        if len(wanted) == 1:
            self.note(line, "found one pin and no backup; it is imported with `allow_single_pin: true`, add a second one")
        forbidden = tuple({pin.identity: pin for pin in made.forbidden}.values())
        on_expiry: OnExpiry = "enforce" if made.expires is None else "disabled"
        name = self._free_name(made.name)
        self._pin_sets[name] = PinSet(name, pins, forbidden, made.expires, on_expiry)
        return self._pin_sets[name]

    def covers(self, host: PinnedHost) -> bool:
        """Tell whether a wildcard that was kept speaks of this host too."""
        return any(other.wildcard and f".{host.host}".endswith(f".{other.host}") for other in self._hosts)

    def add(self, line: int, host: PinnedHost) -> None:
        """Keep a host; a problem where its pattern stands there for the same port already."""
        if host.wildcard and is_ip_address(host.host):
            self.refuse(line, f"{host.host} is an address and has no subdomains; write it alone")
            return
        others = self._by_pattern.setdefault(host.pattern, [])
        if any(not other.ports or not host.ports or set(other.ports) & set(host.ports) for other in others):
            self.refuse(line, f"{host.pattern} stands in the file twice; keep one of them")
            return
        others.append(host)
        self._hosts.append(host)

    def finish(self) -> ImportedPins:
        """Give out what was read.

        Raises:
            PinFormatError: Every problem there is.
        """
        if self._problems:
            raise PinFormatError(tuple(dict.fromkeys(self._problems)))
        notes = tuple(f"{self.file}:{line}: {message}" for message, line in self._notes.items())
        return ImportedPins(tuple(self._hosts), tuple(self._pin_sets.values()), notes)

    def _free_name(self, wanted: str) -> str:
        base = set_name(wanted)
        return next(name for n in count(1) if (name := f"{base}-{n}" if n > 1 else base) not in self._pin_sets)


def read_day(text: str) -> datetime | None:
    """Read `yyyy-MM-dd` as the instant at which that day begins, UTC; None: it is no day."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def wildcard_for(*, has_subdomains: bool) -> Wildcard:
    """Spell "with its subdomains", which everywhere is any depth and the name itself."""
    return "**." if has_subdomains else ""


def set_name(text: str) -> str:
    """Make a name that may stand in `pin_sets`."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "imported"


def line_at(text: str, offset: int) -> int:
    """Tell the line, counted from 1, of an offset."""
    return text.count("\n", 0, offset) + 1
