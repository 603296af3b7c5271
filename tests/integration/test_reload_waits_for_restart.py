"""Keys that a reload cannot put in force are named for as long as they wait."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness.configured import configured_proxy


async def test_a_key_that_waits_for_a_restart_is_named_until_it_is_as_at_the_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is bound is what the start said, whatever the reload before this one said."""

    def named() -> list[list[str]]:
        lines = map(json.loads, capfd.readouterr().err.splitlines())
        return [line["keys"] for line in lines if line["event"] == "restart_needed"]

    async with configured_proxy(tmp_path, "preflight_ttl: 5s\n") as proxy:
        first = proxy.file.read_text("utf-8")
        waiting = first.replace("5s", "6s")
        told = []
        for text in (waiting, f"{waiting}unlisted: allow\n", first):
            proxy.file.write_text(text, "utf-8")
            await proxy.app.reload()
            told.append(named())
    assert told == [[["preflight_ttl"]], [["preflight_ttl"]], []]
