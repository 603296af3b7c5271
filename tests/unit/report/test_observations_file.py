"""Observations that outlive the process: read at the start, written whole, and never in the way of anything."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pinproxy.authority import Authority
from pinproxy.errors import ObservationsSyntaxError
from pinproxy.report.log import Log
from pinproxy.report.observations import Observations
from pinproxy.report.observations_file import MAX_BYTES, ObservationsFile, dump_observations
from pinproxy.report.observations_json import read_document
from tests.unit.report.events import API, API_RULE, BACKUP_PIN, NOW, event, rule
from tests.unit.report.test_observations import meet

LATER = NOW + timedelta(hours=1)


def some_observations() -> Observations:
    """Observe a host that matched and one that did not."""
    observations = Observations(NOW)
    meet(observations, API_RULE)
    observations.record(event())
    watched = rule("files.example.com", BACKUP_PIN, mode="report-only")
    observations.record(event(watched, authority=Authority("files.example.com", 443)))
    return observations


class Kept:
    """A file of observations, and the log about it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "observations.json"
        self._log_path = directory / "log"
        with self._log_path.open("w") as stream:
            self.log = Log(stream=stream)

    def file(self, write_seconds: float = 60.0) -> ObservationsFile:
        """Name the file, as a start of the program does."""
        return ObservationsFile(self.path, self.log.logger, write_seconds)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What was logged."""
        return [json.loads(line) for line in self._log_path.read_text().splitlines()]

    @property
    def set_aside(self) -> list[Path]:
        """What could not be read."""
        return sorted(self.path.parent.glob("observations.json.*.bad"))


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """Keep observations in a directory of their own."""
    made = Kept(tmp_path)
    yield made
    made.log.close()


# --- the format ----------------------------------------------------------------------------------------------------------


async def test_what_was_written_is_read_as_it_was() -> None:
    """Every field, dates and counts included; and it can go on from there."""
    observations = some_observations()
    document = read_document(await dump_observations(observations, LATER))
    assert (document.began_at, document.written_at) == (NOW, LATER)
    assert tuple(document.hosts) == observations.hosts
    again = Observations(document.began_at, document.by_authority())
    assert again.last_good(API) == observations.last_good(API)
    again.record(event())
    assert [(host.authority, path.counts.total) for host in again.hosts for path in host.paths] == [
        ("files.example.com:443", 1),
        ("api.example.com:443", 2),
    ]


def _edited(change: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(asyncio.run(dump_observations(some_observations(), LATER)))
    change(document)
    return json.dumps(document).encode()


DEFECTS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another kind": (lambda document: document.update(kind="something"), "kind"),
    "another version": (lambda document: document.update(version=2), "version"),
    "no hosts": (lambda document: document.pop("hosts"), "hosts"),
    "a count that is none": (lambda document: document["hosts"][0]["days"]["2027-06-01"].update(matched="x"), "matched"),
    "an empty chain": (lambda document: document["hosts"][0]["good"].update(certificates=[]), "at least the leaf"),
    "no authority": (lambda document: document["hosts"][0].update(authority="a b"), "authority"),
    "a time without offset": (lambda document: document.update(began_at="2027-06-01T12:00:00"), "offset"),
}


@pytest.mark.parametrize(("change", "said"), DEFECTS.values(), ids=DEFECTS.keys())
def test_what_is_no_record_of_ours_is_refused_with_the_place(change: Callable[[dict[str, Any]], None], said: str) -> None:
    """One defect each."""
    with pytest.raises(ObservationsSyntaxError, match=said):
        read_document(_edited(change))


def test_what_a_later_version_added_is_passed_over() -> None:
    """The twin: a key more is no defect."""
    document = read_document(_edited(lambda document: document["hosts"][0].update(colour="blue")))
    assert tuple(document.hosts) == some_observations().hosts


# --- the file ------------------------------------------------------------------------------------------------------------


async def test_changes_are_written_while_it_lasts_and_at_its_end(kept: Kept) -> None:
    """The file is whole at every moment, and readable by nobody else."""
    observations = kept.file().load(NOW)
    async with kept.file(write_seconds=0.001).kept_up(observations, lambda: LATER):
        meet(observations, API_RULE)
        async with asyncio.timeout(10):
            while not kept.path.exists():  # noqa: ASYNC110 - a file system tells nobody
                await asyncio.sleep(0.001)
        observations.record(event())
    assert kept.file().load(LATER).hosts == observations.hosts
    assert kept.path.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in kept.path.parent.iterdir()) == ["log", "observations.json"]


async def test_without_a_change_nothing_is_written(kept: Kept) -> None:
    """A proxy without traffic wakes no disk."""
    async with kept.file(write_seconds=0.001).kept_up(kept.file().load(NOW), lambda: LATER):
        await asyncio.sleep(0.01)
    assert not kept.path.exists()


async def test_without_a_file_observations_end_with_the_process(kept: Kept) -> None:
    """The default."""
    file = ObservationsFile(None, kept.log.logger, 0.001)
    observations = file.load(NOW)
    async with file.kept_up(observations, lambda: LATER):
        meet(observations, API_RULE)
    assert (observations.began_at, [path.name for path in kept.path.parent.iterdir()]) == (NOW, ["log"])


@pytest.mark.attack("an observations file that is damaged or somebody else's", expect="keep", topic="control")
@pytest.mark.parametrize(
    "content", [b"", bytes(512), b'{"kind":"pinproxy-observations","ver', b'{"kind":"pinproxy-observations","version":2}']
)
async def test_what_cannot_be_read_is_set_aside_and_never_overwritten(kept: Kept, content: bytes) -> None:
    """The proxy starts with nothing known, says so, and writes beside what it did not understand."""
    kept.path.write_bytes(content)
    file = kept.file()
    observations = file.load(NOW)
    assert (observations.hosts, observations.began_at) == ((), NOW)
    (line,) = kept.lines
    assert (line["event"], line["level"], line["file"]) == ("observations_unreadable", "error", str(kept.path))
    assert "observations.json.20270601T120000Z.bad" in line["effect"]
    async with file.kept_up(observations, lambda: LATER):
        meet(observations, API_RULE)
    assert [path.read_bytes() for path in kept.set_aside] == [content]
    assert kept.file().load(LATER).hosts == observations.hosts


async def test_what_cannot_be_set_aside_stays_and_nothing_is_written(kept: Kept) -> None:
    """Here something else has the name it would be kept under."""
    kept.path.write_bytes(b"")
    (kept.path.parent / "observations.json.20270601T120000Z.bad").mkdir()
    file = kept.file()
    async with file.kept_up(observations := file.load(NOW), lambda: LATER):
        meet(observations, API_RULE)
    assert (kept.path.read_bytes(), [line["event"] for line in kept.lines]) == (b"", ["observations_unreadable"])


@pytest.mark.attack("an observations file that is damaged or somebody else's", expect="keep", topic="control")
@pytest.mark.parametrize("content", [b"{}", b"\xff", b"-----BEGIN CERTIFICATE-----\n", b"version: 1\n", b'{"kind":"else"}'])
async def test_a_file_that_was_never_ours_stays_where_it_is(kept: Kept, content: bytes) -> None:
    """A root store or the configuration itself, named by mistake, would be missed at the next start; the twin is damaged."""
    kept.path.write_bytes(content)
    file = kept.file()
    async with file.kept_up(observations := file.load(NOW), lambda: LATER):
        meet(observations, API_RULE)
    assert (kept.path.read_bytes(), kept.set_aside) == (content, [])
    (line,) = kept.lines
    assert line["effect"] == "begun anew; it stays where it is (it is none of ours), and nothing is written in this run"


async def test_a_file_far_too_large_stays_where_it_is(kept: Kept) -> None:
    """It is not even read to its end; sparse, it takes no room."""
    kept.path.touch()
    os.truncate(kept.path, MAX_BYTES + 1)
    kept.file().load(NOW)
    assert (kept.path.stat().st_size, kept.set_aside) == (MAX_BYTES + 1, [])


async def test_a_directory_that_was_named_by_mistake_stays_where_it_is(kept: Kept) -> None:
    """Other things are kept in it, the key of the local CA perhaps."""
    kept.path.mkdir()
    (kept.path / "ca.key").write_bytes(b"key")
    file = kept.file()
    async with file.kept_up(observations := file.load(NOW), lambda: LATER):
        meet(observations, API_RULE)
    assert (kept.path / "ca.key").read_bytes() == b"key"
    (line,) = kept.lines
    assert (line["event"], line["effect"]) == (
        "observations_unreadable",
        "begun anew; it stays where it is (it cannot be read), and nothing is written in this run",
    )


async def test_the_last_write_waits_for_one_that_is_under_way(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes its time over the first, and must not put it in the place of the last."""
    synced, begun, is_over = os.fsync, threading.Event(), threading.Event()

    def sync_slowly(descriptor: int) -> None:
        if not begun.is_set():
            begun.set()
            is_over.wait(10)
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", sync_slowly)
    file = kept.file(write_seconds=0.001)
    keeping = file.kept_up(observations := file.load(NOW), lambda: LATER)
    await keeping.__aenter__()
    meet(observations, API_RULE)
    await asyncio.to_thread(begun.wait, 10)
    observations.record(event())
    ending = asyncio.create_task(keeping.__aexit__(None, None, None))
    done, _ = await asyncio.wait([ending], timeout=0.1)
    is_over.set()
    await ending
    assert not done
    assert kept.file().load(LATER).hosts == observations.hosts


async def test_a_file_that_cannot_be_written_is_told_once_and_tried_again(kept: Kept) -> None:
    """Here its directory is missing until somebody makes it."""
    kept.path = kept.path.parent / "later" / "observations.json"
    observations = kept.file().load(NOW)
    async with kept.file(write_seconds=0.001).kept_up(observations, lambda: LATER):
        meet(observations, API_RULE)
        async with asyncio.timeout(10):
            while not kept.lines:  # noqa: ASYNC110 - a log file has no event to wait for
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        kept.path.parent.mkdir()
    assert [line["event"] for line in kept.lines] == ["observations_not_written"]
    assert kept.file().load(LATER).hosts == observations.hosts
