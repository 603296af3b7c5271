"""Which hosts are reached without the upstream proxy.

`NO_PROXY` has no standard. What its readers agree on is taken: a name stands for itself and everything below it, an address for
itself, a network in CIDR notation for its addresses. What they read differently (a leading dot, a star, a port) is refused.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from pinproxy.authority import canonical_host, is_ip_address
from pinproxy.errors import BadRequest, PatternSyntaxError

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class NoProxy:
    """Hosts that are dialled directly.

    Attributes:
        names: Each stands for itself and everything below it; canonical.
        networks: For hosts that are addresses; a name is not resolved to find out.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[_Network, ...] = ()

    def covers(self, host: str) -> bool:
        """Tell whether a host, in the form of `Authority.host`, is one of them."""
        if is_ip_address(host):
            address = ipaddress.ip_address(host)
            return any(address in network for network in self.networks)
        labels = host.split(".")
        return any(".".join(labels[start:]) in self.names for start in range(len(labels)))


def parse_no_proxy(entries: tuple[str, ...]) -> NoProxy:
    """Read a list of names, addresses and networks.

    Raises:
        PatternSyntaxError: What was found and what was expected.
    """
    parsed = [_parse(entry) for entry in entries]
    names = frozenset(item for item in parsed if isinstance(item, str))
    return NoProxy(names, tuple(item for item in parsed if not isinstance(item, str)))


def _parse(entry: str) -> str | _Network:
    if "/" in entry:
        try:
            return ipaddress.ip_network(entry)
        except ValueError as error:
            raise PatternSyntaxError(f"found {entry!r}; expected a network such as 10.0.0.0/8, its host bits zero") from error
    if entry == "*":
        raise PatternSyntaxError("found '*'; to reach every host directly, leave `upstream_proxy` out")
    bare = entry.removeprefix("*").removeprefix(".")
    if bare != entry:
        raise PatternSyntaxError(f"found {entry!r}; write {bare!r}: a name stands for itself and everything below it")
    try:
        host = canonical_host(f"[{entry}]" if ":" in entry else entry)
    except BadRequest as error:
        expected = "a name such as cluster.local, an address, or a network such as 10.0.0.0/8, without a port"
        raise PatternSyntaxError(f"found {entry!r}; expected {expected}") from error
    return ipaddress.ip_network(host) if is_ip_address(host) else host
