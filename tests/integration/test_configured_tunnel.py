"""`connect: tunnel`, from the text of a configuration to bytes on the wire."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from tests.harness.clients import connect_head, get_head, read_answer
from tests.harness.configured import ConfiguredProxy, configured_proxy
from tests.harness.origin import running_origin
from tests.harness.pki import Issued, make_leaf, make_root, server_context
from tests.harness.running import HOST

BACKUP = "sha256/xRJYanjythfZY7DcrA7STe34LEf7hlxtjeFikyj6tL8="


def configuration(directory: Path, root: Issued, leaf: Issued, port: int, *further: str) -> str:
    """Write a host that is carried by tunnel."""
    (directory / "root.pem").write_bytes(root.pem)
    return (
        f"hosts:\n  - host: {HOST}\n    connect: tunnel\n    trust: {{ca_file: root.pem}}\n"
        f"    upstream: {{address: 127.0.0.1, port: {port}}}\n    pins: [{leaf.pin}, {BACKUP}]\n"
        + "".join(f"    {line}\n" for line in further)
    )


def fetch(proxy: ConfiguredProxy, root: Issued, version: ssl.TLSVersion) -> int:
    """Get `/` through CONNECT and TLS of the client's own."""
    context = ssl.create_default_context(cadata=root.pem.decode("ascii"))
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as sock:
        sock.sendall(connect_head())
        assert read_answer(sock).status == 200
        with context.wrap_socket(sock, server_hostname=HOST) as tls:
            tls.sendall(get_head("/"))
            return read_answer(tls).status


@pytest.mark.parametrize(
    ("tls13", "version"),
    [("refuse", ssl.TLSVersion.TLSv1_2), ("preflight", ssl.TLSVersion.TLSv1_2), ("preflight", ssl.TLSVersion.TLSv1_3)],
)
async def test_a_tunnel_passes_what_its_rule_can_verify(tls13: str, version: ssl.TLSVersion, tmp_path: Path) -> None:
    """The client needs no CA of ours: it sees the origin's own certificate."""
    root = make_root()
    leaf = make_leaf(root, HOST)
    async with running_origin(server_context(leaf)) as origin:
        text = configuration(tmp_path, root, leaf, origin.port, f"tls13: {tls13}")
        async with configured_proxy(tmp_path, text) as proxy:
            assert await asyncio.to_thread(fetch, proxy, root, version) == 200


async def test_tls_1_3_in_a_tunnel_is_refused_where_the_rule_says_so(tmp_path: Path) -> None:
    """The twin: the client reads an alert instead of a certificate that nobody verified."""
    root = make_root()
    leaf = make_leaf(root, HOST)
    async with running_origin(server_context(leaf)) as origin:
        text = configuration(tmp_path, root, leaf, origin.port, "tls13: refuse")
        async with configured_proxy(tmp_path, text) as proxy:
            with pytest.raises(ssl.SSLError) as refused:
                await asyncio.to_thread(fetch, proxy, root, ssl.TLSVersion.TLSv1_3)
            assert "ALERT" in (refused.value.reason or "")
        assert bytes(origin.received) == b""


@pytest.mark.parametrize(("ttl", "preflights"), [("1h", 1), ("0s", 2)])
async def test_a_preflight_serves_tunnels_for_as_long_as_the_configuration_says(
    ttl: str, preflights: int, tmp_path: Path
) -> None:
    """Two tunnels one after the other: each is a connection, and each preflight is one."""
    root = make_root()
    leaf = make_leaf(root, HOST)
    async with running_origin(server_context(leaf)) as origin:
        text = f"preflight_ttl: {ttl}\n" + configuration(tmp_path, root, leaf, origin.port, "tls13: refuse")
        async with configured_proxy(tmp_path, text) as proxy:
            for _ in range(2):
                assert await asyncio.to_thread(fetch, proxy, root, ssl.TLSVersion.TLSv1_2) == 200
        assert origin.connections == 2 + preflights


async def test_an_advisory_verdict_is_warned_of_at_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever reads the log knows what the verdicts are worth."""
    root = make_root()
    text = configuration(tmp_path, root, make_leaf(root, HOST), 443, "tls13: preflight")
    async with configured_proxy(tmp_path, text):
        pass
    assert "advisory (preflight)" in capfd.readouterr().err
