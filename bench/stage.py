"""What every run stands on: certificates, an nginx as origin, ports, and proxies that are started, measured and ended."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import getpass
import ipaddress
import json
import os
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HERE = Path(__file__).parent
PEER_PROGRAMS = HERE.parent / ".venv-bench" / "bin"
PROXY_CORE, OTHER_CORE = "0", "1"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_LARGE_BYTES = 64 * 1024 * 1024


@dataclass
class Stage:
    """A directory with everything that configurations refer to.

    Attributes:
        directory: Where certificates, bodies and logs live.
        values: What `$name` stands for in a peer's configuration.
        load: The load generator.
    """

    directory: Path
    values: dict[str, str]
    load: Path
    _origin: subprocess.Popen[bytes] | None = None

    def fill(self, template: str, **ports: int) -> Path:
        """Write a peer's configuration with its values filled in."""
        text = (HERE / "peers" / template).read_text("utf-8")
        filled = string.Template(text).safe_substitute(self.values | {name: str(port) for name, port in ports.items()})
        path = self.directory / f"{ports.get('port_s1', 0)}-{template}"
        path.write_text(filled, "utf-8")
        return path

    def run_load(self, port: int, seconds: float, clients: int, *arguments: str) -> dict[str, float]:
        """Run the load generator on the other core, and return what it counted."""
        command = ["taskset", "-c", OTHER_CORE, str(self.load), "--port", str(port), "--seconds", str(seconds)]
        command += ["--clients", str(clients), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=seconds + 60)
        if not done.stdout:
            raise RuntimeError(f"the load generator said nothing: {' '.join(command)}")
        return {key: float(value) for key, value in json.loads(done.stdout).items()}


@contextlib.contextmanager
def standing() -> Iterator[Stage]:
    """Set the stage: build the load generator, make certificates, start the origin; take it all down afterwards."""
    with tempfile.TemporaryDirectory(prefix="pinproxy-bench-") as name:
        directory = Path(name)
        directory.chmod(0o777)  # squid gives its privileges up and still wants to write here
        load = directory / "load"
        build = ["cc", "-O2", "-pthread", "-o", str(load), str(HERE / "load.c"), "-lssl", "-lcrypto"]
        subprocess.run(build, check=True)
        values = {"directory": name, "user": getpass.getuser(), **_make_certificates(directory)}
        values |= {"origin_plain": str(free_port()), "origin_tls": str(free_port())}
        stage = Stage(directory, values, load)
        _make_bodies(directory / "www")
        (directory / "hosts").write_text("127.0.0.1 bench.test\n", "utf-8")
        origin = subprocess.Popen(
            ["taskset", "-c", OTHER_CORE, "nginx", "-e", f"{name}/origin.log", "-c", str(stage.fill("origin.conf"))]
        )
        try:
            wait_for_port(int(values["origin_tls"]))
            yield stage
        finally:
            origin.terminate()
            origin.wait(10)


@dataclass
class Running:
    """A proxy that runs on its own core."""

    process: subprocess.Popen[bytes]
    log: Path
    lines_at_start: int = field(default=0)

    def pids(self) -> list[int]:
        """Return its process and all below it."""
        found, pending = [], [self.process.pid]
        while pending:
            pid = pending.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    pending += [int(child) for child in (task / "children").read_text("ascii").split()]
        return found

    def cpu_seconds(self) -> float:
        """Return user and system time of all its processes so far."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def resident_kib(self) -> int:
        """Return its resident memory, what processes share counted once for each."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE_KIB
        return total


@contextlib.contextmanager
def running(command: list[str], port: int, directory: Path, environment: dict[str, str] | None = None) -> Iterator[Running]:
    """Run a proxy on its core until it listens, and end it afterwards; its output goes to a file, as a log would."""
    log = directory / f"{Path(command[0]).name}-{port}.out"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", PROXY_CORE, *command],
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            wait_for_port(port, process)
            yield Running(process, log)
        except BaseException:
            sys.stderr.write(log.read_text("utf-8", "replace")[-2000:])
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)


def free_port() -> int:
    """Ask the kernel for a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None, seconds: float = 20) -> None:
    """Wait until somebody listens."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nobody listens on port {port}")


def find_program(name: str) -> str | None:
    """Find a peer: in the bench's own environment, or on the machine."""
    own = PEER_PROGRAMS / name
    if own.exists():
        return str(own)
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _make_bodies(www: Path) -> None:
    www.mkdir()
    (www / "64").write_bytes(b"x" * 64)
    (www / "1k").write_bytes(b"x" * 1024)
    (www / "large").write_bytes(os.urandom(1024 * 1024) * (_LARGE_BYTES // (1024 * 1024)))


def _make_certificates(directory: Path) -> dict[str, str]:
    """Make a CA, a P-256 leaf for bench.test, and a CA for proxies that mint; return the pin of the leaf."""
    ca_key, ca = _certificate("Bench CA", None, None)
    leaf_key, leaf = _certificate("bench.test", ca_key, ca)
    bump_key, bump = _certificate("Bench Bump CA", None, None)
    _write(directory / "ca.pem", ca)
    _write(directory / "leaf-and-key.pem", leaf, leaf_key)
    _write(directory / "bump-ca.pem", bump)
    _write(directory / "bump-key.pem", None, bump_key)
    _write(directory / "bump-ca-and-key.pem", bump, bump_key)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(leaf_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    pin = base64.b64encode(digest.finalize()).decode("ascii")
    return {"pin": f"sha256/{pin}", "pin_base64": pin}


def _certificate(
    name: str, issuer_key: ec.EllipticCurvePrivateKey | None, issuer: x509.Certificate | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signer = issuer_key or key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if issuer is not None:
        names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    else:
        usage = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        )
        usage |= {"key_cert_sign": True, "crl_sign": True, "encipher_only": False, "decipher_only": False}
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    return key, builder.sign(signer, hashes.SHA256())


def _write(path: Path, certificate: x509.Certificate | None, key: ec.EllipticCurvePrivateKey | None = None) -> None:
    text = certificate.public_bytes(Encoding.PEM) if certificate is not None else b""
    if key is not None:
        text += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(text)
