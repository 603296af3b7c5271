"""What `check` remarks on: each remark with the configuration that earns it, and a twin that does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pinproxy.policy.public_suffix import PublicSuffixes
from pinproxy.settings.document import dotted
from pinproxy.settings.lint import PythonVersion, lint
from pinproxy.settings.load import load_settings

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
A = "sha256/PtWSFM0Pldud4f6ZoFmMBtviOxsno0D7CtgVr/3NgG8="
B = "sha256/xRJYanjythfZY7DcrA7STe34LEf7hlxtjeFikyj6tL8="


def remarks(directory: Path, text: str, now: datetime = NOW) -> list[str]:
    """Lint a configuration; `severity place: message`."""
    file = directory / "c.yaml"
    file.write_text(f"version: 1\n{text}", "utf-8")
    return [f"{found.severity} {dotted(found.place)}: {found.message}" for found in lint(load_settings(file, {}, {}), now)]


def pin_set(text: str) -> str:
    """Write a pin set `p`, used by one host."""
    return f"pin_sets:\n  p: {{{text}}}\nhosts:\n  - {{host: a.example, pin_set: p}}\n"


def test_a_sound_configuration_earns_no_remark(tmp_path: Path) -> None:
    """Two pins, a far expiry, every set used."""
    assert remarks(tmp_path, pin_set(f"pins: [{A}, {B}], expires: 2027-01-31")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"pins: [{A}], allow_single_pin: true", "warning pin_sets.p.pins: a single pin, without a backup"),
        (
            f"pins: [{A}, {{pin: {B}, not_after: 2026-06-01}}]",
            "warning pin_sets.p.pins[1]: the pin has not counted since 2026-06-01; remove it",
        ),
        (f"pins: [{A}, {{pin: {B}, not_after: 2026-06-01}}]", "warning pin_sets.p.pins: only one pin is left, without a backup"),
        (
            f"pins: [{{pin: {A}, not_after: 2026-01-01}}, {{pin: {B}, not_after: 2026-06-01}}]",
            "warning pin_sets.p.pins: every pin is past its not_after: no chain can match",
        ),
        (
            f"pins: [{A}, {{pin: {B}, not_after: 2026-06-16}}]",
            "warning pin_sets.p.pins[1]: the pin counts until 2026-06-16, in 1 day; see that its successor is listed",
        ),
        (f"pins: [{A}, {B}, {A}]", f"warning pin_sets.p.pins[2]: {A} is already pin_sets.p.pins[0]; remove one of them"),
        (
            f"pins: [{A}, {B}, {{pin: {A}, position: leaf}}]",
            f"warning pin_sets.p.pins[2]: {A} is already pin_sets.p.pins[0], and one of them is for every position; remove one",
        ),
        (
            f"pins: [{A}, {B}], expires: 2026-06-14",
            "warning pin_sets.p.expires: the set expired on 2026-06-14: mismatches are denied all the same",
        ),
        (
            f"pins: [{A}, {B}], expires: 2026-06-14, on_expiry: report-only",
            "warning pin_sets.p.expires: the set expired on 2026-06-14: mismatches pass and are reported",
        ),
        (
            f"pins: [{A}, {B}], expires: 2026-06-15, on_expiry: disabled",
            "warning pin_sets.p.expires: the set expires on 2026-06-15, in less than a day; then mismatches pass",
        ),
        (
            f"pins: [{A}, {B}], expires: 2026-07-10",
            "warning pin_sets.p.expires: the set expires on 2026-07-10, in 25 days; then mismatches are denied all the same",
        ),
        (
            f"pins: [{A}, {B}], expires: 2027-01-31, on_expiry: disabled",
            "note pin_sets.p.on_expiry: after 2027-01-31 mismatches pass",
        ),
    ],
)
def test_what_is_wrong_with_a_pin_set_is_said(text: str, expected: str, tmp_path: Path) -> None:
    """The place is the one to edit."""
    found = remarks(tmp_path, pin_set(text))
    assert [remark for remark in found if remark.startswith(expected)], found


@pytest.mark.parametrize(
    "text",
    [
        f"pins: [{A}, {{pin: {B}, not_after: 2026-08-01}}]",
        f"pins: [{A}, {B}], expires: 2026-08-01",
        f"pins: [{{pin: {A}, position: leaf}}, {{pin: {A}, position: ca}}, {B}]",
    ],
    ids=["a pin with time left", "a set with time left", "one key at two positions"],
)
def test_what_is_well_is_left_alone(text: str, tmp_path: Path) -> None:
    """The twins."""
    assert remarks(tmp_path, pin_set(text)) == []


def test_a_single_pin_that_was_insisted_on_still_has_no_backup(tmp_path: Path) -> None:
    """`allow_single_pin` makes it load; the risk is the same, at a host's own pins too."""
    found = remarks(tmp_path, f"hosts:\n  - {{host: a.example, pins: [{A}], allow_single_pin: true}}\n")
    assert [remark.partition(":")[0] for remark in found] == ["warning hosts[0].pins"]


def test_a_pin_set_that_no_host_uses_is_said(tmp_path: Path) -> None:
    """Most often a host was meant to name it; pins at the host itself win over it."""
    text = f"pin_sets:\n  p: {{pins: [{A}, {B}]}}\ndefaults: {{pin_set: p}}\nhosts:\n  - {{host: a.example, pins: [{A}, {B}]}}\n"
    assert remarks(tmp_path, text) == [
        "warning pin_sets.p: no host uses this pin set; remove it, or name it in the `pin_set` of its hosts"
    ]
    assert remarks(tmp_path, text + "  - {host: b.example}\n") == []


def test_hosts_that_are_not_enforced_are_noted(tmp_path: Path) -> None:
    """A week of report-only easily becomes a year."""
    text = f"hosts:\n  - {{host: a.example, mode: report-only, pins: [{A}, {B}]}}\n  - {{host: b.example, mode: disabled}}\n"
    assert remarks(tmp_path, text) == [
        "note hosts[0].mode: a.example is report-only: a pin mismatch passes and is reported",
        "note hosts[1].mode: b.example is not pinned; chain, name and dates are verified",
    ]


def test_what_lets_strangers_in_or_out_is_noted(tmp_path: Path) -> None:
    """`unlisted: allow` and `unsafe_listen`."""
    text = "listen: ['0.0.0.0:1']\nunsafe_listen: true\nunlisted: allow\n"
    assert remarks(tmp_path, text) == [
        "warning hosts: no host is listed, so nothing is pinned",
        "note unlisted: hosts without an entry pass without pins",
        "note unsafe_listen: whoever reaches a `listen` address may send through this proxy",
    ]
    assert remarks(tmp_path, "") == ["warning hosts: no host is listed, so every request is refused"]


@pytest.mark.parametrize(
    ("narrow", "wide", "is_weaker_elsewhere"),
    [
        ("host: a.b.example, ports: [443]", "host: '*.b.example', mode: disabled", True),
        ("host: a.b.example, ports: [443]", "host: '**.example', mode: report-only", True),
        ("host: '*.b.example', ports: [443]", "host: '**.b.example', mode: disabled", True),
        ("host: a.b.example, ports: [443]", "host: '*.b.example', mode: disabled, ports: [443]", False),
        ("host: a.b.example, ports: [443]", "host: '*.b.example', mode: disabled, ports: [443, 8443]", True),
        ("host: a.b.example", "host: '*.b.example', mode: disabled", False),
        ("host: a.b.example, ports: [443]", "host: '*.b.example', mode: enforce", False),
        ("host: a.b.example, ports: [443]", "host: '*.example', mode: disabled", False),
        ("host: '**.b.example', ports: [443]", "host: '*.b.example', mode: disabled", False),
    ],
)
def test_ports_left_to_a_weaker_pattern_are_said(narrow: str, wide: str, is_weaker_elsewhere: bool, tmp_path: Path) -> None:
    """An entry for port 443 alone leaves 8443 to whatever covers the host besides."""
    text = f"hosts:\n  - {{{narrow}, pins: [{A}, {B}]}}\n  - {{{wide}, pins: [{A}, {B}]}}\n"
    found = [remark for remark in remarks(tmp_path, text) if remark.startswith("warning")]
    assert [remark.partition(":")[0] for remark in found] == ["warning hosts[0].ports"] * is_weaker_elsewhere


def test_ports_that_another_entry_of_the_same_host_serves_are_no_gap(tmp_path: Path) -> None:
    """The host's own entry for every other port comes before any wider pattern."""
    text = (
        f"hosts:\n  - {{host: a.b.example, ports: [443], pins: [{A}, {B}]}}\n"
        f"  - {{host: a.b.example, pins: [{A}, {B}]}}\n  - {{host: '*.b.example', mode: disabled}}\n"
    )
    assert not [remark for remark in remarks(tmp_path, text) if remark.startswith("warning")]


def test_a_key_in_two_spellings_is_a_duplicate(tmp_path: Path) -> None:
    """A second spelling is no backup; the twin is another key."""
    curls = A.replace("/", "//", 1)
    (found,) = remarks(tmp_path, pin_set(f"pins: [{A}, {curls}, {B}]"))
    assert found == f"warning pin_sets.p.pins[1]: {A} is already pin_sets.p.pins[0]; remove one of them"


def test_how_far_ahead_an_expiry_is_near_can_be_said(tmp_path: Path) -> None:
    """A pipeline that runs monthly looks further than one that runs daily."""
    file = tmp_path / "c.yaml"
    file.write_text(f"version: 1\n{pin_set(f'pins: [{A}, {B}], expires: 2026-08-01')}", "utf-8")
    settings = load_settings(file, {}, {})
    assert lint(settings, NOW, timedelta(days=30)) == ()
    (found,) = lint(settings, NOW, timedelta(days=60))
    assert found.message.startswith("the set expires on 2026-08-01, in 47 days")


@pytest.mark.parametrize(
    ("host", "is_warned"),
    [("'**.co.uk'", True), ("'*.com'", True), ("'*.shop.co.uk'", False), ("co.uk", False), ("'**.internal'", False)],
)
def test_a_wildcard_over_a_public_suffix_is_warned_of(host: str, is_warned: bool, tmp_path: Path) -> None:
    """Whoever registers a name there would be listed, and with `unlisted: deny` reachable."""
    file = tmp_path / "c.yaml"
    file.write_text(f"version: 1\nhosts:\n  - {{host: {host}, pins: [{A}, {B}]}}\n", "utf-8")
    found = lint(load_settings(file, {}, {}), NOW, suffixes=PublicSuffixes(frozenset({"co.uk"})))
    assert [remark.message.partition(":")[0].partition(" ")[2] for remark in found] == ["is a public suffix"] * is_warned


@pytest.mark.parametrize(
    ("narrow", "wide", "is_said"),
    [
        ("host: a.b.example, mode: disabled", "host: '**.example'", True),
        ("host: '*.b.example', mode: report-only", "host: '**.example'", True),
        ("host: a.b.example, mode: report-only", "host: '*.b.example', mode: report-only", False),
        ("host: a.b.example, mode: disabled, ports: [80]", "host: '*.b.example', ports: [443]", False),
        ("host: a.b.example, mode: disabled", "host: '*.example'", False),
        ("host: a.b.example", "host: '*.b.example', mode: disabled", False),
    ],
)
def test_an_entry_that_takes_a_host_out_of_a_stricter_one_is_noted(narrow: str, wide: str, is_said: bool, tmp_path: Path) -> None:
    """The wildcard looks as if it held for the host, and the name shadows it."""
    text = f"hosts:\n  - {{{narrow}, pins: [{A}, {B}]}}\n  - {{{wide}, pins: [{A}, {B}]}}\n"
    found = [remark for remark in remarks(tmp_path, text) if "takes" in remark]
    assert [remark.partition(":")[0] for remark in found] == ["note hosts[0].host"] * is_said


@pytest.mark.parametrize(
    ("python", "options", "is_said"),
    [
        ((3, 11, 16), "", True),
        ((3, 11, 17), "", False),
        ((3, 13, 15), "", True),
        ((3, 14, 8), "", False),
        ((3, 15, 0), "", False),
        ((3, 11, 2), ", connect: tunnel, tls13: refuse", False),
    ],
)
def test_a_python_with_a_known_hole_in_its_tls_is_noted(
    python: PythonVersion, options: str, is_said: bool, tmp_path: Path
) -> None:
    """CVE-2026-19445, where clients' TLS ends here."""
    file = tmp_path / "c.yaml"
    file.write_text(f"version: 1\nhosts:\n  - {{host: a.example, pins: [{A}, {B}]{options}}}\n", "utf-8")
    found = lint(load_settings(file, {}, {}), NOW, python=python)
    assert ["CVE-2026-19445" in remark.message for remark in found] == [True] * is_said
