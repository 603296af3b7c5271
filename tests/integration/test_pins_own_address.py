"""The proxy never connects to itself, by whatever name or address it is asked to."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from pinproxy.authority import Authority
from tests.harness.clients import Answer, Way, connect, each_way, get_head, intercept, read_answer
from tests.harness.configured import configured_proxy
from tests.harness.origin import running_origin
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
RULE = host_rule([LEAF.pin], ROOT.anchors)


async def ask_at(way: Way, proxy: RunningProxy, port: int, host: str = HOST) -> Answer:
    """Ask for a host at a port."""

    def originate() -> Answer:
        with connect(proxy) as client:
            client.sendall(get_head(f"http://{host}:{port}/", f"{host}:{port}", further="Connection: close\r\n"))
            return read_answer(client)

    def tunnel() -> Answer:
        return intercept(proxy, host, port=port)

    return await asyncio.to_thread(originate if way == "origination" else tunnel)


@pytest.mark.attack(
    "a name or an address that leads back to the proxy, in any notation",
    expect="loop_detected",
    topic="authority",
    motive="RFC 9110 §7.6.3; a fix in smokescreen (eae8104)",
)
@each_way
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::", "::ffff:0.0.0.0"])  # noqa: S104
async def test_a_name_that_leads_back_here_is_a_loop(way: Way, address: str) -> None:
    """Linux connects the unspecified addresses to loopback, and an IPv4-mapped one to its IPv4 node."""
    async with running_proxy(RULE, addresses={HOST: address}) as proxy:
        answer = await ask_at(way, proxy, proxy.port)
        assert (answer.status, answer.code) == (403, "loop_detected")
        assert (await proxy.connection())["code"] == "loop_detected"
        assert proxy.resolved == [HOST]


@pytest.mark.attack(
    "a name or an address that leads back to the proxy, in any notation",
    expect="loop_detected",
    topic="authority",
    motive="RFC 9110 §7.6.3; a fix in smokescreen (eae8104)",
)
@each_way
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]", "[::]"])  # noqa: S104
async def test_an_address_that_leads_back_here_is_a_loop(way: Way, host: str) -> None:
    """The same without a name; the addresses are listed, so that nothing but the loop stands in the way."""
    rules = [host_rule([LEAF.pin], ROOT.anchors, host=name) for name in ("127.0.0.1", "0.0.0.0", "::")]  # noqa: S104
    async with running_proxy(*rules) as proxy:
        answer = await ask_at(way, proxy, proxy.port, host)
        assert (answer.status, answer.code) == (403, "loop_detected")


@pytest.mark.attack(
    "the admin server, asked for through the proxy",
    expect="loop_detected",
    topic="authority",
    motive="CVE-2018-14505",
)
@each_way
async def test_the_admin_address_is_our_own_as_well(way: Way) -> None:
    """What `never_dial` names is no destination: nobody reaches the admin server through the proxy."""
    async with running_origin(server_context(LEAF)) as admin:
        async with running_proxy(RULE, addresses={HOST: "127.0.0.1"}) as proxy:
            proxy.server.never_dial(Authority("127.0.0.1", admin.port))
            assert (await ask_at(way, proxy, admin.port)).code == "loop_detected"
        assert admin.connections == 0


@pytest.mark.attack(
    "the admin server, asked for through the proxy",
    expect="loop_detected",
    topic="authority",
    motive="CVE-2018-14505",
)
async def test_what_a_configuration_listens_on_is_never_dialled(tmp_path: Path) -> None:
    """The whole program says so of its admin server and of its routes, even where private addresses are allowed."""
    preamble = "version: 1\nlisten: [127.0.0.1:0]\nadmin: 127.0.0.1:0\nlocal_ca: {publish: null}\nlog: {format: json}\n"
    text = f"""
unlisted: allow
limits: {{allow_private: true}}
hosts: [{{host: {HOST}, allow_single_pin: true, pins: ["{LEAF.pin}"]}}]
routes: [{{listen: 127.0.0.1:0, to: "{HOST}:443", protocol: tcp}}]
"""
    async with configured_proxy(tmp_path, text, preamble=preamble) as running:
        for own in (running.app.admin_address, *running.app.server.route_addresses):
            answer = await asyncio.to_thread(_get, running.port, f"{own}")
            assert (answer.status, answer.code) == (403, "loop_detected")


def _get(port: int, authority: str) -> Answer:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(get_head(f"http://{authority}/metrics", authority))
        return read_answer(client)


@each_way
async def test_the_same_address_at_another_port_is_no_loop(way: Way) -> None:
    """The twin of them all."""
    async with running_origin(server_context(LEAF)) as origin, running_proxy(RULE, addresses={HOST: "127.0.0.1"}) as proxy:
        assert (await ask_at(way, proxy, origin.port)).status == 200
