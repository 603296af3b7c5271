"""Host patterns: `api.example.com`, `*.example.com` (exactly one label), `**.example.com` (any depth, and the apex)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pinproxy.authority import canonical_host, is_ip_address
from pinproxy.errors import BadRequest, PatternSyntaxError

Kind = Literal["exact", "one_label", "any_depth"]


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A pattern in canonical form.

    Attributes:
        kind: `exact`; `one_label` for `*.`; `any_depth` for `**.`.
        base: The canonical host, or the canonical name behind the wildcard.
    """

    kind: Kind
    base: str

    def __str__(self) -> str:
        """Format as it stands in a configuration."""
        return {"exact": "", "one_label": "*.", "any_depth": "**."}[self.kind] + self.base

    def covers(self, host: str) -> bool:
        """Tell whether a canonical host meets this pattern; an address literal only ever meets itself."""
        if self.kind == "exact":
            return host == self.base
        if is_ip_address(host):
            return False
        if self.kind == "one_label":
            return host.partition(".")[2] == self.base
        return host == self.base or host.endswith("." + self.base)


def parse_pattern(text: str) -> HostPattern:
    """Read a host pattern.

    Raises:
        PatternSyntaxError: A wildcard anywhere but as the whole left-most label, or a host that is none.
    """
    kind: Kind = "exact"
    base = text
    if text.startswith("**."):
        kind, base = "any_depth", text[3:]
    elif text.startswith("*."):
        kind, base = "one_label", text[2:]
    if "://" in base:
        raise PatternSyntaxError(f"{text!r} has a scheme; write the host alone")
    if "*" in base:
        expected = "expected a host, '*.host' (one label) or '**.host' (any depth)"
        raise PatternSyntaxError(f"{text!r} has a '*' where none can stand; {expected}")
    bracketed = f"[{base}]" if base.count(":") > 1 and not base.startswith("[") else base
    try:
        host = canonical_host(bracketed)
    except BadRequest as error:
        raise PatternSyntaxError(f"{error.detail}; ports stand in `ports`" if ":" in base else error.detail) from error
    if kind != "exact" and is_ip_address(host):
        raise PatternSyntaxError(f"{text!r} puts a wildcard before an address; write the address alone")
    return HostPattern(kind, host)
