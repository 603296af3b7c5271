"""Routes and UNIX sockets, from the file to values."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinproxy.authority import Authority
from pinproxy.errors import SettingsError
from pinproxy.net.unix_socket import MAX_PATH_BYTES, UnixAddress
from pinproxy.settings.checks import startup_warnings
from pinproxy.settings.load import load_settings
from pinproxy.settings.model import Settings

HOST = "hosts: [{host: '**.example', mode: disabled}]\n"


def load(tmp_path: Path, text: str, **flags: str) -> Settings:
    """Load a configuration of these keys."""
    path = tmp_path / "pinproxy.yaml"
    path.write_text("version: 1\n" + text)
    return load_settings(path, {}, {f"--{name}": value for name, value in flags.items()})


def test_a_route_is_read_into_authorities(tmp_path: Path) -> None:
    """Canonical, as everywhere: what the rule is looked up by is what TLS asks for."""
    text = "routes: [{listen: '[::1]:9001', to: 'API.Example.:443', protocol: tcp, alpn: [postgresql, x/1]}]\n"
    (route,) = load(tmp_path, HOST + text).routes
    assert (route.listen, route.to) == (Authority("::1", 9001), Authority("api.example", 443))
    assert (route.protocol, route.alpn) == ("tcp", ("postgresql", "x/1"))


@pytest.mark.parametrize("pattern", ["api.example", "'*.example'", "'**.example'"])
def test_a_route_may_lead_to_any_host_that_a_pattern_covers(pattern: str, tmp_path: Path) -> None:
    """The rule is what is needed, not an entry of that name."""
    text = f"hosts: [{{host: {pattern}, mode: disabled, ports: [443]}}]\n"
    assert load(tmp_path, text + "routes: [{listen: 127.0.0.1:1, to: api.example:443, protocol: http}]\n").routes


def test_a_route_to_a_host_that_only_unlisted_would_let_pass_is_refused(tmp_path: Path) -> None:
    """A route without pins would be a plain forwarder that looks like more."""
    text = "unlisted: allow\nroutes: [{listen: 127.0.0.1:1, to: api.other:443, protocol: http}]\n"
    with pytest.raises(SettingsError, match=r"routes\[0\]\.to: api\.other has no entry"):
        load(tmp_path, HOST + text)


def test_several_routes_may_leave_their_port_to_the_system(tmp_path: Path) -> None:
    """Port 0 is no address that could be taken twice."""
    entry = "{listen: 127.0.0.1:0, to: api.example:443, protocol: http}"
    assert len(load(tmp_path, HOST + f"listen: [127.0.0.1:0]\nroutes: [{entry}, {entry}]\n").routes) == 2


def test_a_unix_socket_needs_no_word_about_who_reaches_it(tmp_path: Path) -> None:
    """`unsafe_listen` is about addresses; a path has an owner, a group and a mode."""
    settings = load(tmp_path, "listen: ['unix:/run/a/proxy.sock', 127.0.0.1:1]\n" + HOST)
    assert settings.listen == (UnixAddress(Path("/run/a/proxy.sock")), Authority("127.0.0.1", 1))
    assert startup_warnings(settings) == ()


def test_a_unix_socket_can_be_given_by_flag(tmp_path: Path) -> None:
    """Like any address."""
    assert load(tmp_path, "", listen="unix:/run/p.sock,127.0.0.1:2").listen[0] == UnixAddress(Path("/run/p.sock"))


def test_the_longest_path_of_a_socket_is_accepted(tmp_path: Path) -> None:
    """The twin of the configuration that is refused for one byte more; bytes, and not characters."""
    path = "/" + "é" * (MAX_PATH_BYTES // 2)
    assert load(tmp_path, f"listen: ['unix:{path}']\n").listen == (UnixAddress(Path(path)),)
    with pytest.raises(SettingsError, match="107 bytes or less"):
        load(tmp_path, f"listen: ['unix:{path}e']\n")


def test_a_route_that_others_can_reach_is_told_at_start(tmp_path: Path) -> None:
    """Allowed, since it was asked for by name, and said aloud."""
    text = "unsafe_listen: true\nroutes: [{listen: '0.0.0.0:9001', to: api.example:443, protocol: http}]\n"
    (warning,) = startup_warnings(load(tmp_path, HOST + text))
    assert warning == "routes[0].listen: 0.0.0.0:9001 can be reached from other machines (unsafe_listen)"
