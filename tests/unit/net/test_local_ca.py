from __future__ import annotations

import gc
import logging
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from pinproxy.errors import InternalError, SettingsError
from pinproxy.net import minting
from pinproxy.net.local_ca import LocalCa

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def ca() -> LocalCa:
    """A throw-away CA."""
    return LocalCa.create_in_memory(NOW)


def trusting(ca: LocalCa) -> ssl.SSLContext:
    """A client with Python's defaults and the strict rules that Python 3.13 adds to them."""
    context = ssl.create_default_context(cadata=ca.ca_pem.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@contextmanager
def handshake(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> Iterator[ssl.SSLSocket]:
    """Shake hands over loopback; the server echoes one byte."""

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError), server.wrap_socket(connection, server_side=True) as tls:
            tls.sendall(tls.recv(1))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname()) as plain,
                client.wrap_socket(plain, server_hostname=host) as tls,
            ):
                yield tls
        finally:
            thread.join()


def peer(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> tuple[bytes, str | None, str | None]:
    """The server's certificate, protocol and version, as a client that verifies sees them."""
    with handshake(client, server, host) as tls:
        return tls.getpeercert(binary_form=True) or b"", tls.selected_alpn_protocol(), tls.version()


@pytest.mark.parametrize("host", ["api.example.com", "192.0.2.1", "2001:db8::1", "a_b.example.com", f"{'a' * 63}.example.com"])
def test_a_strict_client_accepts_the_leaf_for_its_host(ca: LocalCa, host: str) -> None:
    """Names, addresses and names too long for a common name all verify under RFC 5280's strict rules."""
    _, protocol, version = peer(trusting(ca), ca.server_context(host, "h2", NOW), host)
    assert (protocol, version) == ("h2", "TLSv1.3")


def test_a_client_refuses_the_leaf_for_another_host(ca: LocalCa) -> None:
    """A leaf is for one host; its twin is the test above."""
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        peer(trusting(ca), ca.server_context("api.example.com", None, NOW), "other.example.com")


def test_without_alpn_none_is_selected(ca: LocalCa) -> None:
    """The protocol is the upstream's choice; where it made none, the client gets none."""
    assert peer(trusting(ca), ca.server_context("api.example.com", None, NOW), "api.example.com")[1] is None


def test_a_client_gets_no_tickets_under_tls_1_3(ca: LocalCa) -> None:
    """Making them costs us what a resumption would spare; a client of TLS 1.2 gets its one, where it is half the handshake."""
    client, server = trusting(ca), ca.server_context("api.example.com", "h2", NOW)
    found = {}
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client.maximum_version = version
        with handshake(client, server, "api.example.com") as tls:
            tls.sendall(b"x")
            assert tls.recv(1) == b"x"  # tickets of TLS 1.3 come before the first data
            assert tls.session is not None
            found[tls.version()] = tls.session.has_ticket
    assert found == {"TLSv1.2": True, "TLSv1.3": False}


def test_tls_below_1_2_is_refused(ca: LocalCa) -> None:
    """RFC 8996: TLS 1.0 and 1.1 are gone; TLS 1.2 passes."""
    context = ca.server_context("api.example.com", None, NOW)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    old = trusting(ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert peer(old, context, "api.example.com")[2] == "TLSv1.2"


def test_a_leaf_says_what_strict_clients_ask_for(ca: LocalCa) -> None:
    """Seven days, backdated an hour, server use only, no CA."""
    leaf = x509.load_pem_x509_certificate(ca.mint_leaf("api.example.com", NOW))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["api.example.com"]
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (NOW - timedelta(hours=1), NOW + 7 * DAY)
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [x509.OID_SERVER_AUTH]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_root_signs_leaves_and_nothing_else(ca: LocalCa) -> None:
    """Pathlen 0, certSign and crlSign, and its key in its name."""
    root = x509.load_pem_x509_certificate(ca.ca_pem)
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    digest = x509.SubjectKeyIdentifier.from_public_key(root.public_key()).digest
    assert root.subject.rfc4514_string() == f"CN=pinproxy local CA {digest[:4].hex()}"


@pytest.mark.attack(
    "the local CA's key, stolen, and used for hosts that it was not made for (`constrain_names`)",
    expect="neutralise",
    topic="secrets",
    motive="RFC 5280 §4.2.1.10",
)
def test_a_constrained_root_names_only_what_it_may() -> None:
    """RFC 5280 §4.2.1.10: permitted names with their subdomains pass; other names, and every address, do not."""
    ca = LocalCa.create_in_memory(NOW, permitted_hosts=("example.com",))
    assert peer(trusting(ca), ca.server_context("api.example.com", None, NOW), "api.example.com")[0]
    for host in ("api.example.org", "192.0.2.1"):
        with pytest.raises(ssl.SSLCertVerificationError, match="subtree violation"):
            peer(trusting(ca), ca.server_context(host, None, NOW), host)


def test_a_root_constrained_to_an_address_names_no_host() -> None:
    """A name form that is not mentioned would be unrestricted, so every form is mentioned."""
    ca = LocalCa.create_in_memory(NOW, permitted_hosts=("192.0.2.1",))
    assert peer(trusting(ca), ca.server_context("192.0.2.1", None, NOW), "192.0.2.1")[0]
    for host in ("192.0.2.2", "2001:db8::1", "api.example.com"):
        with pytest.raises(ssl.SSLCertVerificationError, match="subtree violation"):
            peer(trusting(ca), ca.server_context(host, None, NOW), host)


def test_a_context_is_reused_until_a_day_before_its_leaf_ends(ca: LocalCa) -> None:
    """The same host and protocol get the same context; the last day gets a new one."""
    first = ca.server_context("renewed.example", "h2", NOW)
    assert ca.server_context("renewed.example", "h2", NOW + 6 * DAY - timedelta(seconds=1)) is first
    assert ca.server_context("renewed.example", None, NOW) is not first
    assert ca.server_context("renewed.example", "h2", NOW + 6 * DAY) is not first


def test_a_clock_set_back_gets_a_leaf_that_is_valid_then(ca: LocalCa) -> None:
    """A leaf from the future would be refused by every client with the right time."""
    later = ca.server_context("clock.example", None, NOW + 3 * DAY)
    assert ca.server_context("clock.example", None, NOW + 3 * DAY - timedelta(minutes=59)) is later
    assert ca.server_context("clock.example", None, NOW) is not later


def test_a_leaf_never_outlives_its_ca_and_a_dead_ca_mints_nothing(ca: LocalCa) -> None:
    """The last leaf ends with the root, is reused to that very end, and then there is none."""
    end = x509.load_pem_x509_certificate(ca.ca_pem).not_valid_after_utc
    moment = end - timedelta(hours=2)
    assert x509.load_pem_x509_certificate(ca.mint_leaf("last.example", moment)).not_valid_after_utc == end
    last = ca.server_context("last.example", None, moment)
    assert ca.server_context("last.example", None, end - timedelta(seconds=1)) is last
    with pytest.raises(InternalError, match="ended on"):
        ca.server_context("last.example", None, end)


@pytest.mark.attack(
    "a hundred thousand host names, each of which wants a certificate of the local CA", expect="bound", topic="resources"
)
def test_the_cache_is_bounded_and_forgets_the_least_recently_used() -> None:
    """100,000 names cost time, not memory."""
    ca = LocalCa(*_root_and_key(), max_contexts=2)
    first, second = (ca.server_context(host, None, NOW) for host in ("1.example", "2.example"))
    assert ca.server_context("1.example", None, NOW) is first
    ca.server_context("3.example", None, NOW)
    assert "contexts=2" in repr(ca)
    assert ca.server_context("1.example", None, NOW) is first
    assert ca.server_context("2.example", None, NOW) is not second


@pytest.mark.attack(
    "a TLS context that is forgotten while connections use it", expect="serve", topic="resources", motive="CVE-2026-19445"
)
def test_an_evicted_context_serves_the_connections_it_has() -> None:
    """CVE-2026-19445: nothing in use is freed."""
    ca = LocalCa(*_root_and_key(), max_contexts=1)
    with handshake(trusting(ca), ca.server_context("1.example", None, NOW), "1.example") as tls:
        ca.server_context("2.example", None, NOW)
        gc.collect()
        tls.sendall(b"x")
        assert tls.recv(1) == b"x"


@pytest.mark.attack("a private key in a log or an error", expect="neutralise", topic="secrets", motive="CWE-532")
def test_no_key_is_in_repr_or_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Neither object nor log nor error holds key material."""
    caplog.set_level(logging.DEBUG)
    ca = LocalCa.load_or_create(tmp_path / "ca", NOW)
    ca.server_context("api.example.com", None, NOW)
    key = (tmp_path / "ca" / "ca.key").read_text()
    secret = key.splitlines()[1]
    (tmp_path / "ca" / "ca.key").write_text(key.replace("END PRIVATE", "END"))
    with pytest.raises(SettingsError) as refusal:
        LocalCa.load_or_create(tmp_path / "ca", NOW)
    assert "PRIVATE KEY" in key
    assert secret not in f"{ca!r} {vars(ca)} {caplog.text} {refusal.value}"


def test_a_reloaded_ca_is_trusted_by_who_trusted_it(tmp_path: Path) -> None:
    """A restart is not seen by clients."""
    client = trusting(LocalCa.load_or_create(tmp_path, NOW))
    again = LocalCa.load_or_create(tmp_path, NOW)
    assert peer(client, again.server_context("api.example.com", None, NOW), "api.example.com")[0]


@pytest.mark.needs_tool("openssl")
def test_openssl_accepts_the_leaf_under_its_strict_rules(ca: LocalCa, tmp_path: Path) -> None:
    """`openssl verify -x509_strict` for the host, and not for another."""
    (tmp_path / "ca.pem").write_bytes(ca.ca_pem)
    (tmp_path / "leaf.pem").write_bytes(ca.mint_leaf("api.example.com", NOW))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.pem", "-verify_hostname"]
    for host, status in (("api.example.com", 0), ("b.example", 2)):
        assert subprocess.run([*command, host, "leaf.pem"], cwd=tmp_path, check=False).returncode == status


def _root_and_key() -> tuple[x509.Certificate, minting.CaKey]:
    key = minting.new_key()
    return minting.new_root(key, NOW, 365 * DAY), key


def test_where_there_are_no_files_in_memory_a_temporary_one_serves(
    ca: LocalCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The context works the same, and nothing is left behind."""
    monkeypatch.setattr("sys.platform", "another")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert peer(trusting(ca), ca.server_context("portable.example", None, NOW), "portable.example")[0]
    assert list(tmp_path.iterdir()) == []
