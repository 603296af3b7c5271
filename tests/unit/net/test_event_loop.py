"""The pauses that the interpreter itself makes."""

from __future__ import annotations

import subprocess
import sys


def test_a_serving_process_never_collects_what_it_started_with_seldom_the_rest_and_hands_over_soon() -> None:
    """In a process of its own: what is frozen stays so until the end."""
    source = "import gc, sys; from pinproxy.net.event_loop import keep_pauses_short; keep_pauses_short()"
    source += "; print(gc.get_freeze_count() > 1000, sys.getswitchinterval(), gc.get_threshold()[0] > 5_000)"
    said = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)
    assert said.stdout.split() == [b"True", b"0.001", b"True"]
