"""`check` and observations: renewals that came with a new key, pins that stood in no chain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from pinproxy.pins.pin import Pin
from pinproxy.policy.rule import HostRule
from pinproxy.report.observations import Observations
from tests.harness.command_line import BACKUP
from tests.harness.observing import TODAY, observe, write_observations
from tests.harness.pki import Issued, make_intermediate, make_leaf, make_root
from tests.harness.running import HOST, host_rule

ROOT = make_root("Example Root")
ISSUER = make_intermediate(ROOT, "Example CA R13")
OLD, NEW = make_leaf(ISSUER, HOST), make_leaf(ISSUER, HOST)
WATCHED = host_rule([make_leaf(ROOT, HOST).pin], ROOT.anchors, mode="report-only")
ENFORCED = host_rule([make_leaf(ROOT, HOST).pin], ROOT.anchors)


def checked(
    directory: Path, capsys: pytest.CaptureFixture[str], pins: Sequence[object], seen: Observations | bytes | None
) -> str:
    """Check a configuration with observations; its remarks but that on the Python it runs on."""
    file = directory / "seen.json"
    if isinstance(seen, bytes):
        file.write_bytes(seen)
    elif seen is not None:
        write_observations(file, seen)
    config = directory / "c.yaml"
    config.write_text(
        f"version: 1\nobservations: {{file: seen.json}}\nhosts:\n  - {{host: {HOST}, pins: [{', '.join(map(str, pins))}]}}\n",
        "utf-8",
    )
    assert invoke(["check", "-c", str(config)]) == ExitCode.OK
    lines = capsys.readouterr().err.splitlines()
    return "\n".join(line.removeprefix(f"{config}:") for line in lines if "CVE-" not in line)


def renewed(*leaves: Issued, rule: HostRule = WATCHED) -> Observations:
    """Observe one certificate after the other, ten days each."""
    seen = Observations(TODAY)
    for index, leaf in enumerate(leaves):
        for days in (19, 10):
            observe(seen, rule, (leaf, ISSUER, ROOT), days_ago=days + 20 * (len(leaves) - index))
    return seen


@pytest.mark.parametrize(
    ("pins", "seen", "said"),
    [
        ([OLD.pin, NEW.pin], renewed(OLD, NEW), "warning: hosts[0]: api.example.test:443 was renewed with a new key once since"),
        ([NEW.pin, BACKUP], renewed(OLD, NEW), "note: hosts[0]: api.example.test:443 was renewed with a new key once since"),
        ([NEW.pin, BACKUP], renewed(OLD, make_leaf(ISSUER, HOST), NEW), "new key 2 times since"),
    ],
    ids=["without a next key", "with one", "twice"],
)
def test_a_renewal_with_a_new_key_will_come_again(
    pins: list[Pin | str], seen: Observations, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the leaf's own key is pinned, and it is not kept."""
    assert said in checked(tmp_path, capsys, pins, seen)


@pytest.mark.parametrize(
    ("pins", "seen"),
    [
        ([NEW.pin, ISSUER.pin], renewed(OLD, NEW)),
        ([OLD.pin, BACKUP], renewed(OLD, make_leaf(ISSUER, HOST, key=OLD.key))),
        ([OLD.pin, BACKUP], renewed(OLD, NEW, OLD, NEW, OLD)),
        ([NEW.pin, BACKUP], renewed(NEW)),
        ([NEW.pin, BACKUP], renewed(OLD, NEW, rule=ENFORCED)),
    ],
    ids=["the issuer is pinned", "the key was kept", "two take turns", "never renewed", "whoever it was, he was denied"],
)
def test_what_is_no_renewal_with_a_new_key_is_left_alone(
    pins: list[Pin | str], seen: Observations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The twins."""
    assert "was renewed" not in checked(tmp_path, capsys, pins, seen)


def test_a_pin_that_stood_in_no_chain_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the host did match, so that its pins are not simply wrong."""
    seen = renewed(OLD, rule=host_rule([OLD.pin], ROOT.anchors))
    found = checked(tmp_path, capsys, [OLD.pin, BACKUP], seen)
    assert found.count("in no chain that was observed") == 1
    assert "note: hosts[0].pins[1]: in no chain that was observed since" in found
    assert "in no chain" not in checked(tmp_path, capsys, [OLD.pin, BACKUP], renewed(OLD))


@pytest.mark.parametrize(("seen", "said"), [(None, ""), (b"{}", "note: observations.file: not looked at: found no observations")])
def test_observations_that_are_not_there_or_cannot_be_read_stop_nothing(
    seen: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A proxy that has not run yet has none."""
    found = checked(tmp_path, capsys, [OLD.pin, BACKUP], seen)
    assert found.partition(" ")[2].startswith(said)
    assert bool(found) is bool(said)
