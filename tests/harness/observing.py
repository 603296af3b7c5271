"""Files of observations, as a proxy that has run for a while leaves them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pinproxy.authority import Authority
from pinproxy.pins.chain import VerifiedChain, certificate
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import judge_pins
from pinproxy.policy.verify import Verified
from pinproxy.report.observations import Observations
from pinproxy.report.observations_file import dump_observations
from tests.harness.pki import Issued
from tests.harness.running import HOST
from tests.unit.report.events import event

TODAY = datetime.now(UTC)
API = Authority(HOST, 443)


def observe(
    observations: Observations,
    rule: HostRule,
    path: Sequence[Issued],
    times: int = 1,
    *,
    days_ago: int = 0,
    authority: Authority = API,
) -> None:
    """Let so many connections over a path, leaf first, end on a day."""
    chain = VerifiedChain(tuple(certificate(item.der) for item in path))
    at = TODAY - timedelta(days=days_ago)
    judgement = judge_pins(chain, rule, authority, TODAY)
    observations.meet_chain(authority, rule, Verified(chain, judgement), at)
    for _ in range(times):
        observations.record(
            event(rule, at=at, authority=authority, chain=chain, judgement=judgement, decision=judgement.decision)
        )


def write_observations(file: Path, observations: Observations) -> Path:
    """Write them down, as the proxy does."""
    file.write_bytes(asyncio.run(dump_observations(observations, TODAY)))
    return file
