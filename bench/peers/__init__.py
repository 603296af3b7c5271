"""The proxies that are compared: how each is started, and what it can be asked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.process import find_program, free_port
from bench.stage import HOST, Stage

_VERSION = re.compile(r"\b\d+\.\d+[\w.+-]*")


@dataclass(frozen=True)
class Way:
    """How a peer is asked, by name.

    `s1` is plain HTTP in and TLS out, `s2` a tunnel, `s3` TLS on both sides, `mint` the same for names that are new, and `admin`
    what serves the metrics.

    Attributes:
        port: Where.
        arguments: For the load generator.
    """

    port: int
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Started:
    """A command to run, and the ways it can be asked."""

    command: list[str]
    ways: dict[str, Way]

    @property
    def first_way(self) -> Way:
        """The port that says that it is up."""
        return next(iter(self.ways.values()))


@dataclass(frozen=True)
class Peer:
    """A proxy.

    Attributes:
        name: As in tables.
        program: What must be installed.
        version: Arguments that print its version.
        prepare: Writes its configuration, and says how to run and ask it.
        cannot: Why it cannot be asked, by way or by scenario; README.md says the same in its table.
        prepare_to_intercept: The same for `s3`, where one process cannot do both.
    """

    name: str
    program: str
    version: tuple[str, ...]
    prepare: Callable[[Stage], Started]
    cannot: dict[str, str] = field(default_factory=dict)
    prepare_to_intercept: Callable[[Stage], Started] | None = None

    def started(self, stage: Stage, way: str) -> Started:
        """Write its configuration for a way of asking it, and say how to run it."""
        return (self.prepare_to_intercept or self.prepare)(stage) if way == "s3" else self.prepare(stage)

    def installed_version(self) -> str | None:
        """Return what it calls itself; None: it is not installed."""
        program = find_program(self.program)
        if program is None:
            return None
        done = subprocess.run([program, *self.version], capture_output=True, text=True, check=False)
        found = _VERSION.search(done.stdout + done.stderr)
        return found[0] if found else "unknown"


def _fixed(stage: Stage, s1: int, s2: int | None, s3: int | None) -> dict[str, Way]:
    """Ways of a proxy that has a port for each destination, and needs no CONNECT."""
    ways = {"s1": Way(s1, ())}
    if s2:
        ways["s2"] = Way(s2, ())
    if s3:
        ways["s3"] = Way(s3, ("--ca", f"{stage.directory}/ca.pem"))
    return ways


def _tunnel(stage: Stage, port: int) -> Way:
    return Way(port, ("--connect", f"127.0.0.1:{stage.values['origin_plain']}"))


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
    s1, s2, s3 = free_port(), free_port(), free_port()
    path = stage.fill("nginx.conf", port_s1=s1, port_s2=s2, port_s3=s3)
    return Started([_program("nginx"), "-e", f"{stage.directory}/peer.log", "-c", str(path)], _fixed(stage, s1, s2, s3))


def _stunnel(stage: Stage) -> Started:
    s1 = free_port()
    return Started([_program("stunnel4"), str(stage.fill("stunnel.conf", port_s1=s1))], _fixed(stage, s1, None, None))


def _envoy(stage: Stage) -> Started:
    s1, s2, s3 = free_port(), free_port(), free_port()
    path = stage.fill("envoy.yaml", port_s1=s1, port_s2=s2, port_s3=s3, port_admin=free_port())
    ways = _fixed(stage, s1, None, s3)
    ways["s2"] = _tunnel(stage, s2)
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
    bumped = Way(s3, ("--connect", origin, "--host", origin, "--ca", f"{stage.directory}/bump-ca.pem"))
    ways = {"s1": Way(s1, ()), "s2": _tunnel(stage, s2), "s3": bumped, "mint": bumped}
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
    intercepted = Way(port, ("--connect", origin, "--ca", f"{stage.directory}/bump-ca.pem"))
    return Started(command, {"s1": Way(reverse, ()), "s2": _tunnel(stage, port), "s3": intercepted, "mint": intercepted})


def _proxy_py(stage: Stage) -> Started:
    port = free_port()
    return Started(_proxy_py_command(stage, port), {"s2": _tunnel(stage, port)})


def _proxy_py_intercepting(stage: Stage) -> Started:
    port = free_port()
    ca = stage.directory / "bump-ca.pem"
    key = stage.directory / "bump-key.pem"
    command = [*_proxy_py_command(stage, port), "--ca-cert-file", str(ca), "--ca-key-file", str(key)]
    command += ["--ca-signing-key-file", str(key), "--ca-file", f"{stage.directory}/ca.pem"]
    # It mints for the host of the CONNECT, which it resolves with the system, and that knows no bench.test.
    asked = ("--connect", f"localhost:{stage.values['origin_tls']}", "--host", "localhost", "--ca", str(ca))
    return Started(command, {"s3": Way(port, asked)})


def _proxy_py_command(stage: Stage, port: int) -> list[str]:
    data = stage.directory / f"proxy-py-{port}"
    data.mkdir()
    command = [_program("proxy"), "--hostname", "127.0.0.1", "--port", str(port), "--num-workers", "1", "--num-acceptors", "1"]
    command += ["--timeout", "600", "--open-file-limit", "16000", "--log-level", "ERROR"]
    return [*command, "--data-dir", str(data), "--ca-cert-dir", str(data)]


def _pproxy(stage: Stage) -> Started:
    port = free_port()
    return Started([_program("pproxy"), "-l", f"http://127.0.0.1:{port}"], {"s2": _tunnel(stage, port)})


def _pinproxy(stage: Stage) -> Started:
    return pinproxy_with(stage)


def pinproxy_with(stage: Stage, more_hosts: str = "", more_settings: str = "") -> Started:
    """Prepare pinproxy with more in its configuration than the one host.

    Args:
        stage: Where.
        more_hosts: Further lines below `hosts`.
        more_settings: Further keys of the first level.
    """
    port, admin = free_port(), free_port()
    path = stage.fill("pinproxy.yaml", port_s1=port, port_admin=admin, more_hosts=more_hosts, more_settings=more_settings)
    trusted = ("--ca", f"{stage.directory}/pinproxy/ca.pem")
    ways = {
        "s1": Way(port, ("--target-prefix", f"http://{HOST}")),
        "s2": _tunnel(stage, port),
        "s3": Way(port, ("--connect", f"{HOST}:443", *trusted)),
        "mint": Way(port, ("--connect", f"{HOST}:443", *trusted)),
        "admin": Way(admin, ()),
    }
    return Started([sys.executable, "-m", "pinproxy", "run", "--config", str(path)], ways)


_FIXED_CERTIFICATE = "it answers with certificates from files, and mints none"
_NO_TLS_OUT = "as a forward proxy it passes http:// on as it is, and has no way to add TLS that it verifies"

PEERS = {
    peer.name: peer
    for peer in (
        Peer("pinproxy", sys.executable, ("-m", "pinproxy", "--version"), _pinproxy),
        Peer(
            "haproxy",
            "haproxy",
            ("-v",),
            _haproxy,
            {"mint": "it can mint, but 2.6 hangs up on the client that it has just minted for"},
        ),
        Peer("nginx", "nginx", ("-v",), _nginx, {"mint": _FIXED_CERTIFICATE}),
        Peer(
            "stunnel",
            "stunnel4",
            ("-version",),
            _stunnel,
            {
                "s2": "it wraps in TLS or unwraps; there is no plain to plain",
                "s3": "a service of it ends TLS or begins it; both at once would be two in a row",
                "mint": _FIXED_CERTIFICATE,
            },
        ),
        Peer("envoy", "envoy", ("--version",), _envoy, {"mint": _FIXED_CERTIFICATE}),
        Peer("squid", "squid", ("-v",), _squid),
        Peer("mitmproxy", "mitmdump", ("--version",), _mitmproxy),
        Peer(
            "proxy.py",
            "proxy",
            ("--version",),
            _proxy_py,
            {
                "s1": _NO_TLS_OUT,
                "s3-bulk": "its interception copies what it has queued with every read: 64 MiB do not end within a minute",
                "mint": "it resolves names with the system, which knows none of the thousand",
            },
            _proxy_py_intercepting,
        ),
        Peer(
            "pproxy",
            "pproxy",
            ("--version",),
            _pproxy,
            {"s1": _NO_TLS_OUT, "s3": "it does not intercept", "mint": "it does not intercept"},
        ),
    )
}
