"""Which addresses hosts without an entry may lead to: the guard against server-side request forgery."""

from __future__ import annotations

import ipaddress

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1: the IPv4 address is the last 32 bits
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291 §2.5.5.1, deprecated and still parsed
# > RFC 4291 §2.4: Global Unicast: everything else. Stricter: of that, IANA has given out nothing beyond 2000::/3, and `ipaddress`
# calls the site-local fec0::/10 (RFC 3879) global.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")  # RFC 9637, unknown to older Pythons
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215: local-use translation, never the public internet


def is_globally_routable(text: str) -> bool:
    """Tell whether an address is one of the public internet (RFC 6890), IPv4 inside IPv6 included.

    Args:
        text: The address as resolved, the one that would be dialled; a zone id makes it local.
    """
    if "%" in text:
        return False
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64_LOCAL:
            return False
        inner = _embedded_ipv4(address)
        if inner is not None:
            return is_globally_routable(str(inner))
        if address not in _GLOBAL_UNICAST or address in _DOCUMENTATION:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:  # RFC 4291 §2.5.5.2
        return address.ipv4_mapped
    if address.sixtofour is not None:  # RFC 3056 §2
        return address.sixtofour
    if address.teredo is not None:  # RFC 4380 §4: the client's public address
        return address.teredo[1]
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
