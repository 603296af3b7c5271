"""Identity pinning of App Transport Security: `NSPinnedDomains` of an Info.plist, in XML.

What it means there: CA identities count above the leaf, leaf identities at the leaf, and where a domain has both, *both*
must match. Here any pin of a set suffices, so that such a domain keeps its leaf identities alone: the stricter half.
"""

from __future__ import annotations

from collections.abc import Sequence

from pinproxy.pins.chain import Position
from pinproxy.pins.formats.capability import Capability, Fitting
from pinproxy.pins.formats.plist import Item, flag, read_domains, write_plist
from pinproxy.pins.formats.values import ImportedPins, PinnedHost, PinSetDraft, Reading, Written, wildcard_for
from pinproxy.pins.pin import Pin

CAPABILITY = Capability("App Transport Security", frozenset({"", "**."}), positions="named")
_DOMAINS = "NSPinnedDomains"
_SUBDOMAINS = "NSIncludesSubdomains"
_IDENTITIES: dict[Position, str] = {"leaf": "NSPinnedLeafIdentities", "ca": "NSPinnedCAIdentities"}
_DIGEST = "SPKI-SHA256-BASE64"


def read(content: bytes, name: str) -> ImportedPins:
    """Read the pinned domains of a property list.

    Args:
        content: An Info.plist, its `NSAppTransportSecurity` or less, in XML.
        name: The file's name, for messages.

    Raises:
        PinFormatError: Every problem there is.
    """
    reading = Reading(name)
    for host, item in read_domains(content, reading, _DOMAINS, "NSAppTransportSecurity", " or ".join(_IDENTITIES.values())):
        _read_domain(host, item, reading)
    return reading.finish()


def write(hosts: Sequence[PinnedHost]) -> Written:
    """Write the `NSAppTransportSecurity` of a property list."""
    fitting = Fitting(CAPABILITY)
    domains: dict[str, dict[str, object]] = {}
    for host, pin_set in fitting.hosts(hosts):
        positions = {pin.position for pin in pin_set.pins}
        if "any" in positions:
            fitting.note(host, "left out: a pin has no position, and Apple asks for leaf or ca; write `position` beside it")
        else:
            position: Position = "leaf" if "leaf" in positions else "ca"
            for pin in pin_set.pins:
                if pin.position != position:
                    fitting.note(host, f"{pin} is left out: Apple asks for a leaf and a ca at once, not for one of them")
            identities = [{_DIGEST: str(pin).partition("/")[2]} for pin in pin_set.pins if pin.position == position]
            domains[host.host] = {_SUBDOMAINS: bool(host.wildcard), _IDENTITIES[position]: identities}
    return Written(write_plist({"NSAppTransportSecurity": {_DOMAINS: domains}}), tuple(fitting.notes))


def _read_domain(host: str | None, item: Item, reading: Reading) -> None:
    for key in (key for key in item.entries if key not in (_SUBDOMAINS, *_IDENTITIES.values())):
        reading.note(item.entries[key].line, f"{key} is not known here and is not carried")
    has_subdomains = flag(item.entries, _SUBDOMAINS, reading, default=False)
    found = {position: _read_identities(item, position, reading) for position in _IDENTITIES}
    if found["leaf"] and found["ca"]:
        said = "both kinds of identity stand there, and Apple asks for a match of each; any pin suffices here"
        reading.note(item.line, f"{said}, so that the {len(found['ca'])} of CAs are left out")
    pins = found["leaf"] or found["ca"]
    pin_set = reading.pin_set(item.line, PinSetDraft(host or "imported", pins))
    if host is not None and pin_set is not None:
        reading.add(item.line, PinnedHost(host, pin_set, wildcard_for(has_subdomains=has_subdomains)))


def _read_identities(item: Item, position: Position, reading: Reading) -> list[Pin | None]:
    pins: list[Pin | None] = []
    for identity in item.entries.get(_IDENTITIES[position], Item(item.line, [])).items:
        digest = identity.entries.get(_DIGEST)
        if digest is None:
            reading.refuse(identity.line, f"an identity without {_DIGEST}; expected a dictionary that holds it")
            pins.append(None)
        else:
            pins.append(reading.pin(digest.line, f"sha256/{digest.value}", position))
    return pins
