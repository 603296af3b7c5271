"""What stands around a client: an origin that is right or wrong in one way, a proxy, and the one environment of all clients."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from pinproxy.net.published import BUNDLE_NAME, CA_NAME, TRUSTSTORE_NAME, publish_files
from pinproxy.net.system_roots import load_system_roots, roots_pem
from pinproxy.pins.pin import Pin
from pinproxy.report.event import CarryMode
from tests.clients.processes import Outcome, run_process
from tests.harness.pki import NOW, Issued, make_intermediate, make_leaf, make_root
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy


@dataclass(frozen=True, slots=True)
class ConnectMode:
    """One way to carry CONNECT, as clients meet it.

    Attributes:
        name: The `mode` of its log lines.
        ends_client_tls: Whether the client's TLS ends at the proxy, so that the client trusts what the proxy publishes;
            otherwise it ends at the origin, and the client trusts the origin's own CA.
        rule_fields: What a host rule says to choose it.
    """

    name: CarryMode
    ends_client_tls: bool
    rule_fields: Mapping[str, Any] = field(default_factory=dict)

    def shown(self, alpn: str) -> set[str | None]:
        """What a log line may say of an ALPN: in a tunnel, TLS 1.3 hides what was chosen."""
        return {alpn} if self.ends_client_tls else {alpn, None}


INTERCEPT = ConnectMode("interception", ends_client_tls=True)
TUNNEL = ConnectMode("tunnel", ends_client_tls=False, rule_fields={"connect": "tunnel", "tls13": "preflight"})
CONNECT_MODES = {"intercept": INTERCEPT, "tunnel": TUNNEL}


@dataclass(frozen=True, slots=True)
class Promise:
    """What an origin presents, and what the policy expects of it."""

    leaf: Issued
    root: Issued
    pin: Pin


def kept_promise() -> Promise:
    """Make an origin that is as the policy expects: root > intermediate > leaf for HOST, the leaf's key pinned."""
    root = make_root()
    leaf = make_leaf(make_intermediate(root), HOST)
    return Promise(leaf, root, leaf.pin)


def another_key() -> Promise:
    """Break one thing: the pinned key is not in the chain."""
    promise = kept_promise()
    return replace(promise, pin=make_leaf(promise.root, HOST).pin)


def another_root() -> Promise:
    """Break one thing: the chain, pinned key and all, ends in a root that is not trusted."""
    return replace(kept_promise(), root=make_root("Another Root"))


def expired_leaf() -> Promise:
    """Break one thing: the leaf ended yesterday."""
    root = make_root()
    leaf = make_leaf(make_intermediate(root), HOST, not_before=NOW - timedelta(days=90), not_after=NOW - timedelta(days=1))
    return Promise(leaf, root, leaf.pin)


def another_name() -> Promise:
    """Break one thing: the leaf is for another host."""
    root = make_root()
    leaf = make_leaf(make_intermediate(root), "other.example.test")
    return Promise(leaf, root, leaf.pin)


BROKEN_PROMISES = {
    "pin_mismatch": another_key,
    "chain_invalid": another_root,
    "certificate_expired": expired_leaf,
    "hostname_mismatch": another_name,
}
"""By the reason code that must follow."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A running proxy, and what a client of it needs to know.

    Attributes:
        proxy: The proxy.
        trust: Directory with the roots for clients: `ca.pem`, `bundle.pem`, `truststore.p12`.
        environment: The environment of every client.
    """

    proxy: RunningProxy
    trust: Path
    environment: Mapping[str, str]

    async def run(self, command: Sequence[str], stdin: bytes = b"") -> Outcome:
        """Run a client to its end."""
        return await run_process(command, self.environment, stdin)

    async def assert_allowed(self, mode: CarryMode) -> list[dict[str, Any]]:
        """Assert that the proxy let the client through, and only because the pins matched; return its log lines."""
        await self.proxy.connection()
        told = {(line["mode"], line["decision"], line["verdict"], line["code"]) for line in self.proxy.connections}
        assert told == {(mode, "allow", "matched", None)}
        return self.proxy.connections

    async def assert_denied(self, mode: CarryMode, code: str) -> None:
        """Assert that the proxy denied whatever the client tried, always for this reason."""
        await self.proxy.connection()
        told = {(line["mode"], line["decision"], line["code"]) for line in self.proxy.connections}
        assert told == {(mode, "deny", code)}


@contextlib.asynccontextmanager
async def staged(directory: Path, mode: ConnectMode, promise: Promise, port: int) -> AsyncIterator[Stage]:
    """Run a proxy for an origin.

    Args:
        directory: For what clients trust, and their home.
        mode: How CONNECT is carried.
        promise: What the policy expects of HOST.
        port: Where its origin listens on loopback.
    """
    trust = directory / "trust"
    rule = host_rule([promise.pin, _backup_pin()], promise.root.anchors, port=port, **mode.rule_fields)
    async with running_proxy(rule) as proxy:
        if mode.ends_client_tls:
            proxy.local_ca.publish(trust, _public_roots())
        else:
            publish_files(trust, _top_of(promise.leaf).pem, _public_roots())
        yield Stage(proxy, trust, client_environment(proxy.port, trust, directory))


def client_environment(port: int, trust: Path, home: Path) -> dict[str, str]:
    """Make the one environment in which every client finds the proxy and the roots, whatever it is written in.

    Nothing of the test's own environment but PATH is in it: its proxies and roots are not to help.
    """
    url, bundle = f"http://127.0.0.1:{port}", str(trust / BUNDLE_NAME)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        # curl takes plain HTTP from the lower case only, because CGI makes HTTP_PROXY of a client's `Proxy:` field.
        **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "grpc_proxy"), url),
        # OpenSSL and Go; curl; requests; git; gRPC: each of them replaces its roots by these.
        **dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"), bundle),
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": bundle,
        # Node adds ours to its own.
        "NODE_EXTRA_CA_CERTS": str(trust / CA_NAME),
        "JAVA_TOOL_OPTIONS": " ".join(
            f"-D{name}={value}"
            for name, value in {
                "http.proxyHost": "127.0.0.1",
                "http.proxyPort": port,
                "https.proxyHost": "127.0.0.1",
                "https.proxyPort": port,
                "javax.net.ssl.trustStore": trust / TRUSTSTORE_NAME,
            }.items()
        ),
    }


def _top_of(leaf: Issued) -> Issued:
    return leaf if leaf.issuer is None else _top_of(leaf.issuer)


@lru_cache
def _backup_pin() -> Pin:
    return make_root("Backup").pin


@lru_cache
def _public_roots() -> bytes:
    return roots_pem(load_system_roots())
