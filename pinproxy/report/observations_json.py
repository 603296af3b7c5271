"""Observations as JSON, one format for the file, the admin server and the commands: `pinproxy-observations`, version 1.

::

    {"kind": "pinproxy-observations", "version": 1, "began_at": TIME, "written_at": TIME, "hosts": [
      {"authority": "api.example.com:443", "rule": "api.example.com", "mode": "report-only", "pins": DIGEST, "pins_since": TIME,
       "first_at": TIME, "last_at": TIME, "good": CHAIN | null, "is_good_pinned": true,
       "paths": [{"chain": CHAIN, "first_at": TIME, "last_at": TIME, "days": 3, "counts": COUNTS}],
       "days": {"2027-06-01": COUNTS}}]}

TIME is RFC 3339 in UTC. COUNTS is {"matched", "would_deny", "denied", "unpinned"}. CHAIN is {"certificates": […]}, leaf first,
anchor last, each {"spki", "fingerprint", "subject", "issuer", "not_before", "not_after"}. The fields are those of
`report.observation`.
Keys that this version does not know are passed over; another version is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from pinproxy.authority import Authority, parse_authority
from pinproxy.errors import BadRequest, ObservationsSyntaxError
from pinproxy.report.observation import HostObservation

_ANY_PORT = 0  # never used: an authority is written with its port


@dataclass(slots=True)
class ObservationsDocument:
    """Everything that was observed, as it is written down.

    Attributes:
        kind: What this is.
        version: Of the format.
        began_at: Since when there are observations, UTC.
        written_at: When they were written down, UTC.
        hosts: One for each authority, the one met longest ago first.
    """

    kind: Literal["pinproxy-observations"]
    version: Literal[1]
    began_at: datetime
    written_at: datetime
    hosts: list[HostObservation]

    def by_authority(self) -> list[tuple[Authority, HostObservation]]:
        """Pair every observation with its authority."""
        return [(parse_authority(host.authority, _ANY_PORT), host) for host in self.hosts]


@cache
def _document_adapter() -> TypeAdapter[ObservationsDocument]:
    return TypeAdapter(ObservationsDocument)


@cache
def _host_adapter() -> TypeAdapter[HostObservation]:
    return TypeAdapter(HostObservation)


def is_ours(data: bytes) -> bool:
    """Tell whether this is what is left of a document of ours, of whatever version, or of a file that was only just made."""
    return not data.strip(b"\0\n ") or data.startswith(b'{"kind":"pinproxy-observations"')


def dump_host(host: HostObservation) -> bytes:
    """Write one observation; all of a large proxy's at once would hold up its traffic."""
    return _host_adapter().dump_json(host)


def dump_document(began_at: datetime, written_at: datetime, hosts: Iterable[bytes]) -> bytes:
    """Put a document together.

    Args:
        began_at: Since when there are observations, UTC.
        written_at: Now, UTC.
        hosts: What `dump_host` made, the one met longest ago first.
    """
    empty = _document_adapter().dump_json(ObservationsDocument("pinproxy-observations", 1, began_at, written_at, []))
    return empty.removesuffix(b"]}") + b",\n".join(hosts) + b"]}\n"


def read_document(data: bytes) -> ObservationsDocument:
    """Read a document.

    Raises:
        ObservationsSyntaxError: It is none, or one of another version.
    """
    try:
        document = _document_adapter().validate_json(data)
        _ = document.by_authority()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise ObservationsSyntaxError(f"found no observations of pinproxy (version 1): {where}: {first['msg']}") from error
    except BadRequest as error:
        raise ObservationsSyntaxError(f"found an authority that is none: {error.detail}") from error
    if any(at.tzinfo is None for at in _instants(document)):
        raise ObservationsSyntaxError("found a time without an offset; expected RFC 3339 in UTC")
    return document


def _instants(document: ObservationsDocument) -> Iterator[datetime]:
    yield from (document.began_at, document.written_at)
    for host in document.hosts:
        yield from (host.pins_since, host.first_at, host.last_at)
        for path in host.paths:
            yield from (path.first_at, path.last_at)
        for chain in (host.good, *(path.chain for path in host.paths)):
            for item in chain.certificates if chain is not None else ():
                yield from (item.not_before, item.not_after)
