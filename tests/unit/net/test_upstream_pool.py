"""Idle connections, handed out only under the very rule they were verified under."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from pinproxy.authority import Authority
from pinproxy.limits import Limits
from pinproxy.net.deadlines import Deadlines
from pinproxy.net.upstream_pool import UpstreamPool
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable
from tests.harness.pki import make_root
from tests.harness.running import HOST, host_rule

ROOT = make_root()
AUTHORITY = Authority(HOST, 443)


class Connection:
    """A connection that can only be opened and closed."""

    def __init__(self, rule: HostRule | None, authority: Authority = AUTHORITY) -> None:
        self.authority = authority
        self.rule = rule
        self.deadline = float("inf")
        self.is_open = True

    def close(self) -> None:
        """Close."""
        self.is_open = False

    def expire(self) -> None:
        """Close."""
        self.close()


def pinned() -> HostRule:
    """Make a rule: equal to the others it makes, and another object."""
    return host_rule([ROOT.pin], ROOT.anchors)


@pytest.fixture
async def pool() -> AsyncIterator[UpstreamPool[Connection]]:
    """Make a pool of two per authority."""
    deadlines = Deadlines()
    yield UpstreamPool(Limits(pool_idle_connections=2), deadlines)
    deadlines.close()


async def test_a_connection_goes_back_to_the_rule_it_came_from(pool: UpstreamPool[Connection]) -> None:
    """The last one in is the first one out; the others may grow old."""
    rule = pinned()
    first, second = Connection(rule), Connection(rule)
    for connection in (first, second):
        pool.put(connection, rule)
    assert len(pool) == 2
    assert [pool.take(AUTHORITY, rule) for _ in range(3)] == [second, first, None]
    assert first.is_open


async def test_an_equal_rule_that_is_another_object_gets_nothing(pool: UpstreamPool[Connection]) -> None:
    """Only `retire` says that two rules are the same; until it has, what was verified under the old one is closed."""
    old, new = pinned(), pinned()
    connection = Connection(old)
    pool.put(connection, old)
    assert old == new
    assert pool.take(AUTHORITY, new) is None
    assert not connection.is_open


@pytest.mark.parametrize("asked", [Authority(HOST, 8443), Authority("other.example.test", 443)])
async def test_another_authority_gets_nothing(pool: UpstreamPool[Connection], asked: Authority) -> None:
    """One rule may cover many hosts; a connection leads to one of them."""
    rule = host_rule([ROOT.pin], ROOT.anchors, host="**.example.test")
    connection = Connection(rule)
    pool.put(connection, rule)
    assert pool.take(asked, rule) is None
    assert pool.take(AUTHORITY, rule) is connection


async def test_a_verified_connection_is_not_one_in_clear(pool: UpstreamPool[Connection]) -> None:
    """No rule is a rule of its own, in both directions."""
    rule = pinned()
    verified, clear = Connection(rule), Connection(None)
    pool.put(verified, rule)
    assert pool.take(AUTHORITY, None) is None
    pool.put(clear, None)
    assert pool.take(AUTHORITY, rule) is None
    assert (verified.is_open, clear.is_open) == (False, False)


async def test_a_connection_whose_rule_was_replaced_meanwhile_is_closed(pool: UpstreamPool[Connection]) -> None:
    """It was in use during the reload."""
    connection = Connection(pinned())
    pool.put(connection, pinned())
    assert (connection.is_open, len(pool)) == (False, 0)


async def test_more_than_the_limit_are_closed(pool: UpstreamPool[Connection]) -> None:
    """`limits.pool_idle_connections`, for each authority."""
    rule = pinned()
    connections = [Connection(rule) for _ in range(3)]
    for connection in connections:
        pool.put(connection, rule)
    assert [connection.is_open for connection in connections] == [True, True, False]
    assert len(pool) == 2


@pytest.mark.parametrize("limit", [0, 1])
async def test_a_limit_of_none_keeps_none(limit: int) -> None:
    """`pool_idle_connections: 0` means a new connection, and a new handshake, for each request."""
    deadlines = Deadlines()
    pool = UpstreamPool[Connection](Limits(pool_idle_connections=limit), deadlines)
    connection = Connection(pinned())
    pool.put(connection, connection.rule)
    assert (len(pool), connection.is_open) == (limit, limit == 1)
    deadlines.close()


async def test_retiring_moves_what_is_equal_and_closes_what_is_not(pool: UpstreamPool[Connection]) -> None:
    """A reload that leaves a rule as it was costs its host nothing."""
    kept, dropped, gone = pinned(), *(host_rule([ROOT.pin], ROOT.anchors, host=host) for host in ("b.test", "c.test"))
    connections = [Connection(kept), Connection(dropped, Authority("b.test", 443)), Connection(gone, Authority("c.test", 443))]
    for connection, rule in zip(connections, (kept, dropped, gone), strict=True):
        pool.put(connection, rule)
    renewed = pinned()
    pool.retire(PolicyTable((renewed, replace(dropped, mode="report-only"))))
    assert [connection.is_open for connection in connections] == [True, False, False]
    assert [connection.rule is renewed for connection in connections] == [True, False, False]


async def test_what_was_retired_into_a_rule_is_handed_out_under_it(pool: UpstreamPool[Connection]) -> None:
    """And under no other."""
    old, new = pinned(), pinned()
    connection = Connection(old)
    pool.put(connection, old)
    pool.retire(PolicyTable((new,)))
    assert pool.take(AUTHORITY, new) is connection
    assert connection.rule is new


async def test_what_has_closed_by_itself_is_forgotten(pool: UpstreamPool[Connection]) -> None:
    """The origin ends idle connections too; one that is not in the pool is fine."""
    rule = pinned()
    connection = Connection(rule)
    pool.remove(connection)
    pool.put(connection, rule)
    pool.remove(connection)
    assert pool.take(AUTHORITY, rule) is None


async def test_nothing_is_kept_of_an_authority_without_connections(pool: UpstreamPool[Connection]) -> None:
    """A client that asks for 100,000 names under one pattern costs no memory that stays."""
    rule = host_rule([ROOT.pin], ROOT.anchors, host="**.example.test")
    for number in range(20):
        authority = Authority(f"h{number}.example.test", 443)
        pool.put(Connection(rule, authority), rule)
        assert pool.take(authority, rule) is not None
        assert pool.take(authority, rule) is None
        pool.put(Connection(pinned(), authority), rule)
    assert dict(pool._idle) == {}


async def test_closing_closes_all(pool: UpstreamPool[Connection]) -> None:
    """For the drain."""
    rule = pinned()
    connections = [Connection(rule), Connection(rule)]
    for connection in connections:
        pool.put(connection, rule)
    pool.close()
    assert ([connection.is_open for connection in connections], len(pool)) == ([False, False], 0)
