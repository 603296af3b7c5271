"""TLS sessions of upstreams: resumed only where the verdict of their full handshake is known, and judged anew each time."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from datetime import timedelta

import pytest

from pinproxy.authority import Authority
from pinproxy.limits import Limits
from pinproxy.net.client_contexts import client_context
from pinproxy.net.dial import Dialler
from pinproxy.net.own_addresses import OwnAddresses
from pinproxy.net.upstream import UpstreamOpener
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.rule import DialOverride
from pinproxy.policy.table import PolicyTable
from tests.harness.clients import get_head, open_intercepted, originate, read_answer
from tests.harness.origin import Handler, answer_ok, running_origin
from tests.harness.pki import NOW, Issued, make_leaf, make_root, server_context
from tests.harness.running import HOST, host_rule, running_proxy
from tests.harness.wires import Ear

ROOT = make_root()
LEAF, OTHER = make_leaf(ROOT, HOST), make_leaf(ROOT, HOST)
# Each request over a connection of its own; long enough for tests that move the clock.
LIMITS = Limits(pool_idle_connections=0, session_seconds=3600)

each_version = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
in_thread = asyncio.to_thread


def context(leaf: Issued = LEAF, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """Make an origin's context: one of its own has ticket keys of its own."""
    made = server_context(leaf)
    made.maximum_version = version
    return made


def telling(resumed: list[bool]) -> Handler:
    """Answer, and note of each connection what the server's side says of its handshake."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        resumed.append(bool(writer.get_extra_info("ssl_object").session_reused))
        await answer_ok(reader, writer)

    return serve


@each_version
@pytest.mark.parametrize("way", ["origination", "interception"])
async def test_a_session_that_was_verified_here_is_resumed_with_the_verdict_of_its_chain(
    version: ssl.TLSVersion, way: str
) -> None:
    """The log says of the second connection what it says of the first; the origin says that it was a resumed one."""
    resumed: list[bool] = []
    async with (
        running_origin(context(version=version), telling(resumed)) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port), limits=LIMITS) as proxy,
    ):

        def ask() -> int:
            if way == "origination":
                return originate(proxy).status
            # The offer that pinproxy begins with: another one would need a session of its own.
            with open_intercepted(proxy, alpn=("h2", "http/1.1")) as tls:
                tls.sendall(get_head("/"))
                return read_answer(tls).status

        assert [await in_thread(ask) for _ in range(3)] == [200, 200, 200]
        assert resumed == [False, True, True]
        await proxy.connection(count=3)
        told = {(line["verdict"], line["assurance"], line["matched_pin"], line["tls_version"]) for line in proxy.connections}
        assert told == {("matched", "full", str(LEAF.pin), version.name.replace("_", "."))}


@pytest.mark.parametrize("seconds", [0, 3600])
async def test_no_session_is_resumed_where_none_may_be_kept(seconds: int) -> None:
    """`limits.session_seconds: 0`, and its twin."""
    resumed: list[bool] = []
    async with (
        running_origin(context(), telling(resumed)) as origin,
        running_proxy(
            host_rule([LEAF.pin], ROOT.anchors, port=origin.port),
            limits=dataclasses.replace(LIMITS, session_seconds=seconds),
        ) as proxy,
    ):
        assert [(await in_thread(originate, proxy)).status for _ in range(2)] == [200, 200]
        assert resumed == [False, seconds > 0]


@pytest.mark.attack(
    "a resumed session that was verified under pins that have been replaced",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2025-68121, CVE-2022-21654",
)
@pytest.mark.parametrize("pinned", [None, LEAF, OTHER], ids=["the very same rule", "the same pins", "other pins"])
async def test_a_reload_forgets_every_session(pinned: Issued | None) -> None:
    """Whatever the new table says: the next handshake is a full one, and its certificate meets the pins now in force."""
    resumed: list[bool] = []
    async with (
        running_origin(context(), telling(resumed)) as origin,
        running_proxy(rule := host_rule([LEAF.pin], ROOT.anchors, port=origin.port), limits=LIMITS) as proxy,
    ):
        assert [(await in_thread(originate, proxy)).status for _ in range(2)] == [200, 200]
        received = bytes(origin.received)
        proxy.server.swap(PolicyTable((host_rule([pinned.pin], ROOT.anchors, port=origin.port) if pinned is not None else rule,)))
        answer = await in_thread(originate, proxy)
        await origin.quiet()
        assert answer.code == ("pin_mismatch" if pinned is OTHER else None)
        assert resumed == [False, True, False]
        assert (bytes(origin.received) == received) is (pinned is OTHER)


@pytest.mark.attack(
    "a resumed session whose pin has run out since its full handshake",
    expect="pin_mismatch",
    topic="pins",
)
@each_version
async def test_the_pins_are_held_against_a_resumed_session_at_the_time_of_now(version: ssl.TLSVersion) -> None:
    """A pin that ends in between: the handshake is a resumed one, what is known of it is denied, and it is not offered again."""
    resumed: list[bool] = []
    times = [NOW]
    pin = dataclasses.replace(LEAF.pin, not_after=NOW + timedelta(minutes=2))
    async with running_origin(context(version=version), telling(resumed)) as origin:
        rule = host_rule([LEAF.pin], ROOT.anchors, port=origin.port)
        rule = dataclasses.replace(rule, pin_set=PinSet("pins", (pin, OTHER.pin)))
        async with running_proxy(rule, limits=LIMITS, clock=lambda: times[0]) as proxy:
            codes = []
            received = []
            for minutes in (0, 1, 3, 3):
                times[0] = NOW + timedelta(minutes=minutes)
                codes.append((await in_thread(originate, proxy)).code)
                received.append(len(origin.received))
        await origin.quiet()
        assert codes == [None, None, "pin_mismatch", "pin_mismatch"]
        assert resumed == [False, True, True, False]
        assert received[1] == received[2] == received[3]


@pytest.mark.attack("a resumed session whose certificate has expired since", expect="certificate_expired", topic="certificates")
async def test_a_session_is_not_offered_beyond_its_certificate() -> None:
    """Before the end of the leaf it is resumed; after it the server is asked for another, and has none."""
    resumed: list[bool] = []
    times = [NOW]
    leaf = make_leaf(ROOT, HOST, not_after=NOW + timedelta(minutes=30))
    async with (
        running_origin(context(leaf), telling(resumed)) as origin,
        running_proxy(host_rule([leaf.pin], ROOT.anchors, port=origin.port), limits=LIMITS, clock=lambda: times[0]) as proxy,
    ):
        codes = []
        for minutes in (0, 29, 31):
            times[0] = NOW + timedelta(minutes=minutes)
            codes.append((await in_thread(originate, proxy)).code)
        await origin.quiet()
        assert codes == [None, None, "certificate_expired"]
        assert resumed == [False, True, False]


async def test_a_session_lasts_no_longer_than_the_limit_and_then_is_made_anew() -> None:
    """`limits.session_seconds` counts from the full handshake, however often it was resumed; a clock set back ends it as well."""
    resumed: list[bool] = []
    times = [NOW]
    async with (
        running_origin(context(), telling(resumed)) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port), limits=LIMITS, clock=lambda: times[0]) as proxy,
    ):
        for minutes in (0, 40, 59, 61, 62, 10):
            times[0] = NOW + timedelta(minutes=minutes)
            assert (await in_thread(originate, proxy)).status == 200
        assert resumed == [False, True, True, False, True, False]


@pytest.mark.attack("a session of one host, offered to another", expect="neutralise", topic="pins", motive="CVE-2025-13034")
async def test_a_session_of_one_host_is_never_offered_to_another() -> None:
    """Two names of one rule, one certificate and one server: it would resume either."""
    resumed: list[bool] = []
    names = ("a.example.test", "b.example.test")
    leaf = make_leaf(ROOT, *names)
    async with (
        running_origin(context(leaf), telling(resumed)) as origin,
        running_proxy(host_rule([leaf.pin], ROOT.anchors, host="*.example.test", port=origin.port), limits=LIMITS) as proxy,
    ):
        for name in (*names, names[0]):
            assert (await in_thread(originate, proxy, name)).status == 200
        assert resumed == [False, False, True]


async def test_a_server_that_does_not_resume_is_not_asked_to_again() -> None:
    """Each connection meets another ticket key, and none fails for that."""
    resumed: list[bool] = []
    async with (
        running_origin(lambda _number: context(), telling(resumed)) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port), limits=LIMITS) as proxy,
    ):
        assert [(await in_thread(originate, proxy)).status for _ in range(3)] == [200, 200, 200]
        assert resumed == [False, False, False]


async def test_who_comes_to_look_at_the_certificate_is_shown_it() -> None:
    """A preflight and `pinproxy verify` open at a destination, and resume nothing; the twin is a connection that may."""
    rule = host_rule([LEAF.pin], ROOT.anchors)
    async with running_origin(context(version=ssl.TLSVersion.TLSv1_2)) as origin:
        dialler = Dialler(LIMITS, OwnAddresses())
        opener = UpstreamOpener(dialler, LIMITS, lambda: NOW)
        authority, way, ear = Authority(HOST, 443), DialOverride("127.0.0.1", origin.port), Ear()
        for _ in range(2):
            upstream = await opener.open(authority, rule, (), ear, way)
            upstream.keep_session()  # in TLS 1.2 it is there with the handshake
            upstream.sock.close()
        roots = client_context(rule.trust, rule.min_tls, (), rule.client_cert)
        looking = await opener.open_at(await opener.find(authority, rule, way), rule, roots, (), ear)
        looking.sock.close()
        assert [heard.facts.is_resumed for heard in ear.heard] == [False, True, False]


@pytest.mark.attack("an impostor that answers for a server whose session is offered", expect="pin_mismatch", topic="pins")
async def test_an_impostor_cannot_resume_what_another_server_began() -> None:
    """It does not have the session's secret, so it has to show its certificate."""
    resumed: list[bool] = []
    good = context()
    async with (
        running_origin(lambda number: good if number != 1 else context(OTHER), telling(resumed)) as origin,
        running_proxy(host_rule([LEAF.pin], ROOT.anchors, port=origin.port), limits=LIMITS) as proxy,
    ):
        codes = [(await in_thread(originate, proxy)).code for _ in range(3)]
        await origin.quiet()
        assert codes == [None, "pin_mismatch", None]
        assert resumed == [False, False, False]
