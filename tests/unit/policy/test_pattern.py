"""Which hosts a pattern covers, and which texts are patterns."""

from __future__ import annotations

import pytest

from pinproxy.errors import PatternSyntaxError
from pinproxy.policy.pattern import HostPattern, parse_pattern


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("api.example.com", HostPattern("exact", "api.example.com")),
        ("API.Example.com.", HostPattern("exact", "api.example.com")),
        ("*.example.com", HostPattern("one_label", "example.com")),
        ("**.example.com", HostPattern("any_depth", "example.com")),
        ("*.bücher.example", HostPattern("one_label", "xn--bcher-kva.example")),
        ("192.0.2.7", HostPattern("exact", "192.0.2.7")),
        ("2001:DB8::1", HostPattern("exact", "2001:db8::1")),
        ("[2001:db8::1]", HostPattern("exact", "2001:db8::1")),
        ("::ffff:192.0.2.7", HostPattern("exact", "192.0.2.7")),
    ],
)
def test_a_pattern_is_read_in_canonical_form(text: str, pattern: HostPattern) -> None:
    """Patterns and hosts are canonical in the same way, so they compare byte for byte."""
    assert parse_pattern(text) == pattern


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "**",
        "*.",
        "**.",
        "***.x",
        "f*.example.com",
        "a.*.example.com",
        "*.*.example.com",
        "**.*.x",
        "*example.com",
        "\uff0a.example.com",
    ],
)
def test_a_wildcard_is_one_whole_left_most_label(text: str) -> None:
    """Partial and repeated wildcards mean different things to different readers, so they mean nothing here."""
    with pytest.raises(PatternSyntaxError):
        parse_pattern(text)


@pytest.mark.parametrize("text", ["*.192.0.2.7", "**.192.0.2.7", "**.[::1]", "*.::1"])
def test_no_wildcard_stands_before_an_address(text: str) -> None:
    """An address has no labels."""
    with pytest.raises(PatternSyntaxError, match="wildcard before an address"):
        parse_pattern(text)


@pytest.mark.parametrize("text", ["api.example.com:443", "*.example.com:443"])
def test_a_port_in_a_pattern_is_sent_to_ports(text: str) -> None:
    """The message names the key that ports belong to."""
    with pytest.raises(PatternSyntaxError, match="ports stand in `ports`"):
        parse_pattern(text)


@pytest.mark.attack(
    "a host at the edge of a pattern: a longer label, a deeper name, the apex",
    expect="neutralise",
    topic="authority",
    motive="OkHttp's checkForHostnameWithDoubleAsterisk",
)
@pytest.mark.parametrize(
    ("text", "covered", "left_out"),
    [
        ("x.com", ["x.com"], ["ax.com", "a.x.com", "x.com.evil", "com"]),
        ("*.x.com", ["a.x.com"], ["x.com", "b.a.x.com", "ax.com", "a.ax.com"]),
        ("**.x.com", ["x.com", "a.x.com", "b.a.x.com"], ["ax.com", "a.ax.com", "x.com.evil"]),
        ("192.0.2.7", ["192.0.2.7"], ["192.0.2.8"]),
    ],
)
def test_a_pattern_covers_what_its_stars_say(text: str, covered: list[str], left_out: list[str]) -> None:
    """`*.` is exactly one label; `**.` is any depth and the apex; neither reaches into a neighbour's name."""
    pattern = parse_pattern(text)
    assert [host for host in covered if not pattern.covers(host)] == []
    assert [host for host in left_out if pattern.covers(host)] == []


@pytest.mark.attack("an address under a pattern with a star", expect="neutralise", topic="authority", motive="RFC 9525 §6.4")
@pytest.mark.parametrize("pattern", [HostPattern("one_label", "0.2.7"), HostPattern("any_depth", "2.7")])
def test_a_wildcard_never_covers_an_address(pattern: HostPattern) -> None:
    """The numbers of a dotted quad are not labels."""
    assert not pattern.covers("192.0.2.7")
    assert pattern.covers("host.0.2.7")


@pytest.mark.parametrize("text", ["api.example.com", "*.example.com", "**.example.com", "192.0.2.7", "2001:db8::1"])
def test_a_pattern_prints_as_it_is_read(text: str) -> None:
    """The label of a rule is the operator's own entry."""
    assert str(parse_pattern(text)) == text
