"""From a host to a connected TCP socket: resolve once, check every address, connect to exactly what was checked.

Behind an upstream proxy, names are resolved there: what can be checked here is an address that was asked for as such, and that
the proxy is not this one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohappyeyeballs

from pinproxy.authority import Authority, is_ip_address
from pinproxy.errors import AddressDenied, DialRefused, DialTimeout, DnsFailed, LoopDetected, Overloaded
from pinproxy.limits import Limits
from pinproxy.net.exhaustion import has_descriptor_left, is_exhausted
from pinproxy.net.own_addresses import OwnAddresses
from pinproxy.net.readiness import connect_socket
from pinproxy.net.time_limit import time_limit
from pinproxy.net.upstream_proxy import UpstreamProxy, open_way
from pinproxy.policy.address import is_globally_routable
from pinproxy.policy.rule import DialOverride

Resolver = Callable[[str], Awaitable[Sequence[str]]]
"""Turn a canonical name into addresses in text form, in the order of preference; raises OSError, most often `socket.gaierror`."""

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
        addresses: In the order of preference; those of the upstream proxy where there is one on the way.
        port: The port to dial.
        behind_proxy: What the upstream proxy is asked for; None: the addresses are the destination's own.
    """

    authority: Authority
    addresses: tuple[str, ...]
    port: int
    behind_proxy: Authority | None = None

    def at(self, address: str) -> Destination:
        """Narrow it down to one of its addresses."""
        return Destination(self.authority, (address,), self.port, self.behind_proxy)


class Dialler:
    """Connects to authorities. The one place where an upstream TCP connection begins."""

    def __init__(
        self,
        limits: Limits,
        own_addresses: OwnAddresses,
        resolver: Resolver = resolve_with_system,
        upstream_proxy: UpstreamProxy | None = None,
    ) -> None:
        """Keep the bounds, the addresses that must not be dialled, and the proxy on the way; None: there is none."""
        self._limits = limits
        self._own_addresses = own_addresses
        self._resolver = resolver
        self._upstream_proxy = upstream_proxy

    def goes_through_proxy(self, host: str) -> bool:
        """Tell whether a host is reached through the upstream proxy."""
        return self._upstream_proxy is not None and self._upstream_proxy.serves(host)

    async def find(self, authority: Authority, override: DialOverride | None, *, is_listed: bool) -> Destination:
        """Resolve an authority, and check every address it has.

        Args:
            authority: Where to.
            override: Where to instead, as configured; None: to the authority itself.
            is_listed: Whether the operator listed the host; others may only lead to globally routable addresses.

        Raises:
            DnsFailed: The name does not resolve.
            Overloaded: This process has no descriptor left to look it up with.
            AddressDenied: An unlisted host that leads to a private address.
            LoopDetected: The destination is this proxy.
        """
        target = authority
        if override is not None:
            target = Authority(override.address, override.port or authority.port)
        if self._upstream_proxy is not None and self._upstream_proxy.serves(target.host):
            if target.is_ip_address:
                self._check(authority, [target.host], target.port, is_listed=is_listed)
            way = self._upstream_proxy.authority
            addresses = await self._resolve(way.host)
            self._check(way, addresses, way.port, is_listed=True)
            return Destination(authority, tuple(addresses), way.port, target)
        # 1. Resolve once: what is checked below is what is dialled (DNS rebinding).
        addresses = await self._resolve(target.host)
        # 2. Every address, not only the first: a second record is a second way in.
        self._check(authority, addresses, target.port, is_listed=is_listed)
        return Destination(authority, tuple(addresses), target.port)

    def _check(self, authority: Authority, addresses: Sequence[str], port: int, *, is_listed: bool) -> None:
        for address in addresses:
            if self._own_addresses.contains(address, port):
                raise LoopDetected(f"{authority} leads to {Authority(address, port)}, which is this proxy")
            if not is_listed and not self._limits.allow_private and not is_globally_routable(address):
                raise AddressDenied(
                    f"{authority} leads to {address}, which is not globally routable; "
                    "list the host, or set limits.allow_private: true"
                )

    async def connect(self, destination: Destination, via: tuple[bytes, ...] = ()) -> socket.socket:
        """Connect to a destination, its address families raced (RFC 8305), and through the upstream proxy if it is behind it.

        Args:
            destination: Where to.
            via: What the upstream proxy is told in Via.

        Returns:
            A connected, non-blocking socket with TCP_NODELAY.

        Raises:
            DialRefused, DialTimeout: Nobody there.
            Overloaded: This process has no descriptor left.
            UpstreamProxyRefused: The upstream proxy does not open the way.
            LoopDetected: It says that the way leads back.
        """
        proxy, target = self._upstream_proxy, destination.behind_proxy
        if proxy is None or target is None:
            return await self._connect(str(destination.authority), destination.addresses, destination.port)
        sock = await self._connect(f"the upstream proxy {proxy.authority}", destination.addresses, destination.port)
        try:
            await open_way(sock, proxy, target, self._limits, via)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _resolve(self, host: str) -> Sequence[str]:
        if is_ip_address(host):
            return [host]
        try:
            with time_limit(self._limits.dns_seconds):
                addresses = await self._resolver(host)
        except TimeoutError as error:
            raise DnsFailed(f"{host} did not resolve within {self._limits.dns_seconds:g} s (limits.dns_seconds)") from error
        except (OSError, UnicodeError) as error:
            # A resolver without a descriptor says that it failed, and not why; with some of them, errno is left from elsewhere.
            if not has_descriptor_left():
                raise Overloaded(f"no descriptor is left to look {host} up with (ulimit -n)") from error
            is_silent = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
            raise DnsFailed(f"{host} does not resolve{': no name server gave an answer' if is_silent else ''}") from error
        if not addresses:
            raise DnsFailed(f"{host} has no address")
        return addresses

    async def _connect(self, name: str, addresses: Sequence[str], port: int) -> socket.socket:
        try:
            with time_limit(self._limits.connect_seconds):
                sock = await _race(addresses, port) if len(addresses) > 1 else await _connect_to(addresses[0], port)
        except TimeoutError as error:
            raise DialTimeout(
                f"{name} at {', '.join(addresses)} did not answer within {self._limits.connect_seconds:g} s"
            ) from error
        except OSError as error:
            if is_exhausted(error):
                raise Overloaded(f"no descriptor is left for a connection to {name} (ulimit -n)") from error
            raise DialRefused(f"{name} at {', '.join(addresses)} port {port} refused or cannot be reached") from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


async def _race(addresses: Sequence[str], port: int) -> socket.socket:
    infos = [_address_info(address, port) for address in addresses]
    delay = _CONNECTION_ATTEMPT_DELAY_SECONDS
    return await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=delay, interleave=1)


async def _connect_to(address: str, port: int) -> socket.socket:
    """Connect to the only address there is. uvloop's `sock_connect` would have a thread look it up once more."""
    family, kind, protocol, _name, target = _address_info(address, port)
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        await connect_socket(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


def _address_info(address: str, port: int) -> aiohappyeyeballs.AddrInfoType:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
