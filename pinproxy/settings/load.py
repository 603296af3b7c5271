"""File, environment and flags to `Settings`, or every problem at once, each with its place.

1. Read the YAML (`document`) and what environment and flags say instead (`options`).
2. Validate against the model; each finding is put into words (`messages`) and given its line and column.
3. Set aside the entries that failed and check what remains as a whole (`checks`): one run tells everything.
4. Any problem, and nothing is returned.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pinproxy.errors import Problem, SettingsError
from pinproxy.net.collector import collector_at_rest, free_one_by_one
from pinproxy.settings.checks import check
from pinproxy.settings.document import Document, Place, dotted, parse_document, read_document
from pinproxy.settings.messages import describe, place_of
from pinproxy.settings.model import Settings
from pinproxy.settings.options import Override, read_overrides
from pinproxy.settings.schema import json_schema


@collector_at_rest()
def load_settings(
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str],
    known_variables: Collection[str] = (),
    content: bytes | None = None,
) -> Settings:
    """Load the configuration: flag > environment > file > default.

    Files that it names (certificates, keys, roots) are read now and stand in the result as values.

    Args:
        path: The YAML file; None: there is none, and everything not overridden has its default.
        environ: The environment; names beginning with `PINPROXY_` count.
        flags: Text by flag, as in `{"--limits-head-bytes": "32KiB"}`; only those that were given.
        known_variables: Further `PINPROXY_…` variables that somebody else reads.
        content: What is about to stand in the file, instead of what does.

    Raises:
        SettingsError: Every problem there is.
    """
    # 1. What is written.
    overrides, problems = read_overrides(environ, flags, known_variables)
    try:
        document = _read(path, content)
    except SettingsError as error:
        raise SettingsError((*error.problems, *problems)) from error
    written = _Written(document, {override.place: override for override in overrides})
    written.problems.extend((*document.problems, *problems))
    values = document.root if isinstance(document.root, dict) else {}
    for override in written.overrides.values():
        values = _with(values, override.place, override.value)
    # 2. What it means.
    directory = Path.cwd() if path is None else path.absolute().parent
    settings = _validated(values, directory, written)
    # 3. Whether it fits together.
    pin_sets = values.get("pin_sets")
    names = list(pin_sets) if isinstance(pin_sets, dict) else []
    kept, host_numbers = (settings, range(len(settings.hosts))) if settings else _salvaged(values, directory, written)
    for finding in check(kept, names, host_numbers) if kept else ():
        written.report(finding.place, finding.message)
    # 4. All or nothing.
    if written.problems or settings is None:
        raise SettingsError(tuple(dict.fromkeys(written.problems)))
    free_one_by_one(document.values, document.keys)
    return settings


def _read(path: Path | None, content: bytes | None) -> Document:
    if path is None:
        return Document("", {"version": 1})
    return read_document(path) if content is None else parse_document(content, str(path))


@dataclass(slots=True)
class _Written:
    """What was written where, and what is wrong with it."""

    document: Document
    overrides: dict[Place, Override]
    problems: list[Problem] = field(default_factory=list)
    failed: list[Place] = field(default_factory=list)

    def report(self, place: Place, message: str, *, of_key: bool = False) -> None:
        """Add a problem, at the flag or variable that gave the value, or at its line in the file."""
        for end in range(len(place), 0, -1):
            if override := self.overrides.get(place[:end]):
                self.problems.append(Problem(override.source, 0, 0, dotted(override.place), message))
                return
        # A pin written as a bare text is a mapping to the model; its place is that of the text.
        shown = place
        while shown and shown not in self.document.values and not of_key:
            shown = shown[:-1]
        if shown and any(problem.path.startswith(dotted(shown)) for problem in self.document.problems):
            return  # a consequence of what is already said about the text there
        line, column = self.document.position(place, of_key=of_key) if self.document.file else (0, 0)
        self.problems.append(Problem(self.document.file or "configuration", line, column, dotted(shown), message))


def _validated(values: dict[str, Any], directory: Path, written: _Written) -> Settings | None:
    """Validate, and report each finding; None: there was one."""
    try:
        return Settings.model_validate(values, context=directory)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if detail["type"] == "too_short" and detail["input"]:
                continue  # the list is not short: its items are at fault, and each has its own message
            place, of_key = place_of(detail)
            written.failed.append(place)
            written.report(place, describe(detail, json_schema()), of_key=of_key)
    return None


def _salvaged(values: dict[str, Any], directory: Path, written: _Written) -> tuple[Settings | None, Sequence[int]]:
    """Validate again without what failed, so that the rest can still be checked as a whole.

    Returns:
        What remains, and for each remaining host its number in the file; None where too little remains to judge.
    """
    failed = {place[:3] for place in written.failed}
    sections = {place[0] for place in failed if place}
    if "defaults" in sections:
        return None, ()  # every host may depend on them
    kept = {key: value for key, value in values.items() if key not in sections} | {"version": 1}
    if sections & {"unsafe_listen", "client_auth", "listen_tls"}:
        kept.pop("listen", None)
        kept.pop("routes", None)
    if "pin_sets" in sections:
        kept["pin_sets"] = {}
    numbers: list[int] = []
    hosts = values.get("hosts")
    if isinstance(hosts, list) and ("hosts",) not in failed:
        # A host without its pattern or ports could seem to collide with another, so it is set aside.
        aside = {("hosts", number, *key) for number in range(len(hosts)) for key in ((), ("host",), ("ports",))} & failed
        numbers = [number for number in range(len(hosts)) if not any(place[1] == number for place in aside)]
        kept["hosts"] = [_without(hosts[number], number, failed) for number in numbers]
    if not isinstance(hosts, list) or len(numbers) < len(hosts):
        kept.pop("routes", None)  # one may lead to a host that was set aside
    try:
        return Settings.model_validate(kept, context=directory), numbers
    except ValidationError:
        return None, ()


def _without(host: dict[str, Any], number: int, failed: set[Place]) -> dict[str, Any]:
    """Leave the keys of a host out that failed; without them it must not seem to lack pins, so it asks for none."""
    good = {key: value for key, value in host.items() if ("hosts", number, key) not in failed}
    if len(good) == len(host):
        return good
    if host.keys() - good.keys() & {"connect", "tls13"}:
        # Each alone would seem to lack the other.
        good = {key: value for key, value in good.items() if key != "tls13"} | {"connect": "intercept"}
    good = {key: value for key, value in good.items() if not key.startswith("unsafe_skip_")}
    return good | {"mode": "disabled", "trust": "system"}


def _with(values: dict[str, Any], place: Place, value: object) -> dict[str, Any]:
    """Return the values with one of them replaced, copying what is on the way to it."""
    key = str(place[0])
    if len(place) == 1:
        return {**values, key: value}
    inner = values.get(key)
    return {**values, key: _with(inner if isinstance(inner, dict) else {}, place[1:], value)}
