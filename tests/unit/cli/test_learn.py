"""`pinproxy learn`: observations in, a pin set that loads out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pinproxy.authority import Authority
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from pinproxy.policy.rule import PinsOnly
from pinproxy.report.observations import Observations
from pinproxy.settings.load import load_settings
from tests.harness.command_line import BACKUP
from tests.harness.defects import forge_leaf
from tests.harness.observing import TODAY, observe, write_observations
from tests.harness.pki import make_intermediate, make_leaf, make_root
from tests.harness.running import HOST, host_rule

ROOT = make_root("Example Root")
ISSUER = make_intermediate(ROOT, "Example CA R13")
LEAF, OTHER = make_leaf(ISSUER, HOST), make_leaf(ISSUER, HOST)
WATCHED = host_rule([make_leaf(ROOT, HOST).pin], ROOT.anchors, mode="report-only")
ENFORCED = host_rule([make_leaf(ROOT, HOST).pin], ROOT.anchors)
PATH = (LEAF, ISSUER, ROOT)


@pytest.fixture
def observations(tmp_path: Path) -> Path:
    """Three connections to the host on two days, one of them to another port."""
    seen = Observations(TODAY)
    observe(seen, WATCHED, PATH, days_ago=1)
    observe(seen, WATCHED, PATH)
    observe(seen, WATCHED, PATH, authority=Authority(HOST, 8443))
    return write_observations(tmp_path / "seen.json", seen)


def learn(file: Path, *arguments: str) -> int:
    """Run the command on a file."""
    return invoke(["learn", "--observations", str(file), *arguments])


def test_the_pin_set_can_be_pasted_and_says_what_it_stands_on(
    observations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Leaf and issuer at their positions; the hosts, once their comment signs are taken away, load too."""
    assert learn(observations) == ExitCode.OK
    printed = capsys.readouterr().out
    assert "3 connections on 2 days; holds while the server keeps its key" in printed
    assert "3 connections on 2 days; any certificate this CA issues for the host passes" in printed
    assert "No backup pin is among these" in printed
    file = tmp_path / "c.yaml"
    file.write_text(as_configuration(printed), "utf-8")
    settings = load_settings(file, {}, {})
    pins = [section.to_pin() for section in settings.pin_sets["api-example-test"].pins]
    assert [(str(pin), pin.position) for pin in pins] == [(str(LEAF.pin), "leaf"), (str(ISSUER.pin), "ca")]
    assert pins[0].note == f"CN={HOST} until {LEAF.certificate.not_valid_after_utc:%Y-%m-%d}"
    assert [(str(host.host), host.mode) for host in settings.hosts] == [(HOST, "report-only")]


def as_configuration(printed: str) -> str:
    """Take the comment signs of the hosts away."""
    return f"version: 1\n{printed}".replace("# hosts:", "hosts:").replace("#   - {host", "  - {host")


@pytest.mark.parametrize("is_configured", [True, False])
def test_a_host_without_a_chain_gets_an_entry_that_loads(
    is_configured: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`trust: pins-only` takes no report-only; where no configuration says so, the entry leaves both open."""
    rule = host_rule([LEAF.pin], PinsOnly())
    seen = Observations(TODAY)
    observe(seen, rule, (LEAF,))
    config = tmp_path / "c.yaml"
    config.write_text(f"version: 1\nhosts:\n  - {{host: {HOST}, pins: [{LEAF.pin}, {BACKUP}], trust: pins-only}}\n")
    named = ("--config", str(config)) if is_configured else ()
    assert learn(write_observations(tmp_path / "seen.json", seen), *named) == ExitCode.OK
    printed = capsys.readouterr().out
    config.write_text(as_configuration(printed).replace("    pins:\n", f"    pins:\n      - {BACKUP}\n"))
    (host,) = load_settings(config, {}, {}).hosts
    assert (str(host.host), host.mode, host.trust.is_pins_only) == (HOST, "enforce", is_configured)
    assert ("keep the `trust` it has" in printed) is not is_configured


@pytest.mark.parametrize(
    ("mode", "said"), [("enforce", "}   # enforced, and to stay so"), ("report-only", ", mode: report-only}")]
)
def test_an_enforced_host_is_not_proposed_to_be_less(
    mode: str, said: str, observations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever pastes the entry over the old one must not open the host by it."""
    config = tmp_path / "c.yaml"
    config.write_text(f"version: 1\nhosts:\n  - {{host: {HOST}, pins: [{LEAF.pin}, {ISSUER.pin}], mode: {mode}}}\n")
    assert learn(observations, "--config", str(config)) == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[-1] == f'#   - {{host: "{HOST}", pin_set: api-example-test{said}'


def test_keys_in_doubt_are_comments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was denied is told and not pinned; a host of which there is nothing else has no set, and the exit code says so."""
    seen = Observations(TODAY)
    observe(seen, ENFORCED, PATH)
    assert learn(write_observations(tmp_path / "seen.json", seen)) == ExitCode.FAILURE
    printed = capsys.readouterr().out
    assert f"# - {{pin: {LEAF.pin}" in printed
    assert "denied each time" in printed
    assert all(line.lstrip().startswith("#") for line in printed.splitlines())


def test_hosts_that_were_never_seen_are_named(observations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that were asked for, or else those of the configuration; the first are a failure."""
    assert learn(observations, HOST, "gone.example") == ExitCode.FAILURE
    assert "# never seen: gone.example;" in capsys.readouterr().out
    config = tmp_path / "c.yaml"
    pins = f"pins: [{LEAF.pin}, {ISSUER.pin}]"
    config.write_text(f"version: 1\nhosts:\n  - {{host: {HOST}, {pins}}}\n  - {{host: '*.new.example', {pins}}}\n")
    assert learn(observations, "--config", str(config)) == ExitCode.OK
    printed = capsys.readouterr().out
    assert [line.partition(";")[0] for line in printed.splitlines() if "never seen" in line] == ["# never seen: *.new.example"]


def test_for_machines_there_is_everything(observations: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, dates and doubts."""
    assert learn(observations, "--json", HOST) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert found["never_seen"] == []
    (host,) = found["hosts"]
    assert (host["host"], host["ports"], host["counts"]["would_deny"]) == (HOST, [443, 8443], 3)
    assert [(pin["pin"], pin["position"], pin["doubt"]) for pin in host["pins"]] == [
        (str(LEAF.pin), "leaf", None),
        (str(ISSUER.pin), "ca", None),
    ]


def test_what_a_certificate_says_of_itself_stays_inside_its_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A subject is other people's text: no quote, line end or colour of it gets out (CWE-117)."""
    evil = forge_leaf(ISSUER, HOST, common_name='x"}\n      - sha256/AAAA # \x1b[2J')
    seen = Observations(TODAY)
    observe(seen, WATCHED, (evil, ISSUER, ROOT))
    assert learn(write_observations(tmp_path / "seen.json", seen)) == ExitCode.OK
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert len(YAML(typ="safe").load(printed)["pin_sets"]["api-example-test"]["pins"]) == 2


def test_hosts_whose_names_would_be_one_get_two_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A duplicate key would not load."""
    seen = Observations(TODAY)
    for host in ("a.b-c.test", "a-b.c.test"):
        observe(seen, WATCHED, PATH, authority=Authority(host, 443))
    assert learn(write_observations(tmp_path / "seen.json", seen)) == ExitCode.OK
    assert set(YAML(typ="safe").load(capsys.readouterr().out)["pin_sets"]) == {"a-b-c-test", "a-b-c-test-2"}


@pytest.mark.parametrize(
    ("content", "said"), [(None, "is not there; a proxy writes it"), (b"{}", "found no observations of pinproxy")]
)
def test_a_file_that_is_none_is_said(
    content: bytes | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do."""
    file = tmp_path / "seen.json"
    if content is not None:
        file.write_bytes(content)
    assert learn(file) == ExitCode.FAILURE
    assert said in capsys.readouterr().err


def test_two_places_to_read_are_one_too_many(observations: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which would win?"""
    assert learn(observations, "--admin", "127.0.0.1:9470") == ExitCode.USAGE
    assert "expected one of them" in capsys.readouterr().err
