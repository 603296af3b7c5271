"""From settings to the rules that the policy compares."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from pinproxy.authority import Authority
from pinproxy.pins.pin import parse_pin
from pinproxy.policy.rule import DialOverride, HostRule, TrustAnchors
from pinproxy.policy.table import PolicyTable
from pinproxy.settings.load import load_settings
from pinproxy.settings.policy import build_policy_table
from tests.unit.pins.certificates import self_signed

ONE = "sha256/PtWSFM0Pldud4f6ZoFmMBtviOxsno0D7CtgVr/3NgG8="
TWO = "sha256/xRJYanjythfZY7DcrA7STe34LEf7hlxtjeFikyj6tL8="
SETS = f"pin_sets: {{payments: {{pins: [{ONE}, {TWO}]}}, others: {{pins: [{ONE}, {TWO}]}}}}\n"
SYSTEM = TrustAnchors("system", (b"root",))


def table(directory: Path, text: str) -> PolicyTable:
    """Load a configuration and make its table."""
    path = directory / "pinproxy.yaml"
    path.write_text(f"version: 1\n{text}")
    return build_policy_table(load_settings(path, {}, {}), lambda: SYSTEM)


def rule(directory: Path, text: str) -> HostRule:
    """Take the only rule."""
    (only,) = table(directory, text).rules
    return only


def test_a_plain_host_has_the_defaults(tmp_path: Path) -> None:
    """Every field that bears on a verdict."""
    found = rule(tmp_path, SETS + "hosts: [{host: API.example.com, pin_set: payments}]\n")
    assert (found.label, found.mode, found.connect, found.min_tls) == ("api.example.com", "enforce", "intercept", "1.2")
    assert (found.chain_profile, found.trust, found.ports, found.dial) == ("strict", SYSTEM, frozenset(), None)
    assert found.pin_set is not None
    assert found.pin_set.name == "payments"
    assert found.pin_set.pins == (parse_pin(ONE), parse_pin(TWO))


def test_what_a_host_says_beats_the_defaults_key_by_key(tmp_path: Path) -> None:
    """Also where it says what would be the default without them."""
    text = (
        "defaults: {mode: report-only, min_tls: '1.3', chain_profile: compatible, ports: [443], pin_set: payments,\n"
        "  upstream: {address: 10.0.0.7}}\n" + SETS + "hosts:\n"
        "  - {host: a.example}\n"
        "  - {host: b.example, mode: enforce, min_tls: '1.2', ports: [], pin_set: others, upstream: null}\n"
    )
    first, second = table(tmp_path, text).rules
    assert (first.mode, first.min_tls, first.chain_profile) == ("report-only", "1.3", "compatible")
    assert (first.ports, first.dial) == (frozenset({443}), DialOverride("10.0.0.7"))
    assert (second.mode, second.min_tls, second.chain_profile) == ("enforce", "1.2", "compatible")
    assert (second.ports, second.dial) == (frozenset(), None)
    assert [found.pin_set.name for found in (first, second) if found.pin_set] == ["payments", "others"]


def test_what_to_do_about_tls_1_3_is_said_of_tunnels_alone(tmp_path: Path) -> None:
    """The defaults may say it for all of them; a host that is intercepted is not concerned."""
    text = (
        "defaults: {connect: tunnel, tls13: refuse}\nhosts:\n"
        "  - {host: a.example, mode: disabled}\n"
        "  - {host: b.example, mode: disabled, tls13: preflight}\n"
        "  - {host: c.example, mode: disabled, connect: intercept}\n"
    )
    said = [(found.connect, found.tls13) for found in table(tmp_path, text).rules]
    assert said == [("tunnel", "refuse"), ("tunnel", "preflight"), ("intercept", None)]


def test_pins_written_at_a_host_make_a_set_named_after_it(tmp_path: Path) -> None:
    """They beat a pin set of the defaults, and failure texts say where they stand."""
    text = SETS + f"defaults: {{pin_set: payments}}\nhosts: [{{host: '*.example.com', pins: [{ONE}, {TWO}]}}]\n"
    found = rule(tmp_path, text)
    assert found.pin_set is not None
    assert found.pin_set.name == "*.example.com"


def test_a_disabled_host_may_have_pins_or_none(tmp_path: Path) -> None:
    """Listed, its chain verified, its pins not compared."""
    assert rule(tmp_path, "hosts: [{host: a.example, mode: disabled}]\n").pin_set is None
    assert rule(tmp_path, SETS + "hosts: [{host: a.example, mode: disabled, pin_set: payments}]\n").pin_set is not None


def test_a_pin_set_keeps_its_expiry_and_what_follows(tmp_path: Path) -> None:
    """The verdict asks both."""
    text = f"pin_sets: {{x: {{pins: [{ONE}, {TWO}], expires: 2036-12-31, on_expiry: report-only}}}}\n"
    found = rule(tmp_path, text + "hosts: [{host: a.example, pin_set: x}]\n").pin_set
    assert found is not None
    assert found.expires is not None
    assert (found.expires.date().isoformat(), found.on_expiry) == ("2036-12-31", "report-only")


def test_roots_of_a_file_replace_the_systems(tmp_path: Path) -> None:
    """The system's are not even asked for."""
    item = self_signed("root")
    (tmp_path / "roots.pem").write_bytes(item.x509.public_bytes(Encoding.PEM))
    path = tmp_path / "pinproxy.yaml"
    path.write_text("version: 1\nhosts: [{host: a.example, mode: disabled, trust: {ca_file: roots.pem}}]\n")

    def unwanted() -> TrustAnchors:
        raise AssertionError("nobody wants the system's roots")

    (found,) = build_policy_table(load_settings(path, {}, {}), unwanted).rules
    assert found.trust == TrustAnchors(str(tmp_path / "roots.pem"), (item.der,))


def test_the_systems_roots_are_read_once(tmp_path: Path) -> None:
    """They are 200 KiB, and equal roots share a TLS context."""
    asked = []

    def system_roots() -> TrustAnchors:
        asked.append(True)
        return SYSTEM

    path = tmp_path / "pinproxy.yaml"
    path.write_text("version: 1\nhosts: [{host: a.example, mode: disabled}, {host: b.example, mode: disabled}]\n")
    first, second = build_policy_table(load_settings(path, {}, {}), system_roots).rules
    assert first.trust is second.trust
    assert len(asked) == 1


@pytest.mark.parametrize("unlisted", ["deny", "allow"])
def test_the_table_knows_what_to_do_with_other_hosts(tmp_path: Path, unlisted: str) -> None:
    """And does not know them."""
    found = table(tmp_path, f"unlisted: {unlisted}\nhosts: [{{host: a.example, mode: disabled}}]\n")
    assert found.unlisted == unlisted
    assert found.lookup(Authority("b.example", 443)) is None
