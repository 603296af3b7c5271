"""`pinproxy promote`: report-only to enforce where observations bear it out, and a file of which one word changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from pinproxy.report.observations import Observations
from pinproxy.settings.load import load_settings
from tests.harness.observing import TODAY, observe, write_observations
from tests.harness.pki import make_leaf, make_root
from tests.harness.running import HOST, host_rule

ROOT = make_root()
LEAF, BACKUP, OTHER = make_leaf(ROOT, HOST), make_leaf(ROOT, HOST), make_leaf(ROOT, HOST)
WATCHED = host_rule([LEAF.pin, BACKUP.pin], ROOT.anchors, mode="report-only")
PINS = f"[{LEAF.pin}, {BACKUP.pin}]"
CONFIG = f"""\
version: 1
observations: {{file: seen.json}}   # beside this file
hosts:
  # the payment service
  - {{host: {HOST}, mode: report-only, pins: {PINS}}}   # since the summer
  - {{host: other.example.test, mode: report-only, pins: {PINS}}}
"""


def good() -> Observations:
    """Eight days of matches."""
    seen = Observations(TODAY)
    for days_ago in range(8, -1, -1):
        observe(seen, WATCHED, (LEAF, ROOT), 2, days_ago=days_ago)
    return seen


def stage(directory: Path, text: str = CONFIG, seen: Observations | None = None) -> Path:
    """Write a configuration, and the observations it names."""
    write_observations(directory / "seen.json", seen or good())
    file = directory / "c.yaml"
    file.write_text(text, "utf-8")
    return file


def promote(file: Path, *arguments: str, host: str = HOST) -> int:
    """Run the command."""
    return invoke(["promote", host, "--config", str(file), *arguments])


def test_a_host_that_matched_for_a_week_is_enforced_and_one_word_has_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Comments, order and permissions stay; the other host stays report-only."""
    file = stage(tmp_path)
    file.chmod(0o640)
    assert promote(file) == ExitCode.OK
    assert file.read_text("utf-8") == CONFIG.replace("report-only", "enforce", 1)
    assert file.stat().st_mode & 0o777 == 0o640
    assert [host.mode for host in load_settings(file, {}, {}).hosts] == ["enforce", "report-only"]
    output = capsys.readouterr()
    assert "14 connections matched in the last 7 days and none would have been denied" in output.err
    assert "hosts[0].mode is enforce now" in output.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.yaml", "seen.json"]


def test_a_dry_run_prints_the_change_and_makes_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A diff that `patch` takes."""
    file = stage(tmp_path)
    assert promote(file, "--dry-run") == ExitCode.OK
    changed = [line for line in capsys.readouterr().out.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert [line[0] for line in changed] == ["-", "+"]
    assert changed[1][1:] == changed[0][1:].replace("report-only", "enforce")
    assert file.read_text("utf-8") == CONFIG


def test_a_mismatch_in_the_window_refuses_with_3_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its day and its count are told."""
    seen = good()
    observe(seen, WATCHED, (OTHER, ROOT), 3)
    file = stage(tmp_path, seen=seen)
    assert promote(file) == ExitCode.MISMATCH
    said = capsys.readouterr().err
    assert f"3 connections would have been denied in the last 7 days: 3 on {TODAY:%Y-%m-%d}" in said
    assert file.read_text("utf-8") == CONFIG


@pytest.mark.parametrize(
    ("arguments", "host", "said"),
    [
        (["--days", "30"], HOST, "30 days are over on"),
        (["--min-connections", "15"], HOST, "expected 15 or more"),
        ([], "other.example.test", "there are no observations of other.example.test"),
    ],
)
def test_what_is_not_borne_out_refuses_with_3(
    arguments: list[str], host: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too short a time, too little traffic, none at all."""
    file = stage(tmp_path)
    assert promote(file, *arguments, host=host) == ExitCode.MISMATCH
    assert said in capsys.readouterr().err
    assert file.read_text("utf-8") == CONFIG


def test_a_mode_that_comes_from_the_defaults_is_written_at_the_host(tmp_path: Path) -> None:
    """Every other host keeps that of the defaults."""
    text = CONFIG.replace(" mode: report-only,", "").replace("hosts:", "defaults: {mode: report-only}\nhosts:")
    file = stage(tmp_path, text)
    assert promote(file) == ExitCode.OK
    assert file.read_text("utf-8") == text.replace(f"{{host: {HOST},", f"{{host: {HOST}, mode: enforce,")
    settings = load_settings(file, {}, {})
    assert [settings.options_of(host).mode for host in settings.hosts] == ["enforce", "report-only"]


def test_a_change_that_does_not_load_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An anchor before the entry hides that it is written in braces."""
    text = CONFIG.replace(" mode: report-only,", "").replace("hosts:", "defaults: {mode: report-only}\nhosts:")
    text = text.replace(f"- {{host: {HOST}", f"- &one {{host: {HOST}")
    file = stage(tmp_path, text)
    assert promote(file) == ExitCode.FAILURE
    assert "set `mode: enforce` by hand at hosts[0]" in capsys.readouterr().err
    assert file.read_text("utf-8") == text


def test_an_alias_is_left_to_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The word stands at another host."""
    text = CONFIG.replace("mode: report-only, pins", "mode: &m report-only, pins", 1)
    file = stage(tmp_path, text.replace("other.example.test, mode: report-only", "other.example.test, mode: *m"))
    assert promote(file) == ExitCode.FAILURE
    assert "set `mode: enforce` by hand at hosts[0]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "code", "said"),
    [("enforce", ExitCode.OK, "is enforced already"), ("disabled", ExitCode.MISMATCH, "compares no pins")],
)
def test_only_report_only_is_promoted(
    mode: str, code: ExitCode, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is enforced needs nothing; what compares no pins has shown nothing."""
    file = stage(tmp_path, CONFIG.replace("report-only", mode, 1))
    assert promote(file) == code
    output = capsys.readouterr()
    assert said in output.out + output.err


@pytest.mark.parametrize(
    ("host", "said"),
    [("gone.example.test", "no entry of `hosts` is gone.example.test"), ("*x", "has a '*' where none can stand")],
)
def test_a_host_that_is_no_entry_is_a_wrong_command_line(
    host: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the entries there are."""
    assert promote(stage(tmp_path), host=host) == ExitCode.USAGE
    said_at_all = capsys.readouterr().err
    assert said in said_at_all
    assert f"{HOST}, other.example.test" in said_at_all


def test_a_host_is_found_however_it_is_spelt(tmp_path: Path) -> None:
    """Names have no case (RFC 4343)."""
    file = stage(tmp_path)
    assert promote(file, host=HOST.upper()) == ExitCode.OK
    assert file.read_text("utf-8") == CONFIG.replace("report-only", "enforce", 1)


def test_a_name_that_is_for_several_entries_is_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither is taken for the other."""
    entry = f"  - {{host: {HOST}, ports: [8443], mode: report-only, pins: {PINS}}}\n"
    text = CONFIG.replace(f"host: {HOST},", f"host: {HOST}, ports: [443],") + entry
    assert promote(stage(tmp_path, text)) == ExitCode.USAGE
    assert f"say which: {HOST}:443, {HOST}:8443" in capsys.readouterr().err


def test_of_several_entries_for_a_name_the_ports_say_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Promoting the wrong one would leave the other open."""
    text = CONFIG + f"  - {{host: {HOST}, ports: [8443], mode: report-only, pins: {PINS}}}\n"
    file = stage(tmp_path, text)
    assert promote(file, host=f"{HOST}:8443") == ExitCode.MISMATCH
    assert f"there are no observations of {HOST}:8443" in capsys.readouterr().err


def test_a_link_goes_on_pointing_to_the_file_that_was_changed(tmp_path: Path) -> None:
    """What it points to is what the proxy reads."""
    file = stage(tmp_path)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    assert promote(link) == ExitCode.OK
    assert link.is_symlink()
    assert file.read_text("utf-8") == CONFIG.replace("report-only", "enforce", 1)


def test_a_file_that_cannot_be_replaced_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Here its name leaves no room for the one it is written under first."""
    file = stage(tmp_path).rename(tmp_path / ("c" * 245 + ".yaml"))
    assert promote(file) == ExitCode.FAILURE
    assert "`--dry-run` prints the change" in capsys.readouterr().err
    assert file.read_text("utf-8") == CONFIG
