"""A reload costs what it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from pinproxy.policy.rule import TrustAnchors
from pinproxy.settings.load import load_settings
from pinproxy.settings.loaded import Loaded, load

ROOTS = TrustAnchors("system", (b"a root",))
ONE, OTHER, THIRD = (f"sha256/{letter * 43}=" for letter in "AEI")
CONFIGURATION = f"""
version: 1
hosts:
  - {{host: a.example, pins: [{ONE}, {OTHER}]}}
  - {{host: b.example, ports: [443], pins: [{ONE}, {OTHER}]}}
"""

Load = Callable[..., Loaded]


def as_values(loaded: Loaded) -> tuple[object, ...]:
    """Everything by value; a table has no equality of its own."""
    return (loaded.settings, loaded.table.rules, loaded.table.unlisted, loaded.warnings)


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Load a configuration from its text, after another."""
    file = tmp_path / "pinproxy.yaml"

    def write_and_load(text: str, before: Loaded | None = None) -> Loaded:
        file.write_text(text)
        return load(lambda: load_settings(file, {}, {}), lambda: ROOTS, before)

    return write_and_load


def test_what_has_not_changed_stays_the_very_object(loaded: Load) -> None:
    """Also when it stands elsewhere in the file: nothing is made anew that the old one can be used for."""
    before = loaded(CONFIGURATION)
    first, second = CONFIGURATION.splitlines()[-2:]
    after = loaded(CONFIGURATION.replace(f"{first}\n{second}", f"{second}\n{first}"), before)
    assert [id(rule) for rule in after.table.rules] == [id(rule) for rule in reversed(before.table.rules)]
    assert [id(host) for host in after.settings.hosts] == [id(host) for host in reversed(before.settings.hosts)]


def test_what_has_changed_is_what_the_file_says(loaded: Load) -> None:
    """The twin: one pin of one host is another one."""
    before = loaded(CONFIGURATION)
    text = CONFIGURATION.replace(f"[443], pins: [{ONE}", f"[443], pins: [{THIRD}")
    after = loaded(text, before)
    assert after.table.rules[0] is before.table.rules[0]
    assert as_values(after) == as_values(loaded(text))
    assert as_values(after) != as_values(before)


def test_a_default_that_changes_reaches_the_hosts_that_have_not(loaded: Load) -> None:
    """A host is the same entry of the file, and its rule another one."""
    before = loaded(CONFIGURATION)
    after = loaded(CONFIGURATION + "defaults: {mode: report-only}\n", before)
    assert after.settings.hosts[0] is before.settings.hosts[0]
    assert [rule.mode for rule in after.table.rules] == ["report-only", "report-only"]


def test_a_file_with_other_content_under_the_same_name_is_a_change(loaded: Load, tmp_path: Path) -> None:
    """What stands in a file that an entry names is part of the entry."""
    text = CONFIGURATION + "defaults: {trust: {ca_file: ca.pem}}\n"
    (tmp_path / "ca.pem").write_bytes(trustme.CA(key_type=trustme.KeyType.ECDSA).cert_pem.bytes())
    before = loaded(text)
    (tmp_path / "ca.pem").write_bytes(trustme.CA(key_type=trustme.KeyType.ECDSA).cert_pem.bytes())
    after = loaded(text, before)
    assert after.table.rules[0].trust != before.table.rules[0].trust
    assert as_values(after) == as_values(loaded(text))
