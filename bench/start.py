"""How long a proxy takes to be there, and what it holds when nobody asks."""

from __future__ import annotations

import time

from bench.held import held_connections
from bench.measure import Sample, Scale
from bench.peers import Peer
from bench.process import running
from bench.stage import Stage


def first_answer(stage: Stage, peer: Peer, _scale: Scale) -> Sample:
    """Milliseconds from the start of the process to its first answer, and MiB resident afterwards."""
    started = peer.started(stage, "start")
    way = started.first_way
    began = time.monotonic()
    with running(started.command, way.port, stage.directory) as proxy:
        with held_connections(way, 1, is_asked=True):
            answered = time.monotonic()
        time.sleep(1.0)  # idle is what it is when nothing has happened for a while
        return Sample({"ms": (answered - began) * 1000, "mib": proxy.resident_kib() / 1024}, 1)
