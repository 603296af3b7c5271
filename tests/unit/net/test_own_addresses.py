"""Which destinations are this proxy itself."""

from __future__ import annotations

import pytest

from pinproxy.net.own_addresses import OwnAddresses

ANY = "0.0.0.0"  # noqa: S104 - nothing is bound here


def bound_to(*addresses: str) -> OwnAddresses:
    """Bind port 3128 of each address."""
    own = OwnAddresses()
    for address in addresses:
        own.add(address, 3128)
    return own


@pytest.mark.parametrize(
    ("bound", "dialled"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("127.0.0.1", "::ffff:7f00:1"),
        ("127.0.0.1", ANY),
        ("127.0.0.1", "::ffff:0.0.0.0"),
        ("::1", "::1"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("::1", "::"),
        (ANY, "127.0.0.1"),
        (ANY, "127.8.8.8"),
        (ANY, ANY),
        ("::", "::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("fe80::1", "fe80::1%eth0"),
        ("192.0.2.7", "192.0.2.7"),
    ],
)
def test_every_way_to_a_bound_address_is_ours(bound: str, dialled: str) -> None:
    """Spelling, mapping and the unspecified address do not matter, the port does."""
    assert bound_to(bound).contains(dialled, 3128)
    assert not bound_to(bound).contains(dialled, 3129)


@pytest.mark.parametrize(
    ("bound", "dialled"),
    [
        ("127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", "192.0.2.7"),
        ("127.0.0.1", "::1"),
        ("192.0.2.7", ANY),
        (ANY, "192.0.2.7"),
        ("::", "2001:db8::1"),
    ],
)
def test_another_address_with_the_same_port_is_not_ours(bound: str, dialled: str) -> None:
    """The twins; 192.0.2.7 and 2001:db8::1 are for documentation, and no machine has them."""
    assert not bound_to(bound).contains(dialled, 3128)


def test_nothing_is_ours_before_anything_is_bound() -> None:
    """The empty set."""
    assert not OwnAddresses().contains("127.0.0.1", 3128)


def test_each_of_several_addresses_is_ours() -> None:
    """Listeners and the admin server add themselves one by one."""
    own = bound_to("127.0.0.1", "::1")
    own.add("127.0.0.1", 9470)
    assert own.contains("127.0.0.1", 3128)
    assert own.contains("::1", 3128)
    assert own.contains("127.0.0.1", 9470)
    assert not own.contains("::1", 9470)
