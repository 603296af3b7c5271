"""What a rule may be, and when two of them are the same."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.pattern import parse_pattern
from pinproxy.policy.rule import ClientCertificate, DialOverride, HostRule, Mode, PinsOnly, TrustAnchors
from tests.harness.pki import make_root

ROOT = make_root()
PINS = PinSet("pins", (ROOT.pin,))
RULE = HostRule(parse_pattern("api.example.test"), "enforce", PINS, TrustAnchors("system", (ROOT.der,)))

OTHERWISE: dict[str, dict[str, Any]] = {
    "pattern": {"pattern": parse_pattern("*.example.test")},
    "mode": {"mode": "report-only"},
    "pin_set": {"pin_set": replace(PINS, forbidden=(ROOT.pin,))},
    "trust": {"trust": TrustAnchors("system", (ROOT.der, ROOT.der))},
    "ports": {"ports": frozenset({443})},
    "connect": {"connect": "tunnel", "tls13": "refuse"},
    "tls13": {"connect": "tunnel", "tls13": "preflight"},
    "min_tls": {"min_tls": "1.3"},
    "chain_profile": {"chain_profile": "compatible"},
    "dial": {"dial": DialOverride("192.0.2.7")},
    "client_cert": {"client_cert": ClientCertificate("me.pem", b"PEM")},
}


def test_every_field_takes_part_in_the_comparison() -> None:
    """A field that is forgotten would let a pooled connection outlive its policy (a curl CVE was exactly that)."""
    assert set(OTHERWISE) == {field.name for field in fields(HostRule) if field.init}
    for name, change in OTHERWISE.items():
        other = replace(RULE, **change)
        assert other != RULE, name
        assert replace(other) == other


@pytest.mark.parametrize("name", ["trust", "connect", "tls13", "min_tls", "chain_profile", "dial", "client_cert"])
def test_what_bears_on_the_chain_makes_another_verification(name: str) -> None:
    """A tunnel that is open was verified in the old way."""
    assert not RULE.verifies_like(replace(RULE, **OTHERWISE[name]))


@pytest.mark.parametrize("name", ["pattern", "mode", "pin_set", "ports"])
def test_what_bears_on_the_pins_alone_does_not(name: str) -> None:
    """The twins: an open tunnel's chain can be judged anew under these."""
    assert RULE.verifies_like(replace(RULE, **OTHERWISE[name]))


@pytest.mark.attack(
    "an empty list of pins that is taken for leave",
    expect="not start",
    topic="pins",
    motive="a gateway where an empty list allowed everybody",
)
@pytest.mark.parametrize("mode", ["enforce", "report-only"])
def test_a_rule_without_pins_that_is_not_called_disabled_cannot_be_made(mode: Mode) -> None:
    """No silent way to be unpinned (OkHttp's `if not pins: return`)."""
    with pytest.raises(ValueError, match="has no pins"):
        replace(RULE, pin_set=None, mode=mode)
    assert replace(RULE, pin_set=None, mode="disabled").pin_set is None


@pytest.mark.parametrize("change", [{"connect": "tunnel"}, {"tls13": "refuse"}])
def test_what_happens_to_tls_13_is_said_for_tunnels_and_for_them_alone(change: dict[str, Any]) -> None:
    """There is no default for a weaker promise."""
    with pytest.raises(ValueError, match=r"TLS 1\.3"):
        replace(RULE, **change)


def test_a_rule_is_named_after_its_entry_and_never_after_what_was_asked_for() -> None:
    """A label of a metric has as many values as the configuration has entries."""
    assert RULE.label == "api.example.test"
    assert replace(RULE, ports=frozenset({8443, 443})).label == "api.example.test:443,8443"


def test_trust_anchors_are_equal_by_name_and_roots_and_hash_alike() -> None:
    """They are the key of the context cache, and roots are not shown."""
    one, two = TrustAnchors("a", (b"root",)), TrustAnchors("a", (b"root",))
    assert (one, hash(one)) == (two, hash(two))
    assert one != TrustAnchors("b", (b"root",))
    assert one != TrustAnchors("a", (b"other",))
    assert "root" not in repr(one).replace("roots", "")


@pytest.mark.attack("a private key in a log or an error", expect="neutralise", topic="secrets", motive="CWE-532")
def test_a_client_certificate_does_not_show_its_key() -> None:
    """Nor would a rule that holds it, in a traceback."""
    assert "SECRET" not in repr(replace(RULE, client_cert=ClientCertificate("me.pem", b"SECRET")))


@pytest.mark.parametrize("mode", ["report-only", "disabled"])
def test_a_rule_that_rests_on_its_pins_alone_cannot_be_softened(mode: Mode) -> None:
    """A mismatch that passes would be a server that nobody has verified."""
    with pytest.raises(ValueError, match="nobody verified"):
        replace(RULE, trust=PinsOnly(), mode=mode)
    assert replace(RULE, trust=PinsOnly()).is_pins_only


def test_what_pins_only_leaves_out_makes_another_verification() -> None:
    """A tunnel that began while dates were not asked is not carried on once they are."""
    rules = [replace(RULE, trust=PinsOnly(*skipped)) for skipped in ((), (True,), (False, True), (True, True))]
    for one in rules:
        assert [other.verifies_like(one) for other in rules].count(True) == 1
        assert not RULE.verifies_like(one)
