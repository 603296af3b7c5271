"""Android's Network Security Configuration, `res/xml/network_security_config.xml`.

What it means there: the most specific domain wins, as here; a pin counts anywhere in the chain; a nested `domain-config`
has the pins of the one around it unless it has a `pin-set` of its own; from its `expiration` on, nothing is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from pinproxy.pins.formats.capability import Capability, Fitting, dated
from pinproxy.pins.formats.values import ImportedPins, PinnedHost, PinSetDraft, Reading, Written, wildcard_for
from pinproxy.pins.formats.xml_tree import Element, parse_xml
from pinproxy.pins.pin import Pin
from pinproxy.pins.pin_set import PinSet

CAPABILITY = Capability("Android", frozenset({"", "**."}), has_expiry=True)
_ROOT = "network-security-config"
_NOT_CARRIED = {
    "debug-overrides": "debug-overrides is for debuggable builds and is not carried",
    "base-config": "base-config is about unpinned hosts and is not carried",
    "trust-anchors": "trust-anchors is not carried; `trust: {ca_file: …}` is its like",
    "certificateTransparency": "certificateTransparency is not carried",
}


def read(content: bytes, name: str) -> ImportedPins:
    """Read a configuration.

    Args:
        content: XML in UTF-8.
        name: The file's name, for messages.

    Raises:
        PinFormatError: Every problem there is.
    """
    reading = Reading(name)
    root = parse_xml(reading.decode(content), reading)
    if root.tag != _ROOT:
        raise reading.refusal(root.line, f"found <{root.tag}>; expected <{_ROOT}>")
    unpinned: list[tuple[int, PinnedHost]] = []
    for element in root.children:
        if element.tag == "domain-config":
            unpinned += _read_domains(element, None, reading)
        else:
            _note(element, reading)
    for line, host in unpinned:
        if reading.covers(host):
            reading.note(line, f"{host.pattern} is exempt from the pins around it: imported as `mode: disabled`")
            reading.add(line, host)
        else:
            reading.note(line, f"{host.pattern} has no pin-set; it is left out, and `unlisted` decides about it")
    return reading.finish()


def write(hosts: Sequence[PinnedHost]) -> Written:
    """Write a configuration."""
    fitting = Fitting(CAPABILITY)
    lines = ['<?xml version="1.0" encoding="utf-8"?>', f"<{_ROOT}>"]
    for host, pin_set in fitting.hosts(hosts):
        subdomains = ' includeSubdomains="true"' if host.wildcard else ""
        expiration = f' expiration="{day}"' if (day := dated(pin_set)) else ""
        pins = dict.fromkeys(str(pin).partition("/")[2] for pin in pin_set.pins)
        lines += [
            "    <domain-config>",
            f"        <domain{subdomains}>{escape(host.host)}</domain>",
            f"        <pin-set{expiration}>",
            *(f"            <pin digest={quoteattr('SHA-256')}>{pin}</pin>" for pin in pins),
            "        </pin-set>",
            "    </domain-config>",
        ]
    return Written("\n".join([*lines, f"</{_ROOT}>", ""]), tuple(fitting.notes))


def _read_domains(element: Element, inherited: PinSet | None, reading: Reading) -> list[tuple[int, PinnedHost]]:
    """Read a domain-config and those inside it; returns the domains without pins, with their lines."""
    domains = list(element.all("domain"))
    sets = list(element.all("pin-set"))
    for more in sets[1:]:
        reading.refuse(more.line, "a second pin-set in one domain-config; expected at most one")
    for child in element.children:
        if child.tag not in ("domain", "pin-set", "domain-config"):
            _note(child, reading)
    if not domains:
        reading.refuse(element.line, "a domain-config without domain; expected one or more")
        return []
    if element.attributes.get("cleartextTrafficPermitted", "").lower() == "true":
        reading.note(element.line, "cleartextTrafficPermitted is not carried: towards a listed host there is TLS only")
    pin_set = _read_set(sets[0], domains[0].text.strip(), reading) if sets else inherited
    unpinned = []
    for domain in domains:
        host = reading.host(domain.line, domain.text.strip())
        wildcard = wildcard_for(has_subdomains=domain.attributes.get("includeSubdomains", "").lower() == "true")
        if host is not None and pin_set is not None:
            reading.add(domain.line, PinnedHost(host, pin_set, wildcard))
        elif host is not None:
            unpinned.append((domain.line, PinnedHost(host, None, wildcard, mode="disabled")))
    for nested in element.all("domain-config"):
        unpinned += _read_domains(nested, pin_set, reading)
    return unpinned


def _read_set(element: Element, name: str, reading: Reading) -> PinSet | None:
    pins = [_read_pin(entry, reading) for entry in element.all("pin")]
    if not pins:
        # So an app takes a domain out of the pins of the one around it.
        return None
    expires = reading.end_of_pins(element.line, "expiration", element.attributes.get("expiration"), CAPABILITY.title)
    return reading.pin_set(element.line, PinSetDraft(name, pins, expires=expires))


def _read_pin(entry: Element, reading: Reading) -> Pin | None:
    digest = entry.attributes.get("digest")
    if digest != "SHA-256":
        reading.refuse(entry.line, f"found digest {digest!r}; expected SHA-256, the only one that Android has")
        return None
    return reading.pin(entry.line, f"sha256/{entry.text.strip()}")


def _note(element: Element, reading: Reading) -> None:
    reading.note(element.line, _NOT_CARRIED.get(element.tag, f"<{element.tag}> is not known here and is not carried"))
    if any(anchors.attributes.get("overridePins", "").lower() == "true" for anchors in element.all("certificates")):
        reading.note(element.line, "overridePins lets a CA pass without pins in Android; here none does")
