"""Which rule a host meets, and which rules may not stand side by side."""

from __future__ import annotations

import pytest

from pinproxy.authority import Authority
from pinproxy.policy.pattern import parse_pattern
from pinproxy.policy.rule import HostRule, TrustAnchors
from pinproxy.policy.table import Collision, PolicyTable, find_collisions

ROOTS = TrustAnchors("system", (b"root",))


def rule(host: str, *ports: int) -> HostRule:
    """Make a rule that is told apart by pattern and ports alone."""
    return HostRule(parse_pattern(host), "disabled", None, ROOTS, frozenset(ports))


def met(table: PolicyTable, host: str, port: int = 443) -> str | None:
    """Look a host up and name the rule it meets."""
    found = table.lookup(Authority(host, port))
    return found.label if found else None


@pytest.mark.attack(
    "a host that several rules cover: the most specific decides",
    expect="neutralise",
    topic="authority",
    motive="Android's nested_domains.xml",
)
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.x.com", "a.x.com"),
        ("b.x.com", "*.x.com"),
        ("x.com", "**.x.com"),
        ("c.b.x.com", "**.b.x.com"),
        ("b.a.x.com", "**.x.com"),
        ("d.c.b.x.com", "**.b.x.com"),
        ("ax.com", None),
        ("com", None),
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.8", None),
    ],
)
def test_exact_beats_one_label_beats_any_depth_and_the_longest_wins(host: str, expected: str | None) -> None:
    """The order of the configuration does not matter."""
    rules = tuple(rule(text) for text in ("**.x.com", "*.x.com", "**.b.x.com", "a.x.com", "192.0.2.7"))
    for order in (rules, rules[::-1]):
        assert met(PolicyTable(order), host) == expected


def test_a_rule_for_other_ports_leaves_the_port_to_a_wider_pattern() -> None:
    """A host with an entry for 443 is still covered on 8443 by the pattern around it."""
    table = PolicyTable((rule("a.x.com", 443), rule("**.x.com")))
    assert met(table, "a.x.com", 443) == "a.x.com:443"
    assert met(table, "a.x.com", 8443) == "**.x.com"


def test_a_rule_that_names_the_port_beats_one_for_every_port() -> None:
    """Of two rules with one pattern the narrower wins, in either order."""
    rules = (rule("x.com"), rule("x.com", 8443))
    for order in (rules, rules[::-1]):
        assert met(PolicyTable(order), "x.com", 8443) == "x.com:8443"
        assert met(PolicyTable(order), "x.com", 443) == "x.com"


def test_the_rules_of_a_host_come_in_the_order_in_which_they_are_asked() -> None:
    """Whoever explains the winner explains the others too; rules for other ports are among them."""
    table = PolicyTable((rule("**.x.com"), rule("a.x.com"), rule("a.x.com", 8443), rule("*.x.com", 443), rule("*.y.com")))
    assert [found.label for found in table.rules_for("a.x.com")] == ["a.x.com:8443", "a.x.com", "*.x.com:443", "**.x.com"]


def test_an_empty_table_lists_no_host_and_denies() -> None:
    """Nothing configured is nothing allowed."""
    table = PolicyTable(())
    assert met(table, "x.com") is None
    assert table.unlisted == "deny"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (rule("x.com"), rule("x.com")),
        (rule("x.com", 443), rule("x.com", 443, 8443)),
        (rule("*.x.com"), rule("*.X.com.")),
    ],
)
def test_two_rules_for_one_host_and_port_collide(first: HostRule, second: HostRule) -> None:
    """Which of them wins would depend on their order, so neither does."""
    assert find_collisions((first, second)) == (Collision(first, second),)


def test_rules_that_differ_in_pattern_or_port_do_not_collide() -> None:
    """The twin: every pair here has a winner by the order of precedence."""
    rules = (rule("x.com"), rule("x.com", 443), rule("x.com", 8443), rule("*.x.com"), rule("**.x.com"))
    assert find_collisions(rules) == ()


def test_each_colliding_rule_is_found_once() -> None:
    """Three equal rules are two collisions, both with the first."""
    rules = (rule("x.com"), rule("x.com"), rule("x.com"))
    assert len(find_collisions(rules)) == 2


@pytest.mark.attack(
    "hosts, ports and ALPN offers without end, to fill what is remembered of each of them", expect="bound", topic="resources"
)
def test_answers_are_remembered_up_to_a_bound() -> None:
    """Clients choose the hosts and ports that a table is asked for."""
    table = PolicyTable((rule("**.x.com", 443),), "allow")
    for port in range(1, 5001):
        assert met(table, "y.x.com", port) == ("**.x.com:443" if port == 443 else None)
    assert len(table._found) <= 4096
    assert met(table, "y.x.com") == "**.x.com:443"
