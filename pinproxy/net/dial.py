"""From a host to a connected TCP socket: resolve once, check every address, connect to exactly what was checked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import aiohappyeyeballs

from pinproxy.authority import Authority, is_ip_address
from pinproxy.errors import AddressDenied, DialRefused, DialTimeout, DnsFailed, LoopDetected
from pinproxy.limits import Limits
from pinproxy.net.own_addresses import OwnAddresses
from pinproxy.policy.address import is_globally_routable
from pinproxy.policy.rule import DialOverride

Resolver = Callable[[str], Awaitable[Sequence[str]]]
"""Turn a canonical name into addresses in text form, in the order of preference; raises `socket.gaierror`."""

# > RFC 8305 §8: Connection Attempt Delay: … recommended 250 ms
_CONNECTION_ATTEMPT_DELAY_SECONDS = 0.25


async def resolve_with_system(host: str) -> Sequence[str]:
    """Resolve as the machine does: hosts file, resolv.conf, in the order the system prefers (RFC 6724)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class Destination:
    """Addresses that were checked, and may be dialled.

    Attributes:
        authority: What was asked for.
        addresses: In the order of preference.
        port: The port to dial.
    """

    authority: Authority
    addresses: tuple[str, ...]
    port: int

    def at(self, address: str) -> Destination:
        """Narrow it down to one of its addresses."""
        return replace(self, addresses=(address,))


class Dialler:
    """Connects to authorities. The one place where an upstream TCP connection begins."""

    def __init__(self, limits: Limits, own_addresses: OwnAddresses, resolver: Resolver = resolve_with_system) -> None:
        """Keep the bounds and the addresses that must not be dialled."""
        self._limits = limits
        self._own_addresses = own_addresses
        self._resolver = resolver

    async def find(self, authority: Authority, override: DialOverride | None, *, is_listed: bool) -> Destination:
        """Resolve an authority, and check every address it has.

        Args:
            authority: Where to.
            override: Where to instead, as configured; None: to the authority itself.
            is_listed: Whether the operator listed the host; others may only lead to globally routable addresses.

        Raises:
            DnsFailed: The name does not resolve.
            AddressDenied: An unlisted host that leads to a private address.
            LoopDetected: The destination is this proxy.
        """
        target = authority
        if override is not None:
            target = Authority(override.address, override.port or authority.port)
        # 1. Resolve once: what is checked below is what is dialled (DNS rebinding).
        addresses = await self._resolve(target.host)
        # 2. Every address, not only the first: a second record is a second way in.
        for address in addresses:
            if self._own_addresses.contains(address, target.port):
                raise LoopDetected(f"{authority} leads to {Authority(address, target.port)}, which is this proxy")
            if not is_listed and not self._limits.allow_private and not is_globally_routable(address):
                raise AddressDenied(
                    f"{authority} leads to {address}, which is not globally routable; "
                    "list the host, or set limits.allow_private: true"
                )
        return Destination(authority, tuple(addresses), target.port)

    async def connect(self, destination: Destination) -> socket.socket:
        """Connect to a destination, its address families raced (RFC 8305).

        Returns:
            A connected, non-blocking socket with TCP_NODELAY.

        Raises:
            DialRefused, DialTimeout: Nobody there.
        """
        sock = await self._connect(destination.authority, destination.addresses, destination.port)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    async def _resolve(self, host: str) -> Sequence[str]:
        if is_ip_address(host):
            return [host]
        try:
            async with asyncio.timeout(self._limits.dns_seconds):
                addresses = await self._resolver(host)
        except TimeoutError as error:
            raise DnsFailed(f"{host} did not resolve within {self._limits.dns_seconds:g} s (limits.dns_seconds)") from error
        except (socket.gaierror, UnicodeError) as error:
            raise DnsFailed(f"{host} does not resolve") from error
        if not addresses:
            raise DnsFailed(f"{host} has no address")
        return addresses

    async def _connect(self, authority: Authority, addresses: Sequence[str], port: int) -> socket.socket:
        infos = [_address_info(address, port) for address in addresses]
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                return await aiohappyeyeballs.start_connection(
                    infos, happy_eyeballs_delay=_CONNECTION_ATTEMPT_DELAY_SECONDS, interleave=1
                )
        except TimeoutError as error:
            raise DialTimeout(
                f"{authority} at {', '.join(addresses)} did not answer within {self._limits.connect_seconds:g} s"
            ) from error
        except OSError as error:
            raise DialRefused(f"{authority} at {', '.join(addresses)} port {port} refused or cannot be reached") from error


def _address_info(address: str, port: int) -> aiohappyeyeballs.AddrInfoType:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
