"""curl over SOCKS5, with its own DNS (`--socks5`) and without (`--socks5-hostname`)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from pinproxy.limits import Limits
from pinproxy.net.unix_socket import UnixAddress
from tests.clients.processes import Outcome, run_process
from tests.clients.stage import BROKEN_PROMISES, Promise, client_environment, kept_promise
from tests.harness.origin import Origin, answer_ok, running_origin
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

pytestmark = pytest.mark.needs_tool("curl")

UNLISTED = "other.example.test"


@contextlib.asynccontextmanager
async def staged(
    directory: Path, promise: Promise, *also_listen: UnixAddress
) -> AsyncIterator[tuple[Origin, RunningProxy, Mapping[str, str]]]:
    """Run an origin and a proxy that lists HOST and lets others pass; give the environment in which HOST is trusted."""
    async with running_origin(server_context(promise.leaf), answer_ok) as origin:
        rule = host_rule([promise.pin], promise.root.anchors, port=origin.port)
        limits, addresses = Limits(allow_private=True), {UNLISTED: "127.0.0.1"}
        async with running_proxy(rule, unlisted="allow", limits=limits, addresses=addresses, also_listen=also_listen) as proxy:
            proxy.local_ca.publish(directory, b"")
            environment = client_environment(proxy.port, directory, directory)
            yield origin, proxy, {name: value for name, value in environment.items() if "_proxy" not in name.lower()}


async def curl(environment: Mapping[str, str], *arguments: str) -> Outcome:
    """Run curl."""
    return await run_process(["curl", "--silent", "--show-error", *arguments], environment)


async def test_curl_leaves_the_name_to_the_proxy(tmp_path: Path) -> None:
    """`--socks5-hostname`: the listed host is intercepted under its pins, and curl resolves nothing."""
    async with staged(tmp_path, kept_promise()) as (_, proxy, environment):
        outcome = await curl(environment, "--socks5-hostname", f"127.0.0.1:{proxy.port}", f"https://{HOST}/")
        assert (outcome.code, outcome.stdout) == (0, "GET / 0\n"), outcome
        line = await proxy.connection()
        assert (line["mode"], line["method"], line["verdict"]) == ("interception", "SOCKS5", "matched")


async def test_curl_finds_a_proxy_on_a_unix_socket(tmp_path: Path) -> None:
    """The only proxy that curl takes by a path: `socks5h://localhost/path`, from 7.84 on."""
    address = UnixAddress(tmp_path / "proxy.sock")
    async with staged(tmp_path, kept_promise(), address) as (_, proxy, environment):
        outcome = await curl(environment, "--proxy", f"socks5h://localhost{address.path}", f"https://{HOST}/")
        assert (outcome.code, outcome.stdout) == (0, "GET / 0\n"), outcome
        line = await proxy.connection()
        assert (line["client"], line["mode"], line["method"]) == ("unix", "interception", "SOCKS5")


async def test_curl_resolves_by_itself_and_meets_the_pins_all_the_same(tmp_path: Path) -> None:
    """`--socks5`: the proxy is asked for an address, and learns from the ClientHello whose it is."""
    async with staged(tmp_path, kept_promise()) as (origin, proxy, environment):
        resolve = f"{HOST}:{origin.port}:127.0.0.1"
        url = f"https://{HOST}:{origin.port}/"
        outcome = await curl(environment, "--socks5", f"127.0.0.1:{proxy.port}", "--resolve", resolve, url)
        assert (outcome.code, outcome.stdout) == (0, "GET / 0\n"), outcome
        line = await proxy.connection()
        assert (line["mode"], line["host_rule"], line["verdict"]) == ("interception", HOST, "matched")


async def test_curl_tunnels_blindly_to_an_unlisted_host(tmp_path: Path) -> None:
    """Its TLS ends at the origin, which curl verifies itself, here under the origin's own root."""
    root = make_root()
    leaf = make_leaf(root, HOST, UNLISTED)
    (tmp_path / "origin.pem").write_bytes(root.pem)
    async with staged(tmp_path, Promise(leaf, root, leaf.pin)) as (origin, proxy, environment):
        trusted = ("--cacert", str(tmp_path / "origin.pem"))
        url = f"https://{UNLISTED}:{origin.port}/"
        outcome = await curl(environment, "--socks5-hostname", f"127.0.0.1:{proxy.port}", *trusted, url)
        assert (outcome.code, outcome.stdout) == (0, "GET / 0\n"), outcome
        assert (await proxy.connection())["mode"] == "blind"


@pytest.mark.parametrize("code", BROKEN_PROMISES)
async def test_curl_is_refused_in_the_words_of_socks(code: str, tmp_path: Path) -> None:
    """One byte is all there is; the log has the rest."""
    async with staged(tmp_path, BROKEN_PROMISES[code]()) as (origin, proxy, environment):
        outcome = await curl(environment, "--socks5-hostname", f"127.0.0.1:{proxy.port}", f"https://{HOST}/")
        assert outcome.code == 97, outcome  # CURLE_PROXY
        assert f"({2 if code == 'pin_mismatch' else 1})" in outcome.stderr
        assert (await proxy.connection())["code"] == code
        await origin.quiet()
        assert bytes(origin.received) == b""
