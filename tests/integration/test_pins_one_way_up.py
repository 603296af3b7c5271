"""Every connection to an upstream goes through one function, which verifies it: held against the source itself.

> CVE-2024-2379, CVE-2025-5025: a second path to a server, on which the pin check was forgotten.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pinproxy

PACKAGE = Path(pinproxy.__file__).parent
# What looks at servers for the command line (`pinproxy pin HOST`), and what probes our own socket file.
ASIDE = {"net/unverified.py", "net/unix_socket.py"}
# Layers that carry traffic. What the command line and the admin server connect to is no traffic of a client.
DATA_PATH = [
    path
    for folder in ("net", "proxy")
    for path in sorted((PACKAGE / folder).rglob("*.py"))
    if str(path.relative_to(PACKAGE)) not in ASIDE
]


def calls(source: str, name: str) -> Iterator[str]:
    """Yield the function around each call of a function or method of that name."""

    def walk(node: ast.AST, around: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else around
            if isinstance(child, ast.Call) and _called(child.func) == name:
                yield inside
            yield from walk(child, inside)

    yield from walk(ast.parse(source), "module")


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def callers(name: str) -> set[tuple[str, str]]:
    """List file and function of each call within the data path."""
    return {(str(path.relative_to(PACKAGE)), inside) for path in DATA_PATH for inside in calls(path.read_text(), name)}


@pytest.mark.attack(
    "a second path up, on which the check was forgotten: every caller that dials is enumerated from the source",
    expect="neutralise",
    topic="pins",
    motive="CVE-2024-2379, CVE-2025-5025, CVE-2025-13034",
)
@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        # TLS upwards is begun in one place, and that place verifies.
        ("shake_hands_with_server", {("net/upstream.py", "open_at")}),
        # What a tunnel cannot do itself it reads on the wire, and judges by the same procedure.
        ("verify_server", {("net/upstream.py", "open_at"), ("proxy/wire.py", "_judge_full_handshake")}),
        # Nothing that was merely sent is held against a pin, but for the leaf under `trust: pins-only`.
        ("leaf_alone", {("proxy/wire.py", "_build_chain")}),
        ("VerifiedChain", {("net/handshake.py", "facts_of")}),
        # TCP upwards is begun in one module.
        ("start_connection", {("net/dial.py", "_race")}),
        ("connect_socket", {("net/dial.py", "_connect_to")}),
        ("connect_ex", {("net/readiness.py", "connect_socket")}),
        # Clear text is for hosts without a rule.
        ("open_plain", {("proxy/http_opening.py", "open_http_upstream"), ("proxy/blind.py", "tunnel_blindly")}),
        # Nothing else makes TLS, TCP or streams.
        ("open_connection", set()),
        ("create_connection", set()),
        ("sock_connect", set()),
        ("wrap_bio", set()),
        ("start_tls", set()),
    ],
)
def test_there_is_one_way_up(name: str, allowed: set[tuple[str, str]]) -> None:
    """A new caller must be argued for here."""
    assert callers(name) == allowed


def test_what_stands_aside_is_used_by_nobody_who_carries_traffic() -> None:
    """An unverified handshake exists for people to look at; nothing of `net` or `proxy` imports it."""
    importing = {path for path in DATA_PATH if "pinproxy.net.unverified" in path.read_text()}
    assert importing == set()
    assert "unsafe_fetch_sent_chain" in (PACKAGE / "net/unverified.py").read_text()


def test_a_dial_begins_in_the_module_that_verifies() -> None:
    """`Dialler.connect` is called from `net/upstream.py` and nowhere else; `sock.connect` of the standard library nowhere."""
    assert {place for place, _ in callers("connect")} == {"net/upstream.py"}


@pytest.mark.attack(
    "http:// or https:// in absolute form to a pinned host: both go over pinned TLS, never in clear",
    expect="neutralise",
    topic="requests",
    motive="Android's cleartextTrafficPermitted",
)
@pytest.mark.parametrize("path", [PACKAGE / "proxy/http_opening.py"], ids=["origination"])
def test_clear_text_is_behind_the_question_whether_there_is_a_rule(path: Path) -> None:
    """The call stands in the branch `if rule is None`."""
    guarded = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "rule is None"
    ]
    inside = [call for node in guarded for call in calls(ast.unparse(ast.Module(node.body, [])), "open_plain")]
    assert len(inside) == len(list(calls(path.read_text(), "open_plain"))) == 1


def test_a_blind_tunnel_is_behind_the_question_whether_there_is_a_rule() -> None:
    """`tunnel_blindly` is called once, in the branch `if rule is None`."""
    (place,) = {PACKAGE / name for name, _ in callers("tunnel_blindly")}
    tree = ast.parse(place.read_text())
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "rule is None"]
    inside = [call for node in guarded for call in calls(ast.unparse(ast.Module(node.body, [])), "tunnel_blindly")]
    assert len(inside) == len(list(calls(place.read_text(), "tunnel_blindly"))) == 1


def test_a_second_way_up_is_found() -> None:
    """The offender."""
    source = "async def retry():\n    if x:\n        await net.shake_hands_with_server(sock)\n\nconnect()\n"
    assert list(calls(source, "shake_hands_with_server")) == ["retry"]
    assert list(calls(source, "connect")) == ["module"]
