"""A right configuration, and what becomes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from pinproxy.authority import Authority
from pinproxy.errors import SettingsError
from pinproxy.limits import Limits
from pinproxy.pins.pin import Pin, parse_pin
from pinproxy.settings.checks import startup_warnings
from pinproxy.settings.load import load_settings
from pinproxy.settings.model import Settings
from tests.unit.pins.certificates import self_signed

ONE = "sha256/PtWSFM0Pldud4f6ZoFmMBtviOxsno0D7CtgVr/3NgG8="
TWO = "sha256/xRJYanjythfZY7DcrA7STe34LEf7hlxtjeFikyj6tL8="
THREE = "sha256/RQVwS4ytwU2k5PTsURfe/c/1ga3O9hWzuHU4UNn+Des="


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a configuration and load it."""
    return Load(tmp_path / "pinproxy.yaml")


class Load:
    """Loads texts as the file of one directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, text: str, environ: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None) -> Settings:
        """Load `version: 1` and a text."""
        self.path.write_text(f"version: 1\n{text}")
        return load_settings(self.path, environ or {}, flags or {})


def pins_of(settings: Settings) -> tuple[Pin, ...]:
    """Take the pins of the set `x`."""
    return settings.pin_sets["x"].to_pin_set("x").pins


def test_an_empty_configuration_has_the_documented_defaults(load: Load) -> None:
    """Loopback only, nothing listed, nothing allowed."""
    settings = load("")
    assert settings.listen == (Authority("127.0.0.1", 3128),)
    assert settings.admin == Authority("127.0.0.1", 9470)
    assert settings.unlisted == "deny"
    assert settings.limits == Limits()
    assert (settings.eviction_grace, settings.reload.poll) == (0.0, 2.0)


def test_without_a_file_the_same_defaults_hold(load: Load) -> None:
    """A file with nothing but its version says nothing."""
    assert load_settings(None, {}, {}) == load("")


@pytest.mark.parametrize("text", ["listen: [127.0.0.1:0, '[::1]:3128', localhost:8080]\nadmin: null\n"])
def test_listening_addresses_are_ip_addresses_or_localhost(load: Load, text: str) -> None:
    """Port 0 asks for any free one; IPv6 stands in brackets and quotes."""
    settings = load(text)
    assert settings.listen == (Authority("127.0.0.1", 0), Authority("::1", 3128), Authority("localhost", 8080))
    assert settings.admin is None


@pytest.mark.attack(
    "an open proxy by mistake: listening where others reach it, and asking nobody who they are",
    expect="not start",
    topic="control",
    motive="CWE-441",
)
def test_addresses_beyond_loopback_need_to_be_asked_for(load: Load) -> None:
    """The twin of tests/data/bad_configs/listen-beyond-loopback.yaml; the log will mention it."""
    settings = load("listen: [0.0.0.0:3128]\nunsafe_listen: true\n")
    assert settings.listen == (Authority("0.0.0.0", 3128),)  # noqa: S104 -- the very address the rule is about
    assert any("unsafe_listen" in warning for warning in startup_warnings(settings))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("10s", 10.0),
        ("250ms", 0.25),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
        ("1.5s", 1.5),
        ("7", 7.0),
        ("0.5", 0.5),
        ("'7'", 7.0),
    ],
)
def test_durations_have_units_or_are_seconds(load: Load, written: str, seconds: float) -> None:
    """A bare number is what the name of the limit says."""
    assert load(f"limits: {{head_seconds: {written}}}\n").limits == Limits(head_seconds=seconds)


@pytest.mark.parametrize(
    ("written", "size"), [("64KiB", 65536), ("1MiB", 1048576), ("512", 512), ("1.5KiB", 1536), ("8 KiB", 8192)]
)
def test_sizes_have_units_or_are_bytes(load: Load, written: str, size: int) -> None:
    """Only the units that mean one thing."""
    assert load(f"limits: {{head_bytes: {written}}}\n").limits == Limits(head_bytes=size)


def test_a_version_of_tls_needs_no_quotes(load: Load) -> None:
    """1.2 is a number to YAML, and nobody means one."""
    assert load("defaults: {min_tls: 1.3}\n").defaults.min_tls == "1.3"
    assert load("defaults: {min_tls: '1.3'}\n").defaults.min_tls == "1.3"


def test_a_pin_is_a_text_or_a_mapping_in_any_spelling(load: Load) -> None:
    """Spellings are those of `parse_pin`."""
    text = f"pin_sets:\n  x:\n    pins:\n      - {ONE}\n      - {{pin: {TWO}, position: ca, note: in the safe}}\n"
    first, second = pins_of(load(text))
    assert first == parse_pin(ONE)
    assert (second.identity, second.position, second.note) == (parse_pin(TWO).identity, "ca", "in the safe")


def test_the_position_of_a_tlsa_record_may_be_said_again(load: Load) -> None:
    """Usage 3 is the leaf; its twin in bad_configs/pin-mapping.yaml contradicts it."""
    leaf = f"3 1 1 {parse_pin(ONE).digest.hex()}"
    ca = leaf.replace("3", "2", 1)
    text = f"pin_sets: {{x: {{pins: [{{pin: {leaf}, position: leaf}}, {ca}], allow_single_pin: true}}}}\n"
    assert [pin.position for pin in pins_of(load(text))] == ["leaf", "ca"]


def test_a_last_day_ends_at_its_end_and_a_first_day_begins_at_its_beginning(load: Load) -> None:
    """Days are those of UTC."""
    second = f"{{pin: {TWO}, not_before: 2027-01-01, not_after: 2027-06-30}}"
    settings = load(f"pin_sets: {{x: {{pins: [{ONE}, {second}], expires: 2027-12-31}}}}\n")
    pin = pins_of(settings)[1]
    assert pin.not_before == datetime(2027, 1, 1, tzinfo=UTC)
    assert pin.not_after == datetime(2027, 6, 30, 23, 59, 59, 999999, UTC)
    assert settings.pin_sets["x"].expires == datetime(2027, 12, 31, 23, 59, 59, 999999, UTC)


@pytest.mark.parametrize(
    "written", ["2027-06-30T12:00:00Z", "2027-06-30T14:00:00+02:00", "2027-06-30T12:00:00", "'2027-06-30T12:00:00Z'"]
)
def test_an_exact_time_is_that_time(load: Load, written: str) -> None:
    """Without a zone it is UTC."""
    settings = load(f"pin_sets: {{x: {{pins: [{ONE}, {TWO}], expires: {written}}}}}\n")
    assert settings.pin_sets["x"].expires == datetime(2027, 6, 30, 12, tzinfo=UTC)


def test_one_pin_is_enough_only_if_that_is_insisted_on(load: Load) -> None:
    """The twin of bad_configs/single-pin.yaml; the log will mention it."""
    settings = load(f"pin_sets: {{x: {{pins: [{ONE}], allow_single_pin: true}}}}\n")
    assert pins_of(settings) == (parse_pin(ONE),)
    assert "pin_sets.x.pins: a single pin, without a backup (allow_single_pin)" in startup_warnings(settings)


def test_forbidden_keys_are_read_like_pins(load: Load) -> None:
    """With a note, and at any position."""
    settings = load(f"pin_sets: {{x: {{pins: [{ONE}, {TWO}], forbidden: [{{pin: {THREE}, note: lost}}]}}}}\n")
    (forbidden,) = settings.pin_sets["x"].to_pin_set("x").forbidden
    assert (forbidden.identity, forbidden.position, forbidden.note) == (parse_pin(THREE).identity, "any", "lost")


KEY = ec.generate_private_key(ec.SECP256R1())
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "content",
    [
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        SPKI,
        KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        + KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    ],
    ids=["public PEM", "public DER", "PKCS #8 PEM", "traditional PEM", "PKCS #8 DER", "behind EC PARAMETERS"],
)
def test_a_key_file_gives_the_pin_of_its_key(load: Load, content: bytes) -> None:
    """Public or private, PEM or DER, relative to the configuration."""
    (load.path.parent / "key").write_bytes(content)
    settings = load(f"pin_sets: {{x: {{pins: [{ONE}, {{key_file: key, position: leaf}}]}}}}\n")
    assert pins_of(settings)[1] == Pin("spki", "sha256", hashlib.sha256(SPKI).digest(), "leaf")


def test_an_encrypted_key_is_refused(load: Load) -> None:
    """Nobody is asked for a password at load; the public key will do."""
    content = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (load.path.parent / "key").write_bytes(content)
    with pytest.raises(SettingsError, match="'key' holds ENCRYPTED PRIVATE KEY; expected one public key"):
        load(f"pin_sets: {{x: {{pins: [{ONE}, {{key_file: key}}]}}}}\n")


@pytest.mark.parametrize("name", ["cert_file", "key_file"])
@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_a_certificate_file_gives_the_pin_of_its_key(load: Load, name: str, form: str) -> None:
    """The key, not the certificate: a renewal with the same key keeps the pin."""
    item = self_signed("a")
    (load.path.parent / "c").write_bytes(item.der if form == "DER" else item.x509.public_bytes(Encoding.PEM))
    settings = load(f"pin_sets: {{x: {{pins: [{ONE}, {{{name}: c}}]}}}}\n")
    assert pins_of(settings)[1] == Pin("spki", "sha256", item.digest("spki", "sha256"))


def test_paths_are_relative_to_the_file_that_names_them(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command was typed; a flag's path is relative to there."""
    monkeypatch.chdir("/")
    directory = load.path.parent
    assert load("local_ca: {directory: ca}\n").local_ca.directory == directory / "ca"
    assert load("", flags={"--local-ca-directory": "ca"}).local_ca.directory == Path("/ca")


@pytest.mark.parametrize(
    ("environ", "flags", "expected"),
    [
        ({}, {}, 1024),
        ({"PINPROXY_LIMITS_HEAD_BYTES": "2KiB"}, {}, 2048),
        ({}, {"--limits-head-bytes": "4096"}, 4096),
        ({"PINPROXY_LIMITS_HEAD_BYTES": "2KiB"}, {"--limits-head-bytes": "4096"}, 4096),
    ],
)
def test_a_flag_beats_the_environment_beats_the_file(
    load: Load, environ: dict[str, str], flags: dict[str, str], expected: int
) -> None:
    """And the file beats the default."""
    assert load("limits: {head_bytes: 1KiB}\n", environ, flags).limits == Limits(head_bytes=expected)


def test_a_wrong_value_is_reported_where_it_was_given(load: Load) -> None:
    """The flag or variable stands where the file would."""
    with pytest.raises(SettingsError) as refused:
        load("listen: 7\n", {"PINPROXY_LIMITS_HEAD_BYTES": "x"}, {"--listen": "0.0.0.0:1,127.0.0.1:2"})
    assert [(problem.file, problem.line, problem.path) for problem in refused.value.problems] == [
        ("--listen", 0, "listen"),
        ("PINPROXY_LIMITS_HEAD_BYTES", 0, "limits.head_bytes"),
    ]


def test_a_broken_file_and_an_unknown_variable_are_reported_together(load: Load) -> None:
    """One run tells everything."""
    with pytest.raises(SettingsError) as refused:
        load("log: {\n", {"PINPROXY_LOG_LEVL": "debug"})
    assert len(refused.value.problems) == 2


def test_an_empty_list_of_hosts_is_allowed_and_mentioned(load: Load) -> None:
    """A sidecar may start before its first host is listed; it refuses everything and says so."""
    assert startup_warnings(load("")) == ("hosts: no host is listed, so every request is refused",)
    assert startup_warnings(load("unlisted: allow\n")) == ("hosts: no host is listed, so nothing is pinned",)


def test_nothing_is_mentioned_about_an_ordinary_configuration(load: Load) -> None:
    """The twin: a warning that is always there is read by nobody."""
    assert startup_warnings(load(f"hosts: [{{host: a.example, pins: [{ONE}, {TWO}]}}]\n")) == ()


def test_pins_that_stop_counting_are_mentioned(load: Load) -> None:
    """`on_expiry` other than enforce turns pinning off on a day nobody will remember."""
    text = f"pin_sets: {{x: {{pins: [{ONE}, {TWO}], expires: 2036-12-31, on_expiry: disabled}}}}\nunlisted: allow\n"
    assert "pin_sets.x.on_expiry: mismatches pass after 2036-12-31 (disabled)" in startup_warnings(load(text))


def test_settings_cannot_be_changed(load: Load) -> None:
    """A reload makes new ones."""
    with pytest.raises(ValueError, match="frozen"):
        load("").unlisted = "allow"  # type: ignore[misc]  # the very assignment that must fail
