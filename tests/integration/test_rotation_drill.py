"""The rotation drill: a server renews in every way there is, and the proxy says each time what that was and what to do.

::

    ROOT                                                        OTHER_ROOT
     ├─ ISSUER                                                   └─ FOREIGN
     │   ├─ LEAF      pinned     ├─ RENEWED  LEAF's key
     │   ├─ BACKUP    pinned, a key from the safe
     │   └─ NEW_KEY
     └─ SECOND
         └─ MOVED                MOVED_KEY  LEAF's key
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest

from pinproxy.authority import Authority
from pinproxy.net.listener import ListenAddress
from pinproxy.pins.pin import Pin
from pinproxy.policy.rule import Mode, TrustAnchors
from pinproxy.policy.table import PolicyTable
from pinproxy.proxy.route import Route
from pinproxy.tls.alert import AlertDescription, alert
from tests.harness.clients import (
    connect,
    connect_head,
    get_head,
    intercept,
    open_intercepted,
    originate,
    read_answer,
    read_to_end,
)
from tests.harness.origin import read_request, running_origin
from tests.harness.originating import ok
from tests.harness.pki import Issued, make_intermediate, make_leaf, make_root
from tests.harness.routes import ANY_PORT, connect_to
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy
from tests.harness.tunnelling import TLS12, client_hello, hear, origin_context

ROOT, OTHER_ROOT = make_root("Example Root"), make_root("Another Root")
ISSUER, SECOND = make_intermediate(ROOT, "Example CA R13"), make_intermediate(ROOT, "Example CA R14")
LEAF, BACKUP, NEW_KEY = make_leaf(ISSUER, HOST), make_leaf(ISSUER, HOST), make_leaf(ISSUER, HOST)
RENEWED, MOVED_KEY = make_leaf(ISSUER, HOST, key=LEAF.key), make_leaf(SECOND, HOST, key=LEAF.key)
MOVED, FOREIGN = make_leaf(SECOND, HOST), make_leaf(OTHER_ROOT, HOST)
BOTH = TrustAnchors("both roots", (ROOT.der, OTHER_ROOT.der))
PINS = (LEAF.pin, BACKUP.pin)

GOOD = [LEAF, RENEWED, BACKUP]
BAD = [
    (NEW_KEY, "new_key_same_issuer", f"if the renewal is yours, add the leaf line to the pins of host {HOST}"),
    (MOVED, "new_issuer_same_anchor", "if the server's owner names this key, add the leaf line"),
    (FOREIGN, "new_anchor", "do not add pins before asking"),
]
each_mode = pytest.mark.parametrize("mode", ["enforce", "report-only"])


@dataclass
class Drill:
    """A server whose certificate is exchanged while it runs, and the proxy in front of it.

    Attributes:
        proxy: The proxy.
        port: Of the server.
        leaf: What the server shows from the next connection on.
        asked: How many connections have ended.
    """

    proxy: RunningProxy
    port: int
    leaf: Issued
    asked: int = 0

    async def originate(self, leaf: Issued) -> tuple[dict[str, Any], dict[str, Any]]:
        """Let the server show a certificate, and ask for `/`; returns the log line, and the problem document if there is one."""
        self.leaf = leaf
        answer = await asyncio.to_thread(originate, self.proxy)
        return await self._line(), answer.problem if answer.code else {}

    async def tunnel(self, leaf: Issued) -> tuple[dict[str, Any], dict[str, Any]]:
        """Do the same through a tunnel, with a client that speaks TLS 1.2 and trusts every CA of this file."""
        self.leaf = leaf
        problem = await asyncio.to_thread(self._fetch)
        return await self._line(), problem

    def _fetch(self) -> dict[str, Any]:
        with connect(self.proxy) as sock:
            sock.sendall(connect_head())
            answer = read_answer(sock)
            if answer.code is not None:
                return answer.problem
            with trusting_client().wrap_socket(sock, server_hostname=HOST) as tls:
                tls.sendall(get_head("/"))
                assert read_answer(tls).status == 200
                return {}

    async def _line(self) -> dict[str, Any]:
        self.asked += 1
        return await self.proxy.connection(self.asked - 1, self.asked)


@lru_cache
def context_of(leaf: Issued) -> ssl.SSLContext:
    """Make the context of a server that shows this leaf, once."""
    return origin_context(leaf, newest=TLS12)


def trusting_client() -> ssl.SSLContext:
    """Make a client for whom any of these chains will do: only pins tell them apart."""
    return ssl.create_default_context(cadata=(ROOT.pem + OTHER_ROOT.pem).decode("ascii"))


async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request and close, so that the next one shakes hands anew."""
    await read_request(reader)
    writer.write(ok(b"done", "Connection: close"))
    await writer.drain()


def say(address: ListenAddress) -> bytes:
    """Send a GET to a port, and read until the end or a cut."""
    with connect_to(address) as sock, suppress(ConnectionResetError):
        sock.sendall(get_head("/"))
        return read_to_end(sock)
    return b""


@asynccontextmanager
async def drill(pins: Sequence[Pin] = PINS, routes: tuple[Route, ...] = (), **rule: Any) -> AsyncIterator[Drill]:
    """Run both; no preflight serves two tunnels."""
    stage: Drill
    async with (
        running_origin(lambda _number: context_of(stage.leaf), answer_once) as origin,
        running_proxy(host_rule(pins, BOTH, port=origin.port, **rule), preflight_ttl_seconds=0.0, routes=routes) as proxy,
    ):
        stage = Drill(proxy, origin.port, LEAF)
        yield stage


def assert_mismatch(line: dict[str, Any], problem: dict[str, Any], mode: Mode, mismatch: str, advice: str) -> None:
    """Check what is promised of a mismatch: the act follows the mode; verdict, class and advice do not."""
    decision = "deny" if mode == "enforce" else "allow_and_report"
    assert (line["verdict"], line["code"], line["decision"]) == ("no_match", "pin_mismatch", decision)
    assert line["mismatch_class"] == mismatch
    assert f"\n  to do     {advice}" in line["detail"]
    assert problem.get("mismatch_class") == (mismatch if mode == "enforce" else None)
    assert problem.get("detail", line["detail"]) == line["detail"]


@each_mode
async def test_a_rotation_in_origination_has_the_promised_verdict_class_and_advice(mode: Mode) -> None:
    """Pinned keys match whoever renewed them; every other way is told from every other, and none becomes the new normal."""
    async with drill(mode=mode) as stage:
        for leaf in GOOD:
            line, problem = await stage.originate(leaf)
            assert (line["verdict"], line["mismatch_class"], problem) == ("matched", None, {})
        for leaf, mismatch, advice in BAD:
            assert_mismatch(*await stage.originate(leaf), mode, mismatch, advice)
        counted = stage.proxy.metrics.rules[HOST].mismatches
        assert {name: count for name, count in counted.items() if count} == {mismatch: 1 for _, mismatch, _ in BAD}
        assert (await stage.originate(BACKUP))[0]["verdict"] == "matched"


@each_mode
async def test_a_rotation_in_a_tunnel_has_the_promised_verdict_class_and_advice(mode: Mode) -> None:
    """The same under TLS 1.2 of the client's own, where it is the wire that is judged, or the preflight before it."""
    async with drill(mode=mode, connect="tunnel", tls13="refuse") as stage:
        for leaf in (LEAF, BACKUP):
            line, _ = await stage.tunnel(leaf)
            assert (line["verdict"], line["mismatch_class"]) == ("matched", None)
        for leaf, mismatch, advice in BAD:
            assert_mismatch(*await stage.tunnel(leaf), mode, mismatch, advice)


@each_mode
async def test_a_key_that_is_kept_under_a_new_issuer_is_called_so_where_only_the_issuer_is_pinned(mode: Mode) -> None:
    """`same_key_renewed`: the pins speak of the CA, and whoever answers holds the key that was good."""
    async with drill((ISSUER.pin,), mode=mode) as stage:
        assert (await stage.originate(LEAF))[0]["verdict"] == "matched"
        assert_mismatch(*await stage.originate(MOVED_KEY), mode, "same_key_renewed", "if the pins were not meant")


@each_mode
async def test_a_host_that_never_matched_is_called_so_however_often_it_is_met(mode: Mode) -> None:
    """`never_seen`: what report-only lets pass vouches for nothing."""
    async with drill((BACKUP.pin,), mode=mode) as stage:
        for _ in range(2):
            assert_mismatch(*await stage.originate(LEAF), mode, "never_seen", "have the server's owner name the key")


async def test_in_interception_the_refused_connect_carries_the_class() -> None:
    """The client has no tunnel yet, and is answered in HTTP."""
    async with drill() as stage:
        assert (await asyncio.to_thread(intercept, stage.proxy)).status == 200
        stage.leaf = FOREIGN
        answer = await asyncio.to_thread(intercept, stage.proxy)
        line = await stage.proxy.connection(1, 2)
        assert_mismatch(line, answer.problem, "enforce", "new_anchor", "do not add pins before asking")


async def test_on_a_route_of_bytes_the_client_is_cut_and_the_log_line_has_the_class() -> None:
    """Its protocol is not known, so nobody can be told why but the log."""
    route = Route(ANY_PORT, Authority(HOST, 443), "tcp")
    async with drill(routes=(route,)) as stage:
        (address,) = stage.proxy.server.route_addresses
        assert b"done" in await asyncio.to_thread(say, address)
        stage.leaf = NEW_KEY
        assert await asyncio.to_thread(say, address) == b""
        line = await stage.proxy.connection(1, 2)
        assert (line["mode"], line["code"], line["mismatch_class"]) == ("route", "pin_mismatch", "new_key_same_issuer")


async def test_a_certificate_that_only_the_wire_of_a_tunnel_shows_is_classed() -> None:
    """The preflight was good and stays the last good chain; what the client was about to get is held against it."""
    async with (
        running_origin(lambda number: context_of(NEW_KEY if number else LEAF)) as origin,
        running_proxy(host_rule(PINS, BOTH, port=origin.port, connect="tunnel", tls13="refuse")) as proxy,
    ):
        assert await hear(proxy, client_hello(trusting_client())) == alert(AlertDescription.BAD_CERTIFICATE)
        line = await proxy.connection()
        assert (line["code"], line["assurance"], line["mismatch_class"]) == ("pin_mismatch", "full", "new_key_same_issuer")


async def test_a_mismatch_beside_an_open_connection_is_held_against_its_chain() -> None:
    """A good chain counts from its handshake on, and not from the end of its connection; a reload that cuts it says why."""
    async with drill() as stage:
        with await asyncio.to_thread(open_intercepted, stage.proxy) as tls:
            line, problem = await stage.originate(NEW_KEY)
            assert_mismatch(line, problem, "enforce", "new_key_same_issuer", "if the renewal is yours")
            stage.proxy.server.swap(PolicyTable((host_rule([MOVED.pin], BOTH, port=stage.port),)))
            with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                await asyncio.to_thread(tls.recv, 1)
        line = await stage.proxy.connection(1, 2)
        assert (line["code"], line["mismatch_class"]) == ("pin_mismatch", "same_key_renewed")
        assert "same certificate as before: the server did not change, the pins did" in line["detail"]


async def test_a_chain_that_no_pin_was_asked_about_is_good_until_one_was() -> None:
    """Under `mode: disabled` a valid chain is all there is to compare with later."""
    async with drill(mode="disabled") as stage:
        assert (await stage.originate(LEAF))[0]["verdict"] == "not_pinned"
        stage.proxy.server.swap(PolicyTable((host_rule([MOVED.pin], BOTH, port=stage.port),)))
        assert_mismatch(*await stage.originate(NEW_KEY), "enforce", "new_key_same_issuer", "if the renewal is yours")
