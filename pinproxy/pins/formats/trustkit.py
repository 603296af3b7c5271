"""TrustKit's configuration dictionary, alone or as `TSKConfiguration` of an Info.plist, in XML.

What it means there: the most specific domain wins, as here; a pin counts anywhere in the chain; without
`TSKEnforcePinning: false` a mismatch is denied; from `TSKExpirationDate` on, nothing is compared.
"""

from __future__ import annotations

from collections.abc import Sequence

from pinproxy.pins.formats.capability import Capability, Fitting, dated
from pinproxy.pins.formats.plist import Item, flag, read_domains, write_plist
from pinproxy.pins.formats.values import ImportedPins, PinnedHost, PinSetDraft, Reading, Written, wildcard_for
from pinproxy.pins.pin_set import PinSet

CAPABILITY = Capability("TrustKit", frozenset({"", "**."}), has_report_only=True, has_expiry=True)
_DOMAINS = "TSKPinnedDomains"
_CARRIED = {
    "TSKPublicKeyHashes",
    "TSKIncludeSubdomains",
    "TSKExcludeSubdomainFromParentPolicy",
    "TSKEnforcePinning",
    "TSKExpirationDate",
}
_NOT_CARRIED = {
    "TSKReportUris": "TSKReportUris is not carried: log, metrics and status page tell of a mismatch",
    "TSKDisableDefaultReportUri": "TSKDisableDefaultReportUri is not carried: nothing is reported to anybody else",
    "TSKPublicKeyAlgorithms": "TSKPublicKeyAlgorithms is not carried: keys of every kind are compared",
    "TSKAdditionalTrustAnchors": "TSKAdditionalTrustAnchors is not carried; `trust: {ca_file: …}` is its like",
}


def read(content: bytes, name: str) -> ImportedPins:
    """Read a configuration.

    Args:
        content: A property list in XML.
        name: The file's name, for messages.

    Raises:
        PinFormatError: Every problem there is.
    """
    reading = Reading(name)
    for host, item in read_domains(content, reading, _DOMAINS, "TSKConfiguration", "TSKPublicKeyHashes"):
        _read_domain(host, item, reading)
    return reading.finish()


def write(hosts: Sequence[PinnedHost]) -> Written:
    """Write a configuration."""
    fitting = Fitting(CAPABILITY)
    domains: dict[str, dict[str, object]] = {}
    for host, pin_set in fitting.hosts(hosts):
        entry: dict[str, object] = {"TSKIncludeSubdomains": bool(host.wildcard), "TSKEnforcePinning": not host.is_report_only}
        entry["TSKPublicKeyHashes"] = list(dict.fromkeys(str(pin).partition("/")[2] for pin in pin_set.pins))
        if day := dated(pin_set):
            entry["TSKExpirationDate"] = day
        domains[host.host] = entry
    return Written(write_plist({"TSKSwizzleNetworkDelegates": False, _DOMAINS: domains}), tuple(fitting.notes))


def _read_domain(host: str | None, item: Item, reading: Reading) -> None:
    for key in (key for key in item.entries if key not in _CARRIED):
        reading.note(item.entries[key].line, _NOT_CARRIED.get(key, f"{key} is not known here and is not carried"))
    has_subdomains = flag(item.entries, "TSKIncludeSubdomains", reading, default=False)
    is_enforced = flag(item.entries, "TSKEnforcePinning", reading, default=True)
    if host is None:
        return
    wildcard = wildcard_for(has_subdomains=has_subdomains)
    if flag(item.entries, "TSKExcludeSubdomainFromParentPolicy", reading, default=False):
        reading.note(item.line, f"{host} is exempt from its parent's pins: imported as `mode: disabled`")
        reading.add(item.line, PinnedHost(host, None, wildcard, mode="disabled"))
        return
    pin_set = _read_set(host, item, reading)
    if pin_set is not None:
        reading.add(item.line, PinnedHost(host, pin_set, wildcard, mode="enforce" if is_enforced else "report-only"))


def _read_set(host: str, item: Item, reading: Reading) -> PinSet | None:
    hashes = item.entries.get("TSKPublicKeyHashes", Item(item.line, []))
    pins = [reading.pin(entry.line, f"sha256/{entry.value}") for entry in hashes.items]
    said = item.entries.get("TSKExpirationDate", Item(item.line, None))
    expires = reading.end_of_pins(said.line, "TSKExpirationDate", said.value, CAPABILITY.title)
    return reading.pin_set(hashes.line, PinSetDraft(host, pins, expires=expires))
