"""`pinproxy demo`: the first thing a person sees."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pinproxy.cli.exit_code import ExitCode
from tests.harness.command_line import REPOSITORY, pinproxy

KEPT = re.compile(r"✓ (\d{3}) (\w+), (\d+) bytes")


@pytest.mark.parametrize(
    "client", [pytest.param("curl", marks=pytest.mark.needs_tool("curl")), "plain_client"], ids=["curl", "Python alone"]
)
def test_the_demo_keeps_every_promise_by_every_way(client: str, tmp_path: Path) -> None:
    """With curl, and on a machine that has nothing but Python."""
    path = os.environ["PATH"] if client == "curl" else str(tmp_path)
    done = pinproxy("demo", PATH=path, TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    assert f"{client} " in done.stdout
    table = [KEPT.findall(line) for line in done.stdout.partition("Promised, and kept")[2].splitlines()]
    real, impostor, watched = [row for row in table if row]
    assert [(status, decision) for status, decision, _ in real] == [("200", "allow")] * 3
    assert impostor == [("403", "deny", "0")] * 3
    assert [(status, decision) for status, decision, _ in watched] == [("200", "allow_and_report")] * 3
    assert all(int(count) > 0 for _, _, count in (*real, *watched))
    assert "\x1b" not in done.stdout, "colours are for terminals"
    assert list(tmp_path.iterdir()) == [], "everything it made is gone"


def test_the_demo_is_not_misled_by_the_callers_environment(tmp_path: Path) -> None:
    """A PINPROXY_… variable or a NO_PROXY of the shell is not part of the story."""
    done = pinproxy("demo", PINPROXY_UNLISTED="maybe", NO_PROXY="*", https_proxy="http://127.0.0.1:1", TMPDIR=str(tmp_path))
    assert done.returncode == ExitCode.OK, done.stderr


def test_a_proxy_that_does_not_start_is_told_and_exits_with_1(tmp_path: Path) -> None:
    """With what the proxy said; here Python itself says it, as it would if a package were broken."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'run' in sys.argv[-3:]: raise SystemExit('this machine cannot start anything')\n"
    )
    done = pinproxy("demo", PYTHONPATH=f"{tmp_path}:{REPOSITORY}")
    assert done.returncode == ExitCode.FAILURE
    assert "the proxy did not start" in done.stderr
    assert "this machine cannot start anything" in done.stderr
