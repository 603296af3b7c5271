"""Which names are public suffixes: `com`, `co.uk`, `github.io`. Below one, everybody can have a name. Pure.

The list is Mozilla's Public Suffix List, in the text form in which systems keep it; it is read by whoever has it. Without one,
every single label is taken for public but those that nobody can register.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pinproxy.authority import canonical_host, is_ip_address
from pinproxy.errors import BadRequest

# RFC 6761 §6, RFC 6762 App. G, RFC 8375, and `internal`, which ICANN keeps for private use: nobody sells names below these.
_PRIVATE = frozenset(
    {"corp", "example", "home", "home.arpa", "internal", "intranet", "invalid", "lan", "local", "localhost", "private", "test"}
)


@dataclass(frozen=True, slots=True)
class PublicSuffixes:
    """A list, taken apart.

    Attributes:
        names: Suffixes, canonical.
        below: Names directly below which every name is a suffix (`*.ck`).
        except_for: Names that `below` would cover and that are no suffixes (`!www.ck`).
    """

    names: frozenset[str] = frozenset()
    below: frozenset[str] = frozenset()
    except_for: frozenset[str] = field(default_factory=frozenset)

    def holds(self, name: str) -> bool:
        """Tell whether a canonical name is a public suffix itself."""
        if name in _PRIVATE or name in self.except_for or is_ip_address(name):
            return False
        parent = name.partition(".")[2]
        # > publicsuffix.org/list: If no rules match, the prevailing rule is "*".
        return not parent or name in self.names or parent in self.below


def parse_public_suffixes(text: str) -> PublicSuffixes:
    """Read the list's text form; a line that is no name is passed over."""
    found: dict[str, set[str]] = {"": set(), "*.": set(), "!": set()}
    for line in text.splitlines():
        # > publicsuffix.org/list: Each line is only read up to the first whitespace; entire lines can also be commented using //.
        rule = line.split(maxsplit=1)[0] if line.strip() else "//"
        if rule.startswith("//"):
            continue
        mark = next(mark for mark in ("*.", "!", "") if rule.startswith(mark))
        try:
            found[mark].add(canonical_host(rule.removeprefix(mark)))
        except BadRequest:
            continue
    return PublicSuffixes(frozenset(found[""]), frozenset(found["*."]), frozenset(found["!"]))
