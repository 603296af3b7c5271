"""The chains of test_chain_defects.py where a tunnel meets them first: on the wire of TLS 1.2, behind an honest preflight."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest

from tests.harness.bad_chains import INVALID, OUT_OF_TIME, SOUND, TRUST, WRONG_NAME
from tests.harness.clients import on_one_loop, tunnel
from tests.harness.origin import running_origin
from tests.harness.pki import Issued, server_context
from tests.harness.running import running_proxy
from tests.harness.tunnelling import TLS12, client_context, client_hello, hear, tunnel_rule, two_faced

HONEST = SOUND["plain"]
KINDS = (("chain_invalid", INVALID), ("hostname_mismatch", WRONG_NAME), ("certificate_expired", OUT_OF_TIME))
DENIED = {f"{code}, {name}": (leaf, code) for code, chains in KINDS for name, leaf in chains.items()}


def behind_an_honest_preflight(leaf: Issued) -> Callable[[int], ssl.SSLContext]:
    """Show a sound chain to the first connection, and another to all that come behind it."""
    return two_faced(server_context(HONEST), server_context(leaf, allows_weak_keys=True))


@pytest.mark.attack(
    "TLS 1.2: a chain that is invalid, expired or for another name, behind an honest preflight; in report-only too",
    expect=("chain_invalid", "hostname_mismatch", "certificate_expired"),
    topic="tunnel",
    motive="RFC 5280 §6, RFC 9525 §6",
)
@on_one_loop
@pytest.mark.parametrize(("leaf", "code"), DENIED.values(), ids=DENIED.keys())
async def test_a_chain_is_denied_on_the_wire_with_the_verdict_of_a_handshake(leaf: Issued, code: str) -> None:
    """Its pin matches, and the client reads an alert and nothing of the server's."""
    async with running_origin(behind_an_honest_preflight(leaf)) as origin:
        rule = tunnel_rule(origin.port, pins=[HONEST.pin, leaf.pin], trust=TRUST, mode="report-only")
        async with running_proxy(rule) as proxy:
            heard = await hear(proxy, client_hello(client_context(TLS12)))
            assert (heard[:1], len(heard)) == (b"\x15", 7)  # one alert (RFC 5246 §7.2)
            line = await proxy.connection()
            assert (line["code"], line["decision"], line["bytes_down"]) == (code, "deny", 0)
            await origin.quiet()
            assert origin.received == b""


@on_one_loop
@pytest.mark.parametrize("leaf", SOUND.values(), ids=SOUND.keys())
async def test_a_sound_chain_passes_the_wire(leaf: Issued) -> None:
    """The twins."""
    async with running_origin(behind_an_honest_preflight(leaf)) as origin:
        rule = tunnel_rule(origin.port, pins=[HONEST.pin, leaf.pin], trust=TRUST)
        async with running_proxy(rule) as proxy:
            assert (await asyncio.to_thread(tunnel, proxy)).body == b"GET / 0\n"
            assert (await proxy.connection())["matched_pin"] == str(leaf.pin)
