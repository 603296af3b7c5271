"""What `check` learns from observations: renewals that came with a new key, and pins that stood in no chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pinproxy.authority import Authority
from pinproxy.cli.check_live import place_of_pins
from pinproxy.errors import ObservationsSyntaxError
from pinproxy.pins.pin import Pin
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.table import PolicyTable
from pinproxy.report.observation import HostObservation, PathSeen
from pinproxy.report.observations_file import read_bounded
from pinproxy.report.observations_json import ObservationsDocument, read_document
from pinproxy.settings.document import Place
from pinproxy.settings.findings import Remark, day
from pinproxy.settings.model import Settings


def remark_on_observations(settings: Settings, table: PolicyTable, *, are_pins_asked: bool) -> Iterator[Remark]:
    """Remark on what the file of observations shows; without one, on nothing.

    Args:
        settings: The configuration, whose `observations.file` is read.
        table: The rules, in the order of `hosts`.
        are_pins_asked: Whether to name pins that stood in no chain; `--live` asks servers for that.
    """
    path = settings.observations.file
    if path is None:
        return
    try:
        document = read_document(read_bounded(path))
    except FileNotFoundError:
        return  # no proxy has run yet
    except (OSError, ObservationsSyntaxError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        yield Remark("note", ("observations", "file"), f"not looked at: {why}")
        return
    number_of = {id(rule): number for number, rule in enumerate(table.rules)}
    users: dict[Place, tuple[PinSet, list[HostObservation]]] = {}
    for authority, host in document.by_authority():
        rule = table.lookup(authority)
        if rule is None or rule.pin_set is None:
            continue
        number = number_of[id(rule)]
        yield from _renewals(authority, host, rule.pin_set, ("hosts", number))
        users.setdefault(place_of_pins(settings, rule, number), (rule.pin_set, []))[1].append(host)
    if are_pins_asked:
        yield from _unseen(users, document)


def _renewals(authority: Authority, host: HostObservation, pin_set: PinSet, place: Place) -> Iterator[Remark]:
    """A renewal with a new key denies whoever pins the old one alone, and it will come again."""
    paths = [path for path in host.paths if path.counts.total > path.counts.denied]
    renewed = sum(_succeeds(path, paths[:index]) for index, path in enumerate(paths))
    if not renewed:
        return
    newest = max(paths, key=lambda path: path.last_at)
    leaf, *above = newest.keys
    is_leaf_pinned = any(_is(pin, leaf) and pin.position != "ca" for pin in pin_set.pins)
    is_any_above_pinned = any(_is(pin, key) and pin.position != "leaf" for pin in pin_set.pins for key in above)
    if is_leaf_pinned and not is_any_above_pinned:
        times = "once" if renewed == 1 else f"{renewed} times"
        seen = {key for path in paths for key in path.keys}
        has_next = any(str(pin) not in seen for pin in pin_set.pins)
        to_do = "use the backup key for the next one" if has_next else "pin the next key before that happens again"
        text = (
            f"{authority} was renewed with a new key {times} since {day(host.first_at)}, and only its own key is pinned: "
            f"{to_do}, or pin the issuing CA (`pinproxy learn`)"
        )
        yield Remark("note" if has_next else "warning", place, text)


def _succeeds(path: PathSeen, earlier: Sequence[PathSeen]) -> bool:
    """Tell whether a path took the place of one with another leaf key; an RSA and an ECDSA certificate take turns instead."""
    others = [other for other in earlier if other.keys[0] != path.keys[0]]
    return any(other.last_at <= path.first_at and other.keys[1:2] == path.keys[1:2] for other in others) and all(
        other.keys[0] != path.keys[0] for other in earlier
    )


def _is(pin: Pin, key: str) -> bool:
    # Observations keep keys as SHA-256 pins; a pin by another hash, or of a certificate, is not held against them.
    return str(pin) == key


def _unseen(users: dict[Place, tuple[PinSet, list[HostObservation]]], document: ObservationsDocument) -> Iterator[Remark]:
    for place, (pin_set, hosts) in users.items():
        if not any(path.counts.matched for host in hosts for path in host.paths):
            continue
        seen = {key for host in hosts for path in host.paths for key in path.keys}
        for index, pin in enumerate(pin_set.pins):
            if pin.subject == "spki" and pin.algorithm == "sha256" and str(pin) not in seen:
                text = f"in no chain that was observed since {day(document.began_at)}: right for a backup key; else remove it"
                yield Remark("note", (*place, "pins", index), text)
