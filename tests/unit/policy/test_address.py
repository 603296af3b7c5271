"""Which addresses an unlisted host may lead to: those of the public internet, in every notation, and no others."""

from __future__ import annotations

import pytest

from pinproxy.policy.address import is_globally_routable


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "93.184.216.34",
        "2606:4700:4700::1111",
        "2a00:1450:4001:82b::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_public_addresses_are_routable(address: str) -> None:
    """The twins of everything below."""
    assert is_globally_routable(address)


@pytest.mark.attack(
    "the metadata services of clouds (169.254.169.254, fd00:ec2::254) and every other address that is not public",
    expect="address_denied",
    topic="authority",
    motive="SSRF; RFC 6890",
)
@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - this host, RFC 1122 §3.2.1.3; not bound
        "10.0.0.1",  # private, RFC 1918
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",  # shared by carriers, RFC 6598
        "127.0.0.1",  # loopback
        "127.255.255.254",
        "169.254.169.254",  # link-local, and where clouds keep credentials
        "192.0.0.1",  # protocol assignments, RFC 6890
        "192.0.2.1",  # documentation, RFC 5737
        "198.18.0.1",  # benchmarks, RFC 2544
        "224.0.0.1",  # multicast
        "239.255.255.250",
        "240.0.0.1",  # reserved
        "255.255.255.255",  # broadcast
        "::",  # unspecified
        "::1",  # loopback
        "fc00::1",  # unique local, RFC 4193
        "fd00:ec2::254",  # and where a cloud keeps credentials under IPv6
        "fe80::1",  # link-local
        "fe80::1%eth0",
        "2606:4700::1%eth0",  # a zone makes any address local
        "fec0::1",  # site-local, RFC 3879
        "ff02::1",  # multicast
        "ff0e::1",
        "2001:db8::1",  # documentation, RFC 3849
        "3fff::1",  # documentation, RFC 9637
        "100::1",  # discard-only, RFC 6666
        "4000::1",  # not given out
        "5f00::1",  # segment routing, RFC 9602
    ],
)
def test_addresses_that_lead_inside_or_nowhere_are_not_routable(address: str) -> None:
    """RFC 6890 and its successors."""
    assert not is_globally_routable(address)


@pytest.mark.attack(
    "a private IPv4 address inside an IPv6 one: mapped, translated (64:ff9b::), 6to4, Teredo",
    expect="address_denied",
    topic="authority",
    motive="smokescreen's TestClassifyAddr; RFC 6052",
)
@pytest.mark.parametrize("inner", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1"])
@pytest.mark.parametrize("notation", ["::ffff:{}", "64:ff9b::{}", "::{}", "64:ff9b:1::{}"])
def test_an_ipv4_address_inside_an_ipv6_one_is_what_it_is(notation: str, inner: str) -> None:
    """Mapped, translated, compatible: the packet ends up at the IPv4 node."""
    assert not is_globally_routable(notation.format(inner))


@pytest.mark.attack(
    "a private IPv4 address inside an IPv6 one: mapped, translated (64:ff9b::), 6to4, Teredo",
    expect="address_denied",
    topic="authority",
    motive="smokescreen's TestClassifyAddr; RFC 6052",
)
@pytest.mark.parametrize("address", ["2002:7f00:1::1", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:80ff:fffe"])
def test_a_tunnelled_ipv4_address_is_what_it_is(address: str) -> None:
    """6to4 of loopback and link-local, Teredo of 127.0.0.1 (RFC 3056, RFC 4380)."""
    assert not is_globally_routable(address)
