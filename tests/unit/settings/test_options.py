"""Flags and environment variables, derived from the model."""

from __future__ import annotations

from dataclasses import fields

import pytest

from pinproxy.errors import SettingsError
from pinproxy.limits import Limits
from pinproxy.settings.load import load_settings
from pinproxy.settings.options import read_overrides, scalar_options

OPTIONS = {option.path: option for option in scalar_options()}


def test_names_are_the_place_in_the_document() -> None:
    """Whoever knows the key knows the flag and the variable."""
    option = OPTIONS["limits.head_bytes"]
    assert (option.environment, option.flag, option.default) == ("PINPROXY_LIMITS_HEAD_BYTES", "--limits-head-bytes", 65536)
    assert option.place == ("limits", "head_bytes")
    assert OPTIONS["listen"].default == ["127.0.0.1:3128"]
    assert OPTIONS["unlisted"].choices == ("deny", "allow")


def test_every_limit_has_an_option_with_its_reason() -> None:
    """Limits are taken from their dataclass, texts included."""
    for limit in fields(Limits):
        assert OPTIONS[f"limits.{limit.name}"].default == limit.default
        assert OPTIONS[f"limits.{limit.name}"].help
    assert "nginx allows 32 KiB" in OPTIONS["limits.head_bytes"].help


def test_every_option_has_a_name_of_its_own_and_a_text() -> None:
    """Two places must not share a variable."""
    assert len({option.environment for option in OPTIONS.values()}) == len(OPTIONS)
    assert len({option.flag for option in OPTIONS.values()}) == len(OPTIONS)
    assert [option.path for option in OPTIONS.values() if not option.help] == []


def test_structures_are_for_the_file_alone() -> None:
    """Pins and hosts are no scalars, and the version is the file's own."""
    assert not OPTIONS.keys() & {"version", "hosts", "pin_sets", "defaults.trust", "limits", "defaults.upstream"}
    assert OPTIONS.keys() >= {"unsafe_listen", "admin", "local_ca.publish", "log.level", "defaults.upstream.address"}


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("listen", "127.0.0.1:1, 127.0.0.1:2", ["127.0.0.1:1", "127.0.0.1:2"]),
        ("defaults.ports", "443,8443", [443, 8443]),
        ("defaults.ports", "", []),
        ("admin", "null", None),
        ("log.level", "null", "null"),
        ("unsafe_listen", "true", True),
        ("unsafe_listen", "yes", "yes"),
        ("limits.connections", "5", 5),
        ("limits.connections", "five", "five"),
        ("limits.head_seconds", "5", "5"),
        ("defaults.upstream.port", "8443", 8443),
        ("defaults.min_tls", "1.3", "1.3"),
    ],
)
def test_a_text_becomes_what_the_file_would_have_given(path: str, text: str, value: object) -> None:
    """What does not fit stays a text, and the model says what it expected."""
    by_variable, problems = read_overrides({OPTIONS[path].environment: text}, {})
    by_flag, _ = read_overrides({}, {OPTIONS[path].flag: text})
    assert problems == ()
    assert [override.value for override in (*by_variable, *by_flag)] == [value, value]


def test_every_option_is_loaded_from_the_environment() -> None:
    """Each default, given as a variable, loads to the very settings there would be without."""
    environ = {}
    for option in OPTIONS.values():
        if option.path.startswith(("defaults.upstream", "defaults.client_cert", "listen_tls")):
            continue  # they have no default: a port alone leads nowhere, a key alone says nothing
        default = option.default
        text = ",".join(map(str, default)) if isinstance(default, list) else str(default)
        environ[option.environment] = {"None": "null", "True": "true", "False": "false"}.get(text, text)
    assert load_settings(None, environ, {}) == load_settings(None, {}, {})


def test_a_misspelled_variable_or_flag_is_an_error() -> None:
    """A limit that is not there must not silently be the default."""
    with pytest.raises(SettingsError) as refused:
        load_settings(None, {"PINPROXY_LIMITS_HEAD_BYTE": "1KiB"}, {"--log-levl": "debug"})
    assert str(refused.value).splitlines() == [
        "--log-levl: unknown flag; did you mean '--log-level'?",
        "PINPROXY_LIMITS_HEAD_BYTE: unknown variable; did you mean 'PINPROXY_LIMITS_HEAD_BYTES'?",
    ]


@pytest.mark.parametrize(
    "environ",
    [
        {"PINPROXY_CONFIG": "pinproxy.yaml"},
        {"PATH": "/bin", "XPINPROXY_LISTEN": "x", "pinproxy_listen": "x"},
        {
            "PINPROXY_SERVICE_HOST": "10.0.0.1",
            "PINPROXY_SERVICE_PORT": "3128",
            "PINPROXY_SERVICE_PORT_HTTP": "3128",
            "PINPROXY_PORT": "tcp://10.0.0.1:3128",
            "PINPROXY_PORT_3128_TCP": "tcp://10.0.0.1:3128",
            "PINPROXY_PORT_3128_TCP_ADDR": "10.0.0.1",
            "PINPROXY_ADMIN_PORT": "tcp://10.0.0.1:9470",
        },
    ],
)
def test_variables_of_others_are_left_alone(environ: dict[str, str]) -> None:
    """Kubernetes sets some in every container beside a Service called pinproxy."""
    assert read_overrides(environ, {}) == ((), ())


def test_a_variable_that_only_looks_like_one_of_kubernetes_is_an_error() -> None:
    """The twin: the value of a Service's port is an address."""
    _, problems = read_overrides({"PINPROXY_ADMIN_PORT": "9470"}, {})
    assert [problem.file for problem in problems] == ["PINPROXY_ADMIN_PORT"]
    assert read_overrides({"PINPROXY_ADMIN_PORT": "9470"}, {}, known={"PINPROXY_ADMIN_PORT"}) == ((), ())
