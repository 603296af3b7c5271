"""The addresses this proxy itself listens on, which it must never dial."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from functools import lru_cache

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class OwnAddresses:
    """What our listeners are bound to, under every name it can be reached by."""

    def __init__(self) -> None:
        """Start with none; listeners add themselves once they are bound."""
        self._bound: set[tuple[_Address, int]] = set()

    def add(self, address: str, port: int) -> None:
        """Add a bound address."""
        self._bound.add((_plain(address), port))

    def contains(self, address: str, port: int) -> bool:
        """Tell whether dialling this address and port would reach one of our listeners."""
        target = _plain(address)
        for bound, bound_port in self._bound:
            if port != bound_port:
                continue
            if target == bound:
                return True
            if target.is_unspecified and (bound.is_loopback or bound.is_unspecified):
                return True  # Linux connects 0.0.0.0 and :: to the loopback address
            if bound.is_unspecified and _is_local(target):
                return True
        return False


@lru_cache(maxsize=1024)
def _plain(address: str) -> _Address:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def _is_local(address: _Address) -> bool:
    """Ask the kernel: an address is ours if and only if a socket can be bound to it."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((str(address), 0))
        return True
    return False
