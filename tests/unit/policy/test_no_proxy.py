"""Which hosts go without the upstream proxy."""

from __future__ import annotations

import pytest

from pinproxy.errors import PatternSyntaxError
from pinproxy.policy.no_proxy import parse_no_proxy

EXPECTED = "a name such as cluster.local, an address, or a network such as 10.0.0.0/8, without a port"


@pytest.mark.parametrize(
    ("entry", "host", "is_covered"),
    [
        ("example.com", "example.com", True),
        ("example.com", "a.b.example.com", True),
        ("example.com", "badexample.com", False),
        ("a.example.com", "example.com", False),
        ("EXAMPLE.com.", "example.com", True),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("localhost", "localhost", True),
        ("svc", "payments.default.svc", True),
        ("10.0.0.7", "10.0.0.7", True),
        ("10.0.0.7", "10.0.0.8", False),
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "fd00::1", False),
        ("fd00::/8", "fd00::1", True),
        ("::1", "::1", True),
        ("10.0.0.0/8", "ten.example", False),
        ("0.0.0.7", "10.0.0.7", False),
    ],
)
def test_an_entry_covers_itself_and_what_is_below_it(entry: str, host: str, is_covered: bool) -> None:
    """A name whole labels at a time, a network by its bits; a name is never resolved to find out."""
    assert parse_no_proxy((entry,)).covers(host) is is_covered


def test_an_empty_list_covers_nothing() -> None:
    """Then everything goes through the proxy."""
    assert not parse_no_proxy(()).covers("localhost")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (".example.com", "found '.example.com'; write 'example.com': a name stands for itself and everything below it"),
        ("*.example.com", "found '*.example.com'; write 'example.com': a name stands for itself and everything below it"),
        ("*", "found '*'; to reach every host directly, leave `upstream_proxy` out"),
        ("10.0.0.1/8", "found '10.0.0.1/8'; expected a network such as 10.0.0.0/8, its host bits zero"),
        ("a.example:80", f"found 'a.example:80'; expected {EXPECTED}"),
        ("", f"found ''; expected {EXPECTED}"),
    ],
)
def test_what_readers_of_no_proxy_disagree_about_is_refused(entry: str, text: str) -> None:
    """A host that silently goes another way than meant is one that nobody looks for."""
    with pytest.raises(PatternSyntaxError) as refused:
        parse_no_proxy((entry,))
    assert str(refused.value) == text
