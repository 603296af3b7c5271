"""What the demo counts as a promise kept: every part of the outcome, for every scene and way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pinproxy.cli.demo.clients import Answer
from pinproxy.cli.demo.story import SCENES, WAYS, Outcome, Scene, is_all_kept, is_kept


def promised(scene: Scene) -> Outcome:
    """Make the outcome that a scene promises."""
    return Outcome(scene.status, scene.decision, scene.code, 100 if scene.is_request_let_through else 0)


def test_the_demo_shows_what_the_specification_asks_for() -> None:
    """Allowed, denied, passed and reported; by every way of carrying traffic."""
    assert [scene.decision for scene in SCENES] == ["allow", "deny", "allow_and_report"]
    assert [way.name for way in WAYS] == ["origination", "interception", "tunnel"]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
@pytest.mark.parametrize(
    "wrong",
    [{"status": 502}, {"status": 0}, {"decision": None}, {"code": "chain_invalid"}],
    ids=["another status", "no answer", "no decision", "another code"],
)
def test_an_outcome_that_differs_in_one_part_is_not_as_promised(scene: Scene, wrong: dict[str, Any]) -> None:
    """A 403 for another reason is no pin held."""
    assert is_kept(scene, promised(scene))
    assert not is_kept(scene, replace(promised(scene), **wrong))


def test_one_byte_at_the_impostor_breaks_the_promise() -> None:
    """And no byte at a server that must be reached does, too."""
    real, impostor, watched = SCENES
    assert not is_kept(impostor, replace(promised(impostor), bytes_reached=1))
    assert not is_kept(real, replace(promised(real), bytes_reached=0))
    assert not is_kept(watched, replace(promised(watched), bytes_reached=0))


def test_all_is_kept_only_if_nothing_is_missing() -> None:
    """A way that was not shown proves nothing."""
    outcomes = {(scene.name, way.name): promised(scene) for scene in SCENES for way in WAYS}
    assert is_all_kept(outcomes)
    for place in outcomes:
        assert not is_all_kept({key: outcome for key, outcome in outcomes.items() if key != place})
        assert not is_all_kept({**outcomes, place: Outcome(200, "allow", None, 1)} | {place: Outcome(0, None, None, 0)})


@pytest.mark.parametrize(
    ("output", "complaint", "status"),
    [
        ("HTTP/1.1 200 OK\r\n\r\nhello", "", 200),
        ("HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n", "", 404),
        ("HTTP/1.1 403 Forbidden\r\nX: y\r\n\r\n", "curl: (56) CONNECT tunnel failed, response 403", 403),
        ("", "urllib: <urlopen error Tunnel connection failed: 403 Forbidden>", 403),
        ("", "curl: (7) Failed to connect to 127.0.0.1 port 3128 after 200 ms", 0),
    ],
)
def test_the_status_is_read_from_what_the_client_printed(output: str, complaint: str, status: int) -> None:
    """The last one it speaks of: behind CONNECT there are two."""
    assert Answer("curl", output, complaint).status == status


def test_heads_and_body_are_told_apart() -> None:
    """A CONNECT has a head of its own before the server's."""
    answer = Answer("curl", "HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\nbody\n", "")
    assert answer.heads_and_body == (["HTTP/1.1 200 Connection established", "HTTP/1.1 200 OK", "A: b"], "body")
