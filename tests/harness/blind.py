"""Proxies that allow unlisted hosts, and one listed host that nothing but its name leads to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from pinproxy.limits import Limits
from pinproxy.policy.rule import HostRule
from tests.harness.pki import Issued
from tests.harness.running import RunningProxy, host_rule, running_proxy
from tests.harness.tunnelling import BOTH, LEAF

ADDRESS = "127.0.0.1"
OTHER = "unlisted.example.test"


@contextlib.asynccontextmanager
async def blind(*rules: HostRule, limits: Limits | None = None, **further: Any) -> AsyncIterator[RunningProxy]:
    """Run a proxy that allows unlisted hosts, on loopback too."""
    addresses = {OTHER: ADDRESS}
    async with running_proxy(
        *rules, unlisted="allow", limits=limits or Limits(allow_private=True), addresses=addresses, **further
    ) as proxy:
        yield proxy


def listed(connect: str, leaf: Issued = LEAF) -> HostRule:
    """Make the rule of the listed host, without an address of its own: it is reached where the client says."""
    further: dict[str, Any] = {"connect": "tunnel", "tls13": "preflight"} if connect == "tunnel" else {}
    return host_rule([leaf.pin], BOTH, **further)


async def say_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with everything that was said, once it has ended."""
    writer.write(await reader.read())
    await writer.drain()
