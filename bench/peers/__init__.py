"""The proxies that are compared: how each is started, and what it can be asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.stage import Stage, find_program, free_port

HOST = "bench.test"


@dataclass(frozen=True)
class Way:
    """How a peer is asked in one scenario.

    Attributes:
        port: Where.
        arguments: For the load generator.
    """

    port: int
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Started:
    """A command to run, the ways it can be asked, and the port that says that it is up."""

    command: list[str]
    ways: dict[str, Way]


@dataclass(frozen=True)
class Peer:
    """A proxy.

    Attributes:
        name: As in tables.
        program: What must be installed.
        version: Arguments that print its version.
        prepare: Writes its configuration, and says how to run and ask it.
        scenarios: Which it can take part in.
    """

    name: str
    program: str
    version: tuple[str, ...]
    prepare: Callable[[Stage], Started]
    scenarios: frozenset[str]

    def installed_version(self) -> str | None:
        """Return what it calls itself; None: it is not installed."""
        program = find_program(self.program)
        if program is None:
            return None
        done = subprocess.run([program, *self.version], capture_output=True, text=True, check=False)
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if any(map(str.isdigit, line))]
        return lines[0][:70] if lines else "unknown"


def _fixed(stage: Stage, s1: int, s2: int | None, s3: int | None) -> dict[str, Way]:
    """Ways of a proxy that has a port for each destination, and needs no CONNECT."""
    ways = {"s1": Way(s1, ())}
    if s2:
        ways["s2"] = Way(s2, ())
    if s3:
        ways["s3"] = Way(s3, ("--ca", f"{stage.directory}/ca.pem"))
    return ways


def _program(name: str) -> str:
    found = find_program(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed; run bench/setup")
    return found


def _haproxy(stage: Stage) -> Started:
    s1, s2, s3 = free_port(), free_port(), free_port()
    path = stage.fill("haproxy.cfg", port_s1=s1, port_s2=s2, port_s3=s3)
    return Started([_program("haproxy"), "-f", str(path)], _fixed(stage, s1, s2, s3))


def _nginx(stage: Stage) -> Started:
    s1, s3 = free_port(), free_port()
    path = stage.fill("nginx.conf", port_s1=s1, port_s3=s3)
    return Started([_program("nginx"), "-e", f"{stage.directory}/peer.log", "-c", str(path)], _fixed(stage, s1, None, s3))


def _stunnel(stage: Stage) -> Started:
    s1 = free_port()
    return Started([_program("stunnel4"), str(stage.fill("stunnel.conf", port_s1=s1))], _fixed(stage, s1, None, None))


def _envoy(stage: Stage) -> Started:
    s1, s2, s3 = free_port(), free_port(), free_port()
    path = stage.fill("envoy.yaml", port_s1=s1, port_s2=s2, port_s3=s3, port_admin=free_port())
    ways = _fixed(stage, s1, None, s3)
    ways["s2"] = Way(s2, ("--connect", f"127.0.0.1:{stage.values['origin_plain']}"))
    command = [_program("envoy"), "-c", str(path), "--concurrency", "1", "-l", "error", "--disable-hot-restart"]
    return Started(command, ways)


def _squid(stage: Stage) -> Started:
    s1, s2, s3 = free_port(), free_port(), free_port()
    path = stage.fill("squid.conf", port_s1=s1, port_s2=s2, port_s3=s3)
    store = stage.directory / "squid-certs"
    shutil.rmtree(store, ignore_errors=True)
    subprocess.run(["/usr/lib/squid/security_file_certgen", "-c", "-s", str(store), "-M", "4MB"], check=True, capture_output=True)
    origin = f"{HOST}:{stage.values['origin_tls']}"
    for item in (store, *store.rglob("*")):
        item.chmod(0o777)  # squid gives its privileges up, and its helper still wants to write here
    ways = {
        "s1": Way(s1, ()),
        "s2": Way(s2, ("--connect", f"127.0.0.1:{stage.values['origin_plain']}")),
        "s3": Way(s3, ("--connect", origin, "--host", origin, "--ca", f"{stage.directory}/bump-ca.pem")),
    }
    return Started([_program("squid"), "-N", "-f", str(path)], ways)


def _mitmproxy(stage: Stage) -> Started:
    port, reverse = free_port(), free_port()
    home = stage.directory / f"mitm-{port}"
    home.mkdir()
    bundle = (stage.directory / "bump-key.pem").read_bytes() + (stage.directory / "bump-ca.pem").read_bytes()
    (home / "mitmproxy-ca.pem").write_bytes(bundle)
    origin = f"127.0.0.1:{stage.values['origin_tls']}"
    command = [_program("mitmdump"), "-q", "--set", f"confdir={home}", "--set", "connection_strategy=lazy"]
    command += ["--set", f"ssl_verify_upstream_trusted_ca={stage.directory}/ca.pem"]
    command += ["--mode", f"regular@127.0.0.1:{port}", "--mode", f"reverse:https://{origin}@127.0.0.1:{reverse}"]
    ways = {
        "s1": Way(reverse, ()),
        "s2": Way(port, ("--connect", f"127.0.0.1:{stage.values['origin_plain']}")),
        "s3": Way(port, ("--connect", origin, "--ca", f"{stage.directory}/bump-ca.pem")),
    }
    return Started(command, ways)


def _proxy_py(stage: Stage) -> Started:
    port = free_port()
    base = [_program("proxy"), "--hostname", "127.0.0.1", "--port", str(port), "--num-workers", "1", "--num-acceptors", "1"]
    certificates = stage.directory / f"proxy-py-{port}"
    certificates.mkdir()
    command = [*base, "--log-level", "ERROR", "--data-dir", str(certificates)]
    return Started(command, {"s2": Way(port, ("--connect", f"127.0.0.1:{stage.values['origin_plain']}"))})


def _pproxy(stage: Stage) -> Started:
    port = free_port()
    command = [_program("pproxy"), "-l", f"http://127.0.0.1:{port}"]
    return Started(command, {"s2": Way(port, ("--connect", f"127.0.0.1:{stage.values['origin_plain']}"))})


def _pinproxy(stage: Stage) -> Started:
    port = free_port()
    path = stage.fill("pinproxy.yaml", port_s1=port)
    ways = {
        "s1": Way(port, ("--target-prefix", f"http://{HOST}")),
        "s2": Way(port, ("--connect", f"127.0.0.1:{stage.values['origin_plain']}")),
        "s3": Way(port, ("--connect", f"{HOST}:443", "--ca", f"{stage.directory}/pinproxy/ca.pem")),
    }
    return Started([sys.executable, "-m", "pinproxy", "run", "--config", str(path)], ways)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("pinproxy", sys.executable, ("-m", "pinproxy", "--version"), _pinproxy, frozenset({"s1", "s2", "s3", "s4"})),
        Peer("haproxy", "haproxy", ("-v",), _haproxy, frozenset({"s1", "s2", "s3", "s4"})),
        Peer("nginx", "nginx", ("-v",), _nginx, frozenset({"s1", "s3"})),
        Peer("stunnel", "stunnel4", ("-version",), _stunnel, frozenset({"s1"})),
        Peer("envoy", "envoy", ("--version",), _envoy, frozenset({"s1", "s2", "s3", "s4"})),
        Peer("squid", "squid", ("-v",), _squid, frozenset({"s1", "s2", "s3", "s4"})),
        Peer("mitmproxy", "mitmdump", ("--version",), _mitmproxy, frozenset({"s1", "s2", "s3", "s4"})),
        Peer("proxy.py", "proxy", ("--version",), _proxy_py, frozenset({"s2"})),
        Peer("pproxy", "pproxy", ("--version",), _pproxy, frozenset({"s2", "s4"})),
    )
}
