"""git over HTTPS: a clone and a push, large enough to be sent in chunks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.git_origin import git_origin
from tests.clients.stage import BROKEN_PROMISES, ConnectMode, kept_promise, staged
from tests.harness.origin import body_of, running_origin
from tests.harness.pki import server_context
from tests.harness.running import HOST

pytestmark = [pytest.mark.asyncio(loop_factories=["uvloop"]), pytest.mark.needs_tool("git")]

# Above git's http.postBuffer of 1 MiB: a push is then sent in chunks, of a pack that does not compress.
BLOB = body_of(3 * 2**20)


def git(*arguments: str) -> bytes:
    """Run git without a network, and without the configuration of whoever runs the tests."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.test"]
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", *identity, *arguments], env=environment, check=True, capture_output=True).stdout


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """A directory with `repo.git`, which holds one commit with BLOB in it."""
    origin, first = tmp_path / "served" / "repo.git", tmp_path / "first"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git("-C", str(origin), "config", "http.receivepack", "true")
    git("init", "--quiet", "--initial-branch=main", str(first))
    (first / "blob").write_bytes(BLOB)
    git("-C", str(first), "add", "blob")
    git("-C", str(first), "commit", "--quiet", "--message=one")
    git("-C", str(first), "push", "--quiet", str(origin), "main")
    return origin.parent


async def test_a_repository_is_cloned_and_pushed_to(connect_mode: ConnectMode, tmp_path: Path, repositories: Path) -> None:
    """A clone brings the blob, a push takes another one back."""
    promise, clone = kept_promise(), tmp_path / "clone"
    async with (
        running_origin(server_context(promise.leaf, alpn=("http/1.1",)), git_origin(repositories)) as origin,
        staged(tmp_path, connect_mode, promise, origin.port) as stage,
    ):
        outcome = await stage.run(["git", "clone", "--quiet", f"https://{HOST}/repo.git", str(clone)])
        assert outcome.code == 0, outcome
        assert (clone / "blob").read_bytes() == BLOB
        (clone / "blob").write_bytes(BLOB[::-1])
        git("-C", str(clone), "commit", "--quiet", "--all", "--message=two")
        outcome = await stage.run(["git", "-C", str(clone), "push", "--quiet"])
        assert outcome.code == 0, outcome
        assert git("-C", str(repositories / "repo.git"), "show", "main:blob") == BLOB[::-1]
        await stage.assert_allowed(connect_mode.name)


@pytest.mark.parametrize("code", BROKEN_PROMISES)
async def test_nothing_is_cloned_from_an_origin_that_breaks_its_promise(
    code: str, connect_mode: ConnectMode, tmp_path: Path
) -> None:
    """The twin: git has no clone and the origin no byte."""
    promise, clone = BROKEN_PROMISES[code](), tmp_path / "clone"
    async with (
        running_origin(server_context(promise.leaf, alpn=("http/1.1",)), git_origin(tmp_path)) as origin,
        staged(tmp_path, connect_mode, promise, origin.port) as stage,
    ):
        outcome = await stage.run(["git", "clone", "--quiet", f"https://{HOST}/repo.git", str(clone)])
        assert outcome.code != 0, outcome
        assert not clone.exists()
        await stage.assert_denied(connect_mode.name, code)
        assert bytes(origin.received) == b""
