"""How pins are printed: text for other people's files. Pure; a new format is one function and its line in `FORMATS`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pinproxy.cli.pin_sources import Found, ServerAnswer
from pinproxy.policy.verdict import printable

_HTTPS = 443


@dataclass(frozen=True, slots=True)
class Listing:
    """What is to be printed.

    Attributes:
        source: The file, or the server as the user named it.
        found: The keys, leaf first.
        answer: The server's answer; None: they come from a file.
        ca_file: The roots the server was verified with; None: the system's.
    """

    source: str
    found: tuple[Found, ...]
    answer: ServerAnswer | None = None
    ca_file: str | None = None


def _as_yaml(listing: Listing) -> str:
    if listing.answer is None:
        return _yaml_lines(listing)
    if not listing.answer.is_verified:
        lines = "".join(f"# {line}\n" for line in _yaml_lines(listing).splitlines())
        return f"# NOT VERIFIED: anybody on the way to {printable(listing.source)} may have made these up.\n{lines}"
    return _yaml_configuration(listing, listing.answer)


def _yaml_lines(listing: Listing) -> str:
    """Write the entries of a `pins` list."""
    return "".join(f"- {found.pin}   # {_described(found)}\n" for found in listing.found)


def _yaml_configuration(listing: Listing, answer: ServerAnswer) -> str:
    """Write a pin set and its host: the leaf and its issuer in force, what is above them as comments.

    The issuer makes it a set of two, which loads and outlives a renewal; its comment says what that costs.
    """
    name = re.sub(r"[^A-Za-z0-9]+", "-", answer.authority.host).strip("-")
    lines = [f"# {answer.authority} at {answer.address}: chain, name and dates are valid", "pin_sets:", f"  {name}:", "    pins:"]
    for index, found in enumerate(listing.found):
        mark = "" if index < 2 else "# "
        lines.append(f"      # {_described(found)}{_consequence(index)}")
        lines.append(f"      {mark}- {{pin: {found.pin}, position: {found.what}}}")
    if len(listing.found) == 1:
        lines.append("      # A set needs two pins: add the one of a key that is kept offline.")
    else:
        lines.append("      # Better than the issuer: the pin of a backup key of yours, kept offline, in place of its line.")
    host = {"host": f'"{answer.authority.host}"' if ":" in answer.authority.host else answer.authority.host, "pin_set": name}
    if answer.authority.port != _HTTPS:
        host["ports"] = f"[{answer.authority.port}]"
    if listing.ca_file is not None:
        host["trust"] = f"{{ca_file: {_quoted(listing.ca_file)}}}"
    lines += ["hosts:", f"  - {{{', '.join(f'{key}: {value}' for key, value in host.items())}}}"]
    return "\n".join(lines) + "\n"


def _consequence(index: int) -> str:
    if index == 0:
        return ": holds while the server keeps its key"
    return ": any certificate this CA issues for the host passes" + ("" if index == 1 else "; not needed with the line above it")


def _described(found: Found) -> str:
    name = f"  CN={printable(found.name)}" if found.name else ""
    end = f"  not after {found.not_after:%Y-%m-%d}" if found.not_after else ""
    return f"{found.what}{name}{end}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


FORMATS: dict[str, Callable[[Listing], str]] = {"yaml": _as_yaml}
