"""What `trust: pins-only` allows beside it: the pins are then all there is to tell a server by, so nothing may soften them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pinproxy.settings.document import Place
from pinproxy.settings.findings import Finding, Remark
from pinproxy.settings.model import HostSection, Settings
from pinproxy.settings.pin_model import PinSection

_CONSEQUENCES = {
    "unsafe_skip_hostname": "a certificate for any name will do, if its pin is right",
    "unsafe_skip_dates": "a certificate outside its dates will do, if its pin is right",
}


def trust_findings(settings: Settings, host_numbers: Sequence[int]) -> Iterator[Finding]:
    """Find hosts whose `trust` and other keys contradict each other.

    Args:
        settings: The configuration, or as much of it as could be read.
        host_numbers: The number in the file of each host.
    """
    for number, host in zip(host_numbers, settings.hosts, strict=True):
        place, options = ("hosts", number), settings.options_of(host)
        if not options.trust.is_pins_only:
            for name in _skipped(host):
                text = "stands here without `trust: pins-only`; where a chain is validated, name and dates always are: remove it"
                yield Finding((*place, name), text)
            continue
        if options.mode != "enforce":
            effect = "a mismatch passes" if options.mode == "report-only" else "no pins are compared"
            text = (
                f"under `mode: {options.mode}` {effect}, and with `trust: pins-only` nothing else tells the server from an "
                f"impostor; expected `mode: enforce`, or a `trust` that validates the chain"
            )
            yield Finding(_where(place, host, "mode", "trust"), text)
        pins = _pins(settings, host)
        if pins and all(pin.to_pin().position == "ca" for pin in pins):
            text = (
                "every pin is for a CA (`position: ca`), and with `trust: pins-only` only the server's own certificate can meet "
                "one; expected the pin of its key, or a `trust` that validates the chain"
            )
            yield Finding(_where(place, host, "pins", "pin_set"), text)


def trust_warnings(settings: Settings) -> Iterator[str]:
    """Say which hosts are told by less than a chain, a name and dates; one line each, as `path: what`."""
    for number, host in enumerate(settings.hosts):
        for name in _skipped(host):
            yield f"hosts[{number}].{name}: {host.host}: {_CONSEQUENCES[name]}"


def trust_remarks(settings: Settings, number: int, host: HostSection) -> Iterator[Remark]:
    """Say the same for `check`, and what else follows of `trust: pins-only`."""
    place, options = ("hosts", number), settings.options_of(host)
    for name in _skipped(host):
        yield Remark("warning", (*place, name), _CONSEQUENCES[name])
    if not options.trust.is_pins_only:
        return
    text = f"{host.host}: no chain is validated; the pin of its own certificate is all there is to tell it by"
    yield Remark("note", _where(place, host, "trust"), text)
    if host.pins is None and options.pin_set is not None and settings.pin_sets[options.pin_set].on_expiry != "enforce":
        text = f"`on_expiry` of {options.pin_set} has no effect here: with `trust: pins-only` mismatches are denied after it, too"
        yield Remark("note", _where(place, host, "pin_set"), text)


def _skipped(host: HostSection) -> list[str]:
    return [name for name in _CONSEQUENCES if getattr(host, name)]


def _pins(settings: Settings, host: HostSection) -> tuple[PinSection, ...]:
    name = settings.options_of(host).pin_set
    if host.pins is not None or name is None:
        return host.pins or ()
    return settings.pin_sets[name].pins if name in settings.pin_sets else ()


def _where(place: Place, host: HostSection, *names: str) -> Place:
    """Point at the first of these keys that the entry itself has; at the entry, where the defaults say it all."""
    return next(((*place, name) for name in names if name in host.model_fields_set), place)
