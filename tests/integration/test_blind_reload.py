"""A blind tunnel, and a reload that lists the host its ClientHello named."""

from __future__ import annotations

import asyncio

import pytest

from pinproxy.limits import Limits
from pinproxy.policy.table import PolicyTable
from tests.harness.clients import get_head, open_tunnel, read_answer
from tests.harness.origin import running_origin
from tests.harness.running import HOST, host_rule, running_proxy
from tests.harness.tunnelling import BOTH, IMPOSTOR, LEAF, client_context, origin_context, tunnel_rule

# A reload pins LEAF; the origin shows IMPOSTOR, valid as well, from another trusted CA.


@pytest.mark.parametrize(("listed", "survives"), [(HOST, False), ("other.example.test", True)])
async def test_a_blind_tunnel_ends_when_the_host_it_named_becomes_listed(listed: str, *, survives: bool) -> None:
    """CONNECT by address is no way around pins that come into force later; a host that was not named changes nothing."""
    async with (
        running_origin(origin_context(IMPOSTOR)) as origin,
        running_proxy(unlisted="allow", limits=Limits(allow_private=True)) as proxy,
    ):
        sock = await asyncio.to_thread(open_tunnel, proxy, "127.0.0.1", origin.port)
        tls = await asyncio.to_thread(client_context().wrap_socket, sock, server_hostname=HOST)
        with tls:

            def ask() -> bytes:
                tls.sendall(get_head("/"))
                return read_answer(tls).body

            assert await asyncio.to_thread(ask)
            rule = tunnel_rule(origin.port) if listed == HOST else host_rule([LEAF.pin], BOTH, host=listed)
            proxy.server.swap(PolicyTable((rule,), "allow"))
            if survives:
                assert await asyncio.to_thread(ask)
            else:
                with pytest.raises(OSError, match=r"EOF|reset|Broken"):
                    await asyncio.to_thread(ask)
                assert (await proxy.connection())["code"] == "host_not_listed"
