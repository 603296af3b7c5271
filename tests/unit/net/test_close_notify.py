"""The stage on which goodbyes are said; what they look like on the wire is in test_transport.py."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

import pytest

from pinproxy.net.close_notify import Stage


@pytest.mark.attack(
    "more clients than the process may have descriptors",
    expect=("bound", "overloaded"),
    topic="resources",
    motive="asyncio's pause after EMFILE",
)
def test_a_stage_without_descriptors_is_gone_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wanted it hears of it; standard error, which is the log, does not, once for each connection."""
    said: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)

    def exhausted() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as none_left:
        none_left.setattr(socket, "socketpair", exhausted)
        with pytest.raises(OSError, match="Too many open files"):
            Stage()
    assert said == []
    assert Stage().fileno() >= 0
