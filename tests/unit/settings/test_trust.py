"""`trust`, from the file to the rule; what contradicts it stands in tests/data/bad_configs/pins-only.yaml."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pinproxy.policy.rule import HostRule, PinsOnly, TrustAnchors
from pinproxy.settings.checks import startup_warnings
from pinproxy.settings.document import dotted
from pinproxy.settings.lint import lint
from pinproxy.settings.load import load_settings
from pinproxy.settings.model import Settings
from pinproxy.settings.policy import build_policy_table

A = "sha256/PtWSFM0Pldud4f6ZoFmMBtviOxsno0D7CtgVr/3NgG8="
B = "sha256/xRJYanjythfZY7DcrA7STe34LEf7hlxtjeFikyj6tL8="
PINS = f"pins: [{A}, {{pin: {B}, position: ca}}]"
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


def load(directory: Path, text: str) -> Settings:
    """Load a configuration."""
    path = directory / "c.yaml"
    path.write_text(f"version: 1\n{text}")
    return load_settings(path, {}, {})


def rules(settings: Settings) -> tuple[HostRule, ...]:
    """Make its rules."""
    return build_policy_table(settings, lambda: TrustAnchors("system", (b"root",))).rules


def remarks(settings: Settings) -> list[str]:
    """Lint it."""
    return [f"{found.severity} {dotted(found.place)}: {found.message}" for found in lint(settings, NOW)]


@pytest.mark.parametrize(
    ("further", "expected"),
    [
        ("", PinsOnly()),
        (", unsafe_skip_hostname: true", PinsOnly(unsafe_skip_hostname=True)),
        (", unsafe_skip_dates: true", PinsOnly(unsafe_skip_dates=True)),
        (", unsafe_skip_dates: true, unsafe_skip_hostname: false", PinsOnly(unsafe_skip_dates=True)),
    ],
)
def test_pins_only_switches_off_what_is_named_and_nothing_else(further: str, expected: PinsOnly, tmp_path: Path) -> None:
    """And needs no roots."""
    (found,) = rules(load(tmp_path, f"hosts: [{{host: a.example, trust: pins-only, {PINS}{further}}}]\n"))
    assert found.trust == expected


def test_the_defaults_may_say_pins_only_and_a_host_otherwise(tmp_path: Path) -> None:
    """Key by key, as ever."""
    text = f"defaults: {{trust: pins-only}}\nhosts: [{{host: a.example, {PINS}}}, {{host: b.example, trust: system, {PINS}}}]\n"
    first, second = rules(load(tmp_path, text))
    assert (first.trust, second.trust) == (PinsOnly(), TrustAnchors("system", (b"root",)))


def test_a_change_of_trust_is_a_change_of_settings(tmp_path: Path) -> None:
    """Neither of the two words names a file, and still they are not the same."""
    written = [load(tmp_path, f"hosts: [{{host: a.example, trust: {word}, {PINS}}}]\n") for word in ("system", "pins-only")]
    assert written[0] != written[1]


def test_what_is_switched_off_is_said_at_start_and_by_check(tmp_path: Path) -> None:
    """Each by its own name."""
    text = f"hosts: [{{host: a.example, trust: pins-only, {PINS}, unsafe_skip_hostname: true, unsafe_skip_dates: true}}]\n"
    settings = load(tmp_path, text)
    assert startup_warnings(settings) == (
        "hosts[0].unsafe_skip_hostname: a.example: a certificate for any name will do, if its pin is right",
        "hosts[0].unsafe_skip_dates: a.example: a certificate outside its dates will do, if its pin is right",
    )
    assert remarks(settings) == [
        "warning hosts[0].unsafe_skip_hostname: a certificate for any name will do, if its pin is right",
        "warning hosts[0].unsafe_skip_dates: a certificate outside its dates will do, if its pin is right",
        "note hosts[0].trust: a.example: no chain is validated; the pin of its own certificate is all there is to tell it by",
    ]


def test_pins_only_alone_is_noted_and_no_cause_for_alarm(tmp_path: Path) -> None:
    """The twin."""
    settings = load(tmp_path, f"hosts: [{{host: a.example, trust: pins-only, {PINS}}}]\n")
    assert startup_warnings(settings) == ()
    assert [remark.partition(" ")[0] for remark in remarks(settings)] == ["note"]


@pytest.mark.parametrize(("trust", "is_noted"), [("pins-only", True), ("system", False)])
def test_an_on_expiry_without_effect_is_noted(trust: str, is_noted: bool, tmp_path: Path) -> None:
    """Another host of the same set may mean it."""
    pin_set = f"{{{PINS}, expires: 2027-01-31, on_expiry: disabled}}"
    text = f"pin_sets: {{p: {pin_set}}}\nhosts: [{{host: a.example, trust: {trust}, pin_set: p}}]\n"
    note = (
        "note hosts[0].pin_set: `on_expiry` of p has no effect here: with `trust: pins-only` mismatches are denied after it, too"
    )
    assert (note in remarks(load(tmp_path, text))) is is_noted
