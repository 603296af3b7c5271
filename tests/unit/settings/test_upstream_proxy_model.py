"""`upstream_proxy` and its password: read into what the dialler uses, and repeated by nothing."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from pinproxy.authority import Authority
from pinproxy.errors import SettingsError
from pinproxy.net.upstream_proxy import UpstreamProxy
from pinproxy.settings.load import load_settings
from pinproxy.settings.upstream_proxy_model import make_upstream_proxy

SECRET = "open-sesame"


def load(directory: Path, text: str, environ: dict[str, str] | None = None) -> UpstreamProxy | None:
    """Load a configuration and make its upstream proxy."""
    path = directory / "pinproxy.yaml"
    path.write_text(f"version: 1\n{text}")
    settings = load_settings(path, environ or {}, {})
    assert SECRET not in repr(settings)
    return make_upstream_proxy(settings.upstream_proxy, settings.upstream_proxy_password_file, settings.no_proxy)


def basic(credentials: bytes) -> bytes:
    """Write the value of Proxy-Authorization."""
    return b"Basic " + base64.b64encode(credentials)


@pytest.mark.parametrize(
    ("url", "authority", "authorization"),
    [
        ("http://proxy.corp.example:8080", Authority("proxy.corp.example", 8080), None),
        ("http://PROXY.corp.example:8080/", Authority("proxy.corp.example", 8080), None),
        ("http://[::1]:8080", Authority("::1", 8080), None),
        (f"http://alice:{SECRET}@10.0.0.7:3128", Authority("10.0.0.7", 3128), basic(b"alice:open-sesame")),
        ("http://alice@10.0.0.7:3128", Authority("10.0.0.7", 3128), basic(b"alice:")),
        ("http://CORP%5Calice:p%40s%3Aw%C3%B6@p.example:80", Authority("p.example", 80), basic("CORP\\alice:p@s:wö".encode())),
    ],
)
def test_a_url_becomes_address_and_field(tmp_path: Path, url: str, authority: Authority, authorization: bytes | None) -> None:
    """User and password are percent-decoded."""
    found = load(tmp_path, f"upstream_proxy: '{url}'\n")
    assert found is not None
    assert (found.authority, found.authorization) == (authority, authorization)


def test_the_environment_may_hold_the_password(tmp_path: Path) -> None:
    """So that it stands in no file."""
    found = load(tmp_path, "", {"PINPROXY_UPSTREAM_PROXY": f"http://alice:{SECRET}@10.0.0.7:3128"})
    assert found is not None
    assert found.authorization == basic(b"alice:open-sesame")


def test_a_file_may_hold_the_password(tmp_path: Path) -> None:
    """With the newline that editors add."""
    (tmp_path / "password").write_text(f"{SECRET}\n")
    (tmp_path / "password").chmod(0o600)
    found = load(tmp_path, "upstream_proxy: http://alice@10.0.0.7:3128\nupstream_proxy_password_file: password\n")
    assert found is not None
    assert found.authorization == basic(b"alice:open-sesame")


def test_no_url_is_no_proxy(tmp_path: Path) -> None:
    """The default."""
    assert load(tmp_path, "") is None


def test_loopback_goes_without_the_proxy_unless_the_list_says_otherwise(tmp_path: Path) -> None:
    """What a sidecar reaches on its own machine is not the corporate proxy's."""
    url = "upstream_proxy: http://10.0.0.7:3128\n"
    default, other = load(tmp_path, url), load(tmp_path, f"{url}no_proxy: [cluster.local]\n")
    assert default is not None
    assert other is not None
    hosts = ("localhost", "127.0.0.1", "::1", "a.cluster.local")
    assert [default.serves(host) for host in hosts] == [False, False, False, True]
    assert [other.serves(host) for host in hosts] == [True, True, True, False]


@pytest.mark.attack("a password of the upstream proxy in an error", expect="neutralise", topic="secrets", motive="CWE-532")
@pytest.mark.parametrize(
    "url",
    [
        f"socks5://alice:{SECRET}@10.0.0.7:1080",
        f"https://alice:{SECRET}@10.0.0.7:443",
        f"http://alice:{SECRET}@10.0.0.7",
        f"http://alice:{SECRET}@10.0.0.7:99999",
        f"http://alice:{SECRET}@exa mple:80",
        f"http://alice:{SECRET}@x@10.0.0.7:80",
        f"http://alice:{SECRET}",
        f"http://:{SECRET}@10.0.0.7:80",
        f"http://a%3Ab:{SECRET}@10.0.0.7:80",
        f"http://alice:{SECRET}%0d%0aX-Evil:1@10.0.0.7:80",
        f"http://alice:{SECRET}@10.0.0.7:80/path",
        f"alice:{SECRET}@10.0.0.7:80",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_secret(tmp_path: Path, url: str) -> None:
    """The message names the key and what was expected, and repeats nothing."""
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, f"upstream_proxy: '{url}'\n")
    (problem,) = refused.value.problems
    assert problem.path == "upstream_proxy"
    assert SECRET not in str(refused.value)
    assert "alice" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://10.0.0.7:3128", "stands here without a user; expected one in `upstream_proxy`, as in http://user@host:port"),
        ("http://alice:x@10.0.0.7:3128", "`upstream_proxy` holds a password already; keep one of them"),
    ],
)
def test_a_password_file_goes_with_a_user_alone(tmp_path: Path, url: str, text: str) -> None:
    """Which of two passwords was meant is not guessed."""
    (tmp_path / "password").write_text(SECRET)
    (tmp_path / "password").chmod(0o600)
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, f"upstream_proxy: {url}\nupstream_proxy_password_file: password\n")
    (problem,) = refused.value.problems
    assert (problem.path, problem.message) == ("upstream_proxy_password_file", text)


@pytest.mark.parametrize(("content", "mode"), [(SECRET, 0o644), ("", 0o600), (f"{SECRET}\nand more\n", 0o600)])
def test_a_file_that_holds_no_password_of_one_line_is_refused(tmp_path: Path, content: str, mode: int) -> None:
    """Or one that others may read."""
    (tmp_path / "password").write_text(content)
    (tmp_path / "password").chmod(mode)
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, "upstream_proxy: http://alice@10.0.0.7:3128\nupstream_proxy_password_file: password\n")
    assert SECRET not in str(refused.value)
