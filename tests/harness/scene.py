"""An origin and a proxy that pins it, together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from pinproxy.limits import Limits
from pinproxy.pins.pin import Pin
from pinproxy.policy.rule import TrustAnchors
from tests.harness.origin import Contexts, Handler, Origin, running_origin
from tests.harness.running import RunningProxy, host_rule, running_proxy


@contextlib.asynccontextmanager
async def origin_and_proxy(
    context: Contexts,
    pins: Sequence[Pin],
    trust: TrustAnchors,
    handler: Handler | None = None,
    *,
    gate: asyncio.Event | None = None,
    limits: Limits | None = None,
    eviction_grace_seconds: float = 0.0,
    **rule: Any,
) -> AsyncIterator[tuple[Origin, RunningProxy]]:
    """Run both; the arguments are those of `running_origin`, `host_rule` and `running_proxy`."""
    async with (
        running_origin(context, handler, gate=gate) as origin,
        running_proxy(
            host_rule(pins, trust, port=origin.port, **rule), limits=limits, eviction_grace_seconds=eviction_grace_seconds
        ) as proxy,
    ):
        yield origin, proxy
