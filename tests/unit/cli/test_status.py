"""`status`: answers that are none, and what a configuration that went stale looks like."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from tests.unit.cli.test_probe import answering

COUNTS = {"allowed": 1, "would_deny": 2, "denied": 3}
ANSWER: dict[str, Any] = {
    "version": "1.2.3",
    "configuration": {"is_stale": False, "failed_at": None, "loaded_at": "2026-11-23T03:27:49Z", "problems": []},
    "unlisted": {"policy": "deny", "counts": COUNTS},
    "hosts": [],
    "refusals": [],
}


def status(answer: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command against one answer: exit code, stdout, stderr."""
    with answering(200, json.dumps(answer).encode()) as (target, asked):
        code = invoke(["status", "--admin", f"127.0.0.1:{target.port}"])
    assert asked == ["/api/hosts"]
    return code, *capsys.readouterr()


def test_a_configuration_that_could_not_be_reloaded_is_shown_with_its_problems(capsys: pytest.CaptureFixture[str]) -> None:
    """The last good one is in force, so that it is no failure; the twin is the answer as it stands."""
    code, out, _ = status(ANSWER, capsys)
    assert (code, "stale" in out) == (ExitCode.OK, False)
    stale = {**ANSWER["configuration"], "is_stale": True, "failed_at": "2026-11-23T04:00:00Z", "problems": ["f:1:2: hosts: no"]}
    code, out, _ = status({**ANSWER, "configuration": stale}, capsys)
    assert code == ExitCode.OK
    assert "stale since 2026-11-23T04:00:00Z; that of 2026-11-23T03:27:49Z is in force\n  f:1:2: hosts: no" in out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("hello", "not as pinproxy does"),
        ({"hosts": 1}, "not as pinproxy does"),
        ({"version": "9", "hosts": []}, "as another version does (9)"),
    ],
)
def test_an_answer_that_is_none_is_a_failure(answer: object, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Another program may have the port, or another version may run there; no traceback either way."""
    code, out, err = status(answer, capsys)
    assert (code, out) == (ExitCode.FAILURE, "")
    assert said in err


def test_a_body_that_is_no_json_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its status; and a status of its own is named."""
    for status_code in (200, 404):
        with answering(status_code, b"<html>") as (target, _):
            assert invoke(["status", "--admin", f"127.0.0.1:{target.port}"]) == ExitCode.FAILURE
        assert f"answered {status_code}, and not as pinproxy does" in capsys.readouterr().err


def test_nobody_there_is_a_failure_that_names_the_address(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, and what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert invoke(["status", "--admin", f"127.0.0.1:{port}"]) == ExitCode.FAILURE
    assert f"http://127.0.0.1:{port}/api/hosts does not answer" in capsys.readouterr().err


def test_what_came_over_a_socket_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """CWE-150: whoever has the port may write to the terminal otherwise."""
    refusal = {"last_at": "x", "id": "a\x1b[2J", "authority": None, "code": "c", "mismatch_class": None, "count": 1}
    _, out, _ = status({**ANSWER, "refusals": [refusal]}, capsys)
    assert "\x1b[2J" not in out
    assert "a\\x1b[2J" in out
