"""The variables of `env` and `exec`, and how they are written."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pinproxy.authority import Authority
from pinproxy.cli.client_environment import FORMATS, client_environment, extend, java_options, reachable
from pinproxy.cli.env import unproxied
from pinproxy.cli.main import invoke
from pinproxy.policy.password_hash import hash_password
from pinproxy.settings.load import load_settings
from tests.harness.pki import make_leaf, make_root

PROXY = Authority("127.0.0.1", 3128)
DIRECT = ("localhost", "127.0.0.1")
MANIFEST = Path(__file__).parents[3] / "deploy/kubernetes/sidecar.yaml"


def load(directory: Path, text: str) -> Path:
    """Write a configuration."""
    file = directory / "c.yaml"
    file.write_text(f"version: 1\n{text}", "utf-8")
    return file


def test_the_kubernetes_manifest_sets_what_env_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are copied from; a runtime added to one must be in the other."""
    monkeypatch.delenv("PINPROXY_CONFIG", raising=False)
    assert invoke(["env", "--format", "k8s"]) == 0
    yaml = YAML(typ="safe", pure=True)
    printed = {entry["name"]: entry["value"] for entry in yaml.load(capsys.readouterr().out)["env"]}
    deployment = next(document for document in yaml.load_all(MANIFEST) if document["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert printed == {entry["name"]: entry["value"] for entry in container["env"]}


def test_variables_that_replace_roots_name_the_bundle_and_those_that_add_name_our_ca() -> None:
    """A runtime that replaces its roots by our CA alone could reach nothing but us."""
    variables = client_environment(PROXY, DIRECT, Path("/p"))
    bundles = {name for name, value in variables.items() if value == "/p/bundle.pem"}
    assert {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE"} <= bundles
    assert {name for name, value in variables.items() if value == "/p/ca.pem"} == {"NODE_EXTRA_CA_CERTS", "DENO_CERT"}


def test_without_published_files_no_ca_is_named() -> None:
    """A path that leads nowhere would break every client."""
    variables = client_environment(PROXY, DIRECT, None)
    assert variables["https_proxy"] == "http://127.0.0.1:3128"
    assert not any("pem" in value or "trustStore" in value for value in variables.values())


def test_java_gets_options_its_launcher_splits_at_spaces() -> None:
    """A directory with a space stays one option."""
    options = java_options(Authority("::1", 3128), ("localhost", "127.0.0.1", "svc"), Path("/a b"))
    assert options[:5] == [
        "-Dhttp.proxyHost=::1",
        "-Dhttp.proxyPort=3128",
        "-Dhttps.proxyHost=::1",
        "-Dhttps.proxyPort=3128",
        "-Dhttp.nonProxyHosts=localhost|127.*|*.svc",
    ]
    assert '"-Djavax.net.ssl.trustStore=/a b/truststore.p12"' in options


def test_the_variables_win_and_javas_options_are_added_to() -> None:
    """An inherited NO_PROXY must not lead around the pins; somebody's -Xmx must stay."""
    variables = client_environment(PROXY, (), None)
    merged = extend({"NO_PROXY": "*", "JAVA_TOOL_OPTIONS": "-Xmx1g", "HOME": "/h"}, variables)
    assert merged["NO_PROXY"] == ""
    assert merged["HOME"] == "/h"
    assert merged["JAVA_TOOL_OPTIONS"] == f"-Xmx1g {variables['JAVA_TOOL_OPTIONS']}"
    assert extend({}, variables) == variables


@pytest.mark.parametrize(("listen", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7")])  # noqa: S104 - compared, not bound
def test_an_address_for_every_interface_is_reached_on_loopback(listen: str, reached: str) -> None:
    """Nobody connects to 0.0.0.0."""
    assert reachable(Authority(listen, 1)) == Authority(reached, 1)


def test_a_listed_host_is_never_among_those_that_go_direct(tmp_path: Path) -> None:
    """Its pins would never be asked."""
    file = load(tmp_path, "hosts:\n  - {host: a.svc, mode: disabled}\n  - {host: localhost, mode: disabled}\n")
    settings = load_settings(file, {}, {})
    assert unproxied(settings, ("localhost", "127.0.0.1", "svc", "cluster.local")) == ("127.0.0.1", "cluster.local")


@pytest.mark.parametrize("form", ["sh", "dotenv"])
def test_what_a_shell_reads_is_what_was_meant(form: str) -> None:
    """Java's options have spaces and bars in them."""
    variables = client_environment(PROXY, DIRECT, Path("/it's here"))
    script = f"set -a\n{FORMATS[form](variables)}\nexec env -0"
    done = subprocess.run(["/bin/sh", "-euc", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    read = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert {name: read.get(name) for name in variables} == variables


def test_docker_takes_values_as_they_stand() -> None:
    """An --env-file knows no quotes."""
    variables = client_environment(PROXY, DIRECT, Path("/a b"))
    lines = FORMATS["docker"](variables).splitlines()
    assert dict(line.split("=", 1) for line in lines) == variables


def test_java_on_its_command_line() -> None:
    """One line, for `java $(…)`."""
    variables = client_environment(PROXY, DIRECT, Path("/p"))
    assert shlex.split(FORMATS["java"](variables)) == java_options(PROXY, DIRECT, Path("/p"))


def test_env_takes_the_address_and_the_directory_from_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Relative paths are relative to the file."""
    file = load(tmp_path, "listen: ['0.0.0.0:4000']\nunsafe_listen: true\nlocal_ca: {publish: out}\n")
    assert invoke(["env", "--config", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "export HTTPS_PROXY=http://127.0.0.1:4000" in lines
    assert f"export SSL_CERT_FILE={tmp_path}/out/bundle.pem" in lines


def test_env_says_what_it_cannot_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port the system will choose, and a CA that is published nowhere."""
    assert invoke(["env", "--config", str(load(tmp_path, "listen: ['127.0.0.1:0']\n"))]) == 2
    assert "a port that the system chooses at start" in capsys.readouterr().err
    assert invoke(["env", "--config", str(load(tmp_path, "local_ca: {publish: null}\n"))]) == 0
    assert "local_ca.publish is null" in capsys.readouterr().err


def test_a_unix_socket_is_passed_over_for_a_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No runtime takes a path from these variables; where there is nothing else, that is said."""
    assert invoke(["env", "--config", str(load(tmp_path, "listen: ['unix:/run/p.sock', '127.0.0.1:3129']\n"))]) == 0
    assert "http://127.0.0.1:3129" in capsys.readouterr().out
    assert invoke(["env", "--config", str(load(tmp_path, "listen: ['unix:/run/p.sock']\n"))]) == 2
    assert "UNIX sockets only" in capsys.readouterr().err


def test_env_speaks_tls_to_a_proxy_that_does_and_says_what_clients_need_besides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`listen_tls` and `client_auth`: a URL that would be refused is worse than none; the twin has neither."""
    leaf = make_leaf(make_root(), "localhost")
    for name, content in (("proxy.pem", leaf.pem), ("proxy.key", leaf.key_pem)):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    users = "client_auth: {basic: {users: {alice: '" + str(hash_password(b"secret", b"salt" * 4)) + "'}}}\n"
    file = load(tmp_path, "listen_tls: {cert_file: proxy.pem, key_file: proxy.key}\n" + users)
    assert invoke(["env", "--config", str(file)]) == 0
    said = capsys.readouterr()
    assert "export HTTPS_PROXY=https://127.0.0.1:3128\n" in said.out
    assert "listen_tls: clients must trust its certificate besides" in said.err
    assert "client_auth: put a user and the password into the URLs" in said.err
    assert invoke(["env", "--config", str(load(tmp_path, ""))]) == 0
    said = capsys.readouterr()
    assert "export HTTPS_PROXY=http://127.0.0.1:3128\n" in said.out
    assert said.err == ""
