"""Imported pins as a piece of configuration, ready below `version: 1`. Pure."""

from __future__ import annotations

import json
import re
from datetime import datetime, time

from pinproxy.pins.formats.values import ImportedPins, PinnedHost
from pinproxy.pins.pin import Pin
from pinproxy.pins.pin_set import PinSet

_PLAIN_HOST = re.compile(r"[a-z][a-z0-9.-]*")
_WORDS = {"true", "false", "null"}  # what YAML 1.2 does not take for text


def snippet(imported: ImportedPins) -> str:
    """Write `pin_sets` and `hosts`."""
    lines = ["pin_sets:"]
    for pin_set in imported.pin_sets:
        lines += _pin_set(pin_set)
    if imported.hosts:
        lines += ["hosts:", *(f"  - {_host(host)}" for host in imported.hosts)]
    else:
        lines += ["# The format names no host; `--host NAME` writes this for you:", "# hosts:"]
        lines += [f"#   - {{host: HOST, pin_set: {_text(pin_set.name)}}}" for pin_set in imported.pin_sets]
    return "\n".join(lines) + "\n"


def _pin_set(pin_set: PinSet) -> list[str]:
    lines = [f"  {_text(pin_set.name)}:"]
    if len({pin.identity for pin in pin_set.pins}) == 1:
        lines.append("    allow_single_pin: true   # add the pin of a backup key, then remove this line")
    lines += ["    pins:", *(f"      - {_pin(pin)}" for pin in pin_set.pins)]
    if pin_set.forbidden:
        lines += ["    forbidden:", *(f"      - {_pin(pin)}" for pin in pin_set.forbidden)]
    if pin_set.expires is not None:
        lines += [f"    expires: {_moment(pin_set.expires)}", f"    on_expiry: {pin_set.on_expiry}"]
    return lines


def _pin(pin: Pin) -> str:
    more = [f"position: {pin.position}"] if pin.position != "any" else []
    more += [f"note: {_text(pin.note)}"] if pin.note else []
    return f"{{{', '.join([f'pin: {_text(str(pin))}', *more])}}}" if more else _text(str(pin))


def _host(host: PinnedHost) -> str:
    entries = [f"host: {_text(host.pattern)}"]
    if host.pin_set is not None:
        entries.append(f"pin_set: {_text(host.pin_set.name)}")
    if host.ports:
        entries.append(f"ports: [{', '.join(map(str, host.ports))}]")
    if host.mode != "enforce":
        entries.append(f"mode: {host.mode}")
    return f"{{{', '.join(entries)}}}"


def _moment(moment: datetime) -> str:
    """Write an exact instant: a bare day would mean its end, and these formats mean its beginning."""
    return moment.date().isoformat() if moment.time() == time.max else f'"{moment.isoformat()}"'


def _text(text: str) -> str:
    """Write a text so that YAML takes it for one: pins and host names as they are, the rest in JSON's quotes."""
    if text.startswith(("sha256/", "sha384/", "sha512/")) or (_PLAIN_HOST.fullmatch(text) and text not in _WORDS):
        return text
    return json.dumps(text)
