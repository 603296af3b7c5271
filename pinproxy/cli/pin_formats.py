"""How pins are printed: text for other people's files. Pure; the formats of other programs are written by `pins.formats`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pinproxy.cli.options import HTTPS
from pinproxy.cli.pin_sources import Found, ServerAnswer
from pinproxy.pins.formats import android, apple, curl, okhttp, rfc7469, tlsa, trustkit
from pinproxy.pins.formats.values import PinnedHost, Written, set_name
from pinproxy.pins.pin import Pin
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.verdict import printable


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
        return (
            f"# NOT VERIFIED: anybody on the way to {printable(listing.source)} may have made these up.\n{lines}"
            "# A leaf that its owner has confirmed can be pinned without a valid chain: `trust: pins-only` at the host.\n"
        )
    return _yaml_configuration(listing, listing.answer)


def _yaml_lines(listing: Listing) -> str:
    """Write the entries of a `pins` list."""
    return "".join(f"- {found.pin}   # {_described(found)}\n" for found in listing.found)


def _yaml_configuration(listing: Listing, answer: ServerAnswer) -> str:
    """Write a pin set and its host: the leaf and its issuer in force, what is above them as comments.

    The issuer makes it a set of two, which loads and outlives a renewal; its comment says what that costs.
    """
    name = set_name(answer.authority.host)
    lines = [f"# {answer.authority} at {answer.address}: chain, name and dates are valid", "pin_sets:", f"  {name}:", "    pins:"]
    for index, found in enumerate(listing.found):
        mark = "" if index < 2 else "# "
        lines.append(f"      # {_described(found)}{_consequence(index)}")
        lines.append(f"      {mark}- {{pin: {found.pin}, position: {found.what}}}")
    for found in answer.others:
        seen = "shown at another address, or to who asks for another kind of key"
        lines.append(f"      # {_described(found)}: {seen}")
        lines.append(f"      - {{pin: {found.pin}, position: {found.what}}}")
    if len(listing.found) == 1:
        lines.append("      # A set needs two pins: add the one of a key that is kept offline.")
    else:
        lines.append("      # Better than the issuer: the pin of a backup key of yours, kept offline, in place of its line.")
    host = {"host": f'"{answer.authority.host}"' if ":" in answer.authority.host else answer.authority.host, "pin_set": name}
    if answer.authority.port != HTTPS:
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


def _in_force(listing: Listing) -> tuple[Pin, ...]:
    """Place the pins of a listing: those of a server as in YAML, leaves and issuers; those of a file all, the first as leaf."""
    if listing.answer is not None:
        shown = (*listing.found[:2], *listing.answer.others)
        return tuple(replace(found.pin, position="leaf" if found.what == "leaf" else "ca") for found in shown)
    return tuple(
        replace(found.pin, position="ca" if index and found.what == "certificate" else "leaf")
        for index, found in enumerate(listing.found)
    )


def write_listing(form: str, listing: Listing) -> Written:
    """Write a listing in one of `WRITERS`, with what the format cannot hold.

    Raises:
        ValueError: Nobody verified these pins, and the format has no comments that would keep them out of force.
    """
    answer = listing.answer
    if answer is not None and not answer.is_verified:
        raise ValueError(f"pins that nobody verified are printed as comments of yaml alone, not as {form}")
    host, port = (answer.authority.host, answer.authority.port) if answer is not None else (PLACEHOLDER, HTTPS)
    # 443 is what everybody means; only a record of DNS is for one port, and says so.
    ports = () if port == HTTPS and form != "tlsa" else (port,)
    pins = _in_force(listing)
    written = WRITERS[form]([PinnedHost(host, PinSet(host, pins), ports=ports)])
    notes = () if answer is not None else (f"{PLACEHOLDER} stands for your host; the first key is taken for the leaf's",)
    return Written(written.text, (*notes, *written.notes))


PLACEHOLDER = "host.example"
FORMATS: dict[str, Callable[[Listing], str]] = {"yaml": _as_yaml}
WRITERS: dict[str, Callable[[Sequence[PinnedHost]], Written]] = {
    "okhttp": okhttp.write,
    "curl": curl.write,
    "android": android.write,
    "trustkit": trustkit.write,
    "apple": apple.write,
    "rfc7469": rfc7469.write,
    "tlsa": tlsa.write,
}
