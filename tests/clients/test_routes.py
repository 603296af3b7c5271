"""Clients that know no proxy, through routes: redis-cli, psql, and curl over a UNIX socket."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pinproxy.authority import Authority
from pinproxy.net.listener import ListenAddress
from pinproxy.net.unix_socket import UnixAddress
from pinproxy.proxy.route import Route, RouteProtocol
from tests.clients.databases import passing_on_to, running_postgres, running_redis
from tests.clients.processes import Outcome, run_process
from tests.clients.stage import BROKEN_PROMISES, Promise, kept_promise
from tests.harness.origin import Origin, answer_bodies, body_of, running_origin
from tests.harness.pki import server_context
from tests.harness.routes import ANY_PORT
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}


@contextlib.asynccontextmanager
async def routed(
    promise: Promise, origin_port: int, protocol: RouteProtocol = "tcp", listen: ListenAddress = ANY_PORT
) -> AsyncIterator[tuple[RunningProxy, str]]:
    """Run a proxy with one route to HOST; yields it and the port, as text."""
    rule = host_rule([promise.pin], promise.root.anchors, port=origin_port)
    async with running_proxy(rule, routes=(Route(listen, Authority(HOST, 443), protocol),)) as proxy:
        (address,) = proxy.server.route_addresses
        yield proxy, str(address.port) if isinstance(address, Authority) else ""


async def assert_denied(proxy: RunningProxy, origin: Origin, code: str) -> None:
    """Assert that every attempt was denied for this reason, and that the impostor has not one byte."""
    await proxy.connection()
    assert {(line["mode"], line["decision"], line["code"]) for line in proxy.connections} == {("route", "deny", code)}
    await origin.quiet()
    assert (origin.connections > 0, bytes(origin.received)) == (True, b"")


# --- redis-cli ------------------------------------------------------------------------------------------------------------


async def redis_cli(port: str, *command: str, stdin: bytes = b"") -> Outcome:
    """Run redis-cli without a word of TLS."""
    return await run_process(["redis-cli", "-p", port, *command], ENVIRONMENT, stdin)


@pytest.mark.needs_tool("redis-server", "redis-cli")
async def test_redis_cli_reaches_a_redis_with_tls(tmp_path: Path) -> None:
    """No ALPN, no HTTP; one value, and many commands in one stream (`--pipe`)."""
    promise = kept_promise()
    async with running_redis(tmp_path, promise.leaf) as redis, routed(promise, redis) as (proxy, port):
        value = "x" * 100_000
        assert (await redis_cli(port, "-x", "SET", "key", stdin=value.encode())).stdout == "OK\n"
        assert (await redis_cli(port, "GET", "key")).stdout == f"{value}\n"
        piped = await redis_cli(port, "--pipe", stdin=b"".join(b"SET many:%d %d\r\n" % (n, n) for n in range(5000)))
        assert "errors: 0, replies: 5000" in piped.stdout
        assert (await redis_cli(port, "DBSIZE")).stdout == "5001\n"
        await proxy.connection(count=4)
        told = {(line["mode"], line["verdict"], line["alpn"], line["code"]) for line in proxy.connections}
        assert told == {("route", "matched", None, None)}


@pytest.mark.needs_tool("redis-cli")
@pytest.mark.parametrize("code", BROKEN_PROMISES)
async def test_redis_cli_gets_nowhere_near_an_impostor(code: str) -> None:
    """Not a command, not a password: the connection is cut before a byte of it was read."""
    promise = BROKEN_PROMISES[code]()
    async with (
        running_origin(server_context(promise.leaf)) as impostor,
        routed(promise, impostor.port) as (proxy, port),
    ):
        outcome = await redis_cli(port, "-a", "s3cret", "--no-auth-warning", "GET", "key")
        assert outcome.code != 0, outcome
        await assert_denied(proxy, impostor, code)


# --- psql -----------------------------------------------------------------------------------------------------------------


async def psql(port: str, command: str) -> Outcome:
    """Run psql without a word of TLS: where the server ends it is not psql's to know."""
    where = f"host=127.0.0.1 port={port} user=app dbname=postgres sslmode=disable gssencmode=disable connect_timeout=10"
    return await run_process(["psql", "--no-psqlrc", "--tuples-only", "--no-align", "-c", command, where], ENVIRONMENT)


@pytest.mark.needs_tool("psql", "initdb")
async def test_psql_reaches_a_postgres_behind_a_tls_terminator() -> None:
    """As managed databases with a proxy in front are reached; a result of some size comes back whole."""
    promise = kept_promise()
    async with (
        running_postgres() as database,
        running_origin(server_context(promise.leaf), passing_on_to(database)) as terminator,
        routed(promise, terminator.port) as (proxy, port),
    ):
        outcome = await psql(port, "SELECT repeat('x', 1000000)")
        assert (outcome.code, len(outcome.stdout)) == (0, 1_000_001), outcome.stderr
        line = await proxy.connection()
        assert (line["mode"], line["verdict"], line["code"]) == ("route", "matched", None)


@pytest.mark.needs_tool("psql")
@pytest.mark.parametrize("code", BROKEN_PROMISES)
async def test_psql_gets_nowhere_near_an_impostor(code: str) -> None:
    """Not even the name of the user."""
    promise = BROKEN_PROMISES[code]()
    async with (
        running_origin(server_context(promise.leaf)) as impostor,
        routed(promise, impostor.port) as (proxy, port),
    ):
        outcome = await psql(port, "SELECT 1")
        assert outcome.code == 2, outcome
        await assert_denied(proxy, impostor, code)


# --- curl -----------------------------------------------------------------------------------------------------------------


@pytest.mark.needs_tool("curl")
async def test_curl_talks_to_a_route_on_a_unix_socket(tmp_path: Path) -> None:
    """`--unix-socket`: to curl it is an HTTP server; what it presents is verified behind."""
    promise, path = kept_promise(), tmp_path / "api.sock"
    async with (
        running_origin(server_context(promise.leaf), answer_bodies) as origin,
        routed(promise, origin.port, "http", UnixAddress(path)) as (proxy, _),
    ):
        command = ["curl", "--silent", "--show-error", "--unix-socket", str(path)]
        outcome = await run_process([*command, "--output", str(tmp_path / "body"), "http://localhost/200000"], ENVIRONMENT)
        assert outcome.code == 0, outcome
        assert (tmp_path / "body").read_bytes() == body_of(200_000)
        line = await proxy.connection()
        assert (line["client"], line["mode"], line["verdict"]) == ("unix", "origination", "matched")


@pytest.mark.needs_tool("curl")
@pytest.mark.parametrize("code", BROKEN_PROMISES)
async def test_curl_reads_the_reason_on_a_unix_socket(code: str, tmp_path: Path) -> None:
    """A refusal of a route of `http` is a response like any other."""
    promise, path = BROKEN_PROMISES[code](), tmp_path / "api.sock"
    async with (
        running_origin(server_context(promise.leaf)) as impostor,
        routed(promise, impostor.port, "http", UnixAddress(path)) as (proxy, _),
    ):
        command = [
            "curl",
            "--silent",
            "--unix-socket",
            str(path),
            "--write-out",
            "%header{x-pinproxy-error}",
            "--output",
            "/dev/null",
        ]
        outcome = await run_process([*command, "http://localhost/"], ENVIRONMENT)
        assert outcome.stdout == code, outcome
        assert (await proxy.connection())["code"] == code
        await impostor.quiet()
        assert bytes(impostor.received) == b""
