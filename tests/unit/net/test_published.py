from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from pinproxy.errors import SettingsError
from pinproxy.net.local_ca import LocalCa
from pinproxy.net.published import TRUSTSTORE_PASSWORD

NOW = datetime.now(UTC)
SYSTEM_PEM = trustme.CA().cert_pem.bytes()


@pytest.fixture(scope="module")
def ca() -> LocalCa:
    """A throw-away CA."""
    return LocalCa.create_in_memory(NOW)


@pytest.fixture
def published(ca: LocalCa, tmp_path: Path) -> Path:
    """A directory with its three files."""
    ca.publish(tmp_path / "run" / "pinproxy", SYSTEM_PEM)
    return tmp_path / "run" / "pinproxy"


@pytest.fixture
def port(ca: LocalCa) -> Iterator[int]:
    """An HTTPS server with a leaf for localhost that answers every connection with 204."""
    context = ca.server_context("localhost", "http/1.1", NOW)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                        tls.recv(4096)
                        tls.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a client without the roots that this machine's variables name."""
    inherited = {name: value for name, value in os.environ.items() if "proxy" not in name.lower() and "SSL" not in name}
    return subprocess.run(command, env=inherited | environment, check=False, capture_output=True, text=True)


def test_three_files_appear_readable_for_everybody(published: Path, ca: LocalCa) -> None:
    """Mode 0644 whatever the umask; nothing temporary is left; the bundle holds the system's roots and ours."""
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in published.iterdir()} == {
        "ca.pem": 0o644,
        "bundle.pem": 0o644,
        "truststore.p12": 0o644,
    }
    assert (published / "ca.pem").read_bytes() == ca.ca_pem
    assert (published / "bundle.pem").read_bytes() == SYSTEM_PEM.rstrip() + b"\n" + ca.ca_pem
    store = load_pkcs12((published / "truststore.p12").read_bytes(), None)
    assert len(store.additional_certs) == 2


def test_publishing_again_replaces_whole_files(published: Path) -> None:
    """A reader that has the old file open keeps it; the name leads to the new one."""
    with (published / "ca.pem").open("rb") as old:
        before = (published / "ca.pem").read_bytes()
        other = LocalCa.create_in_memory(NOW)
        other.publish(published, b"")
        assert old.read() == before
    assert (published / "bundle.pem").read_bytes() == (published / "ca.pem").read_bytes() == other.ca_pem


def test_a_link_in_the_way_is_replaced_and_not_followed(ca: LocalCa, tmp_path: Path) -> None:
    """The directory may be one that others can write to."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "ca.pem").symlink_to(victim)
    ca.publish(tmp_path, SYSTEM_PEM)
    assert victim.read_text() == "untouched"
    assert not (tmp_path / "ca.pem").is_symlink()


def test_a_place_that_cannot_be_written_to_is_refused(ca: LocalCa, tmp_path: Path) -> None:
    """The message names the place and the setting."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"file: local_ca\.publish: .* set local_ca\.publish to a directory"):
        ca.publish(tmp_path / "file", SYSTEM_PEM)


def test_pythons_defaults_trust_the_bundle(published: Path, port: int) -> None:
    """`create_default_context` with the bundle as its roots; with the system's alone the same server is refused."""
    (published / "system.pem").write_bytes(SYSTEM_PEM)
    for name, is_trusted in (("bundle.pem", True), ("system.pem", False)):
        context = ssl.create_default_context(cafile=str(published / name))
        with socket.create_connection(("127.0.0.1", port)) as plain:
            try:
                context.wrap_socket(plain, server_hostname="localhost").close()
            except ssl.SSLCertVerificationError:
                assert not is_trusted
            else:
                assert is_trusted


@pytest.mark.needs_tool("curl")
def test_curl_trusts_the_bundle(published: Path, port: int) -> None:
    """With the bundle it gets its answer; with the system's root alone it stops with 60, "peer certificate"."""
    (published / "system.pem").write_bytes(SYSTEM_PEM)
    for name, status in (("bundle.pem", 0), ("ca.pem", 0), ("system.pem", 60)):
        result = run("curl", "-sS", "--noproxy", "*", "--cacert", str(published / name), f"https://localhost:{port}/")
        assert result.returncode == status, result.stderr


@pytest.mark.needs_tool("node")
def test_node_trusts_the_root(published: Path, port: int) -> None:
    """NODE_EXTRA_CA_CERTS adds ours; without it the same request fails."""
    script = (
        f"require('https').get('https://localhost:{port}/', r => process.exit(r.statusCode === 204 ? 0 : 3))"
        ".on('error', () => process.exit(4))"
    )
    assert run("node", "-e", script, NODE_EXTRA_CA_CERTS=str(published / "ca.pem")).returncode == 0
    assert run("node", "-e", script).returncode == 4


@pytest.mark.needs_tool("keytool")
@pytest.mark.parametrize("password", [TRUSTSTORE_PASSWORD, "another"])
def test_java_reads_the_truststore_under_any_password(published: Path, password: str) -> None:
    """Both roots are trusted entries."""
    result = run("keytool", "-list", "-keystore", str(published / "truststore.p12"), "-storepass", password)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("trustedCertEntry") == 2


@pytest.mark.parametrize("name", ["ca.pem", "bundle.pem"])
def test_somebody_elses_file_is_not_replaced(ca: LocalCa, tmp_path: Path, name: str) -> None:
    """A directory that holds the root of a private CA is no place to publish to; the twin is our own, of an earlier start."""
    (tmp_path / name).write_bytes(SYSTEM_PEM)
    with pytest.raises(SettingsError, match=rf"{name} is there already, and not by pinproxy; set local_ca.publish to"):
        ca.publish(tmp_path, b"")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(name, SYSTEM_PEM)]
    (tmp_path / name).unlink()
    LocalCa.create_in_memory(NOW).publish(tmp_path, b"")
    ca.publish(tmp_path, b"")
    assert (tmp_path / "ca.pem").read_bytes() == ca.ca_pem


def test_the_directory_of_the_ca_itself_may_be_published_to(tmp_path: Path) -> None:
    """`ca.pem` is there before the truststore, and is the one that would be written."""
    kept = LocalCa.load_or_create(tmp_path, NOW)
    kept.publish(tmp_path, b"")
    assert (tmp_path / "ca.pem").read_bytes() == kept.ca_pem
