"""Changes of the configuration are noticed by content, whichever way the files are replaced."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from pinproxy.settings.watch import ConfigWatch

NAMES_ROOTS = "version: 1\nhosts: [{host: a.example, mode: disabled, trust: {ca_file: roots.pem}}]\n"


def write(path: Path, text: str) -> None:
    """Write in place, as a careless editor does."""
    path.write_text(text)


def remove(path: Path) -> None:
    """Take the file away."""
    path.unlink()


def is_there(path: Path) -> bool:
    """Tell whether a reload would find the file."""
    return path.exists()


class Reloads:
    """Counts the callbacks and keeps what the file held at each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[str] = []

    async def __call__(self) -> None:
        """Read as a reload would."""
        self.seen.append(self.path.read_text())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration that names a file of roots."""
    path = tmp_path / "pinproxy.yaml"
    path.write_text(NAMES_ROOTS)
    (tmp_path / "roots.pem").write_text("old roots")
    return path


async def test_a_changed_file_is_loaded_once_it_holds_still(path: Path) -> None:
    """Seen at one poll, acted upon at the next, and then no more."""
    reloads = Reloads(path)
    watch = ConfigWatch(path, reloads)
    write(path, "version: 1\n")
    assert [await watch.poll() for _ in range(4)] == [False, True, False, False]
    assert reloads.seen == ["version: 1\n"]


async def test_an_unchanged_file_is_never_loaded_again(path: Path) -> None:
    """The twin; a new modification time is no change."""
    reloads = Reloads(path)
    watch = ConfigWatch(path, reloads)
    os.utime(path, (1, 1))
    assert [await watch.poll() for _ in range(3)] == [False, False, False]
    assert reloads.seen == []


@pytest.mark.attack("a configuration that is half written when it is looked at", expect="keep", topic="control")
async def test_a_half_written_file_is_not_loaded(path: Path) -> None:
    """A writer that is not atomic is waited for."""
    reloads = Reloads(path)
    watch = ConfigWatch(path, reloads)
    found = []
    for content in ("ver", "version: 1\nhos", "version: 1\nhosts: []\n", "version: 1\nhosts: []\n"):
        write(path, content)
        found.append(await watch.poll())
    assert found == [False, False, False, True]
    assert reloads.seen == ["version: 1\nhosts: []\n"]


async def test_a_change_that_is_taken_back_is_none(path: Path) -> None:
    """What is in force is what the file says."""
    watch = ConfigWatch(path, Reloads(path))
    write(path, "version: 1\n")
    assert not await watch.poll()
    write(path, NAMES_ROOTS)
    assert [await watch.poll() for _ in range(3)] == [False, False, False]


async def test_a_config_map_is_watched_through_its_symlinks(tmp_path: Path) -> None:
    """Kubelet writes a new directory and swaps the link `..data`; the file's own link never changes."""
    for name, text in (("..2027_01", NAMES_ROOTS), ("..2027_02", NAMES_ROOTS)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pinproxy.yaml").write_text(text)
        (tmp_path / name / "roots.pem").write_text(f"roots of {name}")
    (tmp_path / "..data").symlink_to("..2027_01")
    for file in ("pinproxy.yaml", "roots.pem"):
        (tmp_path / file).symlink_to(f"..data/{file}")
    reloads = Reloads(tmp_path / "pinproxy.yaml")
    watch = ConfigWatch(tmp_path / "pinproxy.yaml", reloads)
    assert not await watch.poll()
    (tmp_path / "..data_tmp").symlink_to("..2027_02")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    # Only the roots differ, and they are two links away.
    assert [await watch.poll() for _ in range(3)] == [False, True, False]
    assert reloads.seen == [NAMES_ROOTS]


async def test_a_rename_over_the_file_is_noticed(path: Path) -> None:
    """Editors save that way: the old inode never changes."""
    reloads = Reloads(path)
    watch = ConfigWatch(path, reloads)
    replacement = path.with_suffix(".new")
    replacement.write_text("version: 1\n")
    replacement.replace(path)
    assert [await watch.poll() for _ in range(2)] == [False, True]


async def test_a_file_that_the_configuration_names_is_watched_too(path: Path) -> None:
    """Also one that goes missing, and comes back."""
    reloads = Reloads(path)
    watch = ConfigWatch(path, reloads)
    roots = path.with_name("roots.pem")
    roots.write_text("new roots")
    assert [await watch.poll() for _ in range(2)] == [False, True]
    roots.unlink()
    assert [await watch.poll() for _ in range(2)] == [False, True]
    roots.write_text("new roots")
    assert [await watch.poll() for _ in range(2)] == [False, True]


async def test_files_named_by_a_refused_configuration_are_watched(path: Path) -> None:
    """A reload that failed for a missing file succeeds once the file is there, without another edit."""
    write(path, NAMES_ROOTS.replace("roots.pem", "later.pem") + "unknown: key\n")
    watch = ConfigWatch(path, Reloads(path))
    path.with_name("later.pem").write_text("roots")
    assert [await watch.poll() for _ in range(2)] == [False, True]


async def test_a_configuration_that_goes_missing_is_a_change(path: Path) -> None:
    """The reload will fail and say so, and the old one stays in force; its return is noticed as well."""
    calls = []

    async def changed() -> None:
        calls.append(is_there(path))

    watch = ConfigWatch(path, changed)
    remove(path)
    assert [await watch.poll() for _ in range(2)] == [False, True]
    write(path, "version: 1\n")
    assert [await watch.poll() for _ in range(2)] == [False, True]
    assert calls == [False, True]


async def test_the_watch_polls_by_itself_until_it_is_cancelled(path: Path) -> None:
    """The interval is asked for at each turn, since a reload may change it."""
    noticed = asyncio.Event()
    intervals = []

    async def changed() -> None:
        noticed.set()

    def interval() -> float:
        intervals.append(0.001)
        return 0.001

    task = asyncio.create_task(ConfigWatch(path, changed).run(interval))
    write(path, "version: 1\n")
    async with asyncio.timeout(10):
        await noticed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(intervals) >= 2
