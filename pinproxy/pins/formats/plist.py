"""Apple's property lists in XML, with line numbers; `plistlib`, which writes them, does not tell those when it reads."""

from __future__ import annotations

import plistlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pinproxy.pins.formats.values import Reading
from pinproxy.pins.formats.xml_tree import Element, parse_xml

_BINARY = b"bplist"


@dataclass(frozen=True, slots=True)
class Item:
    """A value of a property list.

    Attributes:
        line: Where it begins.
        value: A dictionary, an array, a text or a truth; None: a number, a date or bytes, which no pinning key takes.
    """

    line: int
    value: dict[str, Item] | list[Item] | str | bool | None

    @property
    def entries(self) -> dict[str, Item]:
        """The entries of a dictionary; of anything else, none."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Item]:
        """The values of an array; of anything else, none."""
        return self.value if isinstance(self.value, list) else []


def read_plist(content: bytes, reading: Reading) -> Item:
    """Read a property list, or the bare `<dict>` that documentation shows.

    Raises:
        PinFormatError: It is none, or one in Apple's binary form.
    """
    if content.startswith(_BINARY):
        raise reading.refusal(1, "a binary property list; convert it with `plutil -convert xml1 FILE`")
    root = parse_xml(reading.decode(content), reading, is_doctype_allowed=True)
    if root.tag == "plist":
        if len(root.children) != 1:
            raise reading.refusal(root.line, f"found {len(root.children)} values in the plist; expected one dict")
        root = root.children[0]
    if root.tag != "dict":
        raise reading.refusal(root.line, f"found <{root.tag}>; expected a property list that holds a <dict>")
    return _item(root, reading)


def write_plist(value: Mapping[str, object]) -> str:
    """Write a property list in XML."""
    return plistlib.dumps(value, sort_keys=False).decode("utf-8")


def flag(entries: Mapping[str, Item], key: str, reading: Reading, *, default: bool) -> bool:
    """Read a truth, with a problem where something else stands in its place."""
    found = entries.get(key)
    if found is None:
        return default
    if not isinstance(found.value, bool):
        reading.refuse(found.line, f"{key} is no truth; expected <true/> or <false/>")
        return default
    return found.value


def find(item: Item, key: str) -> Item | None:
    """Find a key at the top, or one level below it in whatever holds it: both a whole Info.plist and a part of it are met."""
    if key in item.entries:
        return item.entries[key]
    return next((below.entries[key] for below in item.entries.values() if key in below.entries), None)


def read_domains(content: bytes, reading: Reading, key: str, around: str, holds: str) -> Iterator[tuple[str | None, Item]]:
    """Read the dictionary of pinned domains, of which both of Apple's formats have one.

    Args:
        content: A property list in XML.
        reading: Takes the problems.
        key: The dictionary's name.
        around: What holds it in a whole Info.plist, for messages.
        holds: What a domain's own dictionary holds, for messages.

    Yields:
        Each domain's canonical host, None where it is none, and its dictionary; a domain without one is a problem.

    Raises:
        PinFormatError: It is no property list, or has no such dictionary.
    """
    root = read_plist(content, reading)
    domains = find(root, key)
    if domains is None or not isinstance(domains.value, dict):
        line = domains.line if domains else root.line
        raise reading.refusal(line, f"found no dictionary {key}; expected it, or {around} around it")
    for domain, item in domains.entries.items():
        host = reading.host(item.line, domain.strip())
        if isinstance(item.value, dict):
            yield host, item
        else:
            reading.refuse(item.line, f"{domain!r} holds no dictionary; expected one with {holds}")


def _item(element: Element, reading: Reading) -> Item:
    if element.tag == "dict":
        return Item(element.line, _dictionary(element, reading))
    if element.tag == "array":
        return Item(element.line, [_item(child, reading) for child in element.children])
    if element.tag in ("true", "false"):
        return Item(element.line, element.tag == "true")
    return Item(element.line, element.text.strip() if element.tag == "string" else None)


def _dictionary(element: Element, reading: Reading) -> dict[str, Item]:
    entries: dict[str, Item] = {}
    children = iter(element.children)
    for key in children:
        value = next(children, None)
        if key.tag != "key" or value is None or value.tag == "key":
            reading.refuse(key.line, "a <dict> holds a <key> and its value by turns; one of them is missing here")
            return entries
        if key.text in entries:
            reading.refuse(key.line, f"duplicate key {key.text!r}; keep one of them")
        entries[key.text] = _item(value, reading)
    return entries
