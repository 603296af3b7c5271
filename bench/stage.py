"""What every run stands on: certificates, an nginx as origin, and the load generator."""

from __future__ import annotations

import compileall
import contextlib
import getpass
import json
import os
import resource
import string
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.certificates import make_certificates
from bench.process import OTHER_CORE, REPOSITORY, free_port, wait_for_port

HOST = "bench.test"
TEMPLATES = Path(__file__).parent / "peers"
DISTINCT_HOSTS = 1000
_LARGE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Load:
    """What the load generator counted.

    Attributes:
        operations: Answered right: status 200 and the whole body.
        errors: Everything else.
        bytes: Of bodies.
        seconds: From its first to its last.
        p50_us: Half of the operations took no longer, in microseconds.
        p99_us: 99 of 100 took no longer.
        max_us: The longest.
    """

    operations: int
    errors: int
    bytes: int
    seconds: float
    p50_us: float
    p99_us: float
    max_us: float


@dataclass
class Stage:
    """A directory with everything that configurations refer to.

    Attributes:
        directory: Where certificates, bodies and logs live.
        values: What `$name` stands for in a peer's configuration.
        load: The load generator.
        configurations: The configurations used so far, filled in, by name of their template.
    """

    directory: Path
    values: dict[str, str]
    load: Path
    configurations: dict[str, str]

    def fill(self, template: str, **values: object) -> Path:
        """Write a peer's configuration with its values filled in."""
        text = (TEMPLATES / template).read_text("utf-8")
        defaults = {"more_hosts": "", "more_settings": ""}
        filled = string.Template(text).safe_substitute(
            defaults | self.values | {name: str(value) for name, value in values.items()}
        )
        path = self.directory / f"{values.get('port_s1', 0)}-{template}"
        path.write_text(filled, "utf-8")
        self.configurations.setdefault(template, filled)
        return path

    def run_load(self, port: int, seconds: float, clients: int, *arguments: str) -> Load:
        """Run the load generator on the other core, and return what it counted."""
        with self.loading(port, seconds, clients, *arguments) as generator:
            return read_load(generator, seconds)

    @contextlib.contextmanager
    def loading(self, port: int, seconds: float, clients: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the load generator beside the block; `read_load` waits for what it counted."""
        command = ["taskset", "-c", OTHER_CORE, str(self.load), "--port", str(port), "--seconds", str(seconds)]
        with subprocess.Popen([*command, "--clients", str(clients), *arguments], stdout=subprocess.PIPE) as generator:
            try:
                yield generator
            finally:
                generator.kill()


def read_load(generator: subprocess.Popen[bytes], seconds: float) -> Load:
    """Wait for the load generator to end, and return what it counted.

    Raises:
        RuntimeError: It said nothing, or more than one operation in a hundred failed.
    """
    try:
        said, _ = generator.communicate(timeout=seconds + 60)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"the load generator did not end: {generator.args!r}") from error
    if not said:
        raise RuntimeError(f"the load generator said nothing: {generator.args!r}")
    load = Load(**json.loads(said))
    if not load.operations or load.errors > load.operations / 100:
        raise RuntimeError(f"{load.errors} errors in {load.operations} operations")
    return load


@contextlib.contextmanager
def standing() -> Iterator[Stage]:
    """Set the stage: build the load generator, make certificates, start the origin; take it all down afterwards."""
    _allow_many_files()
    compileall.compile_dir(REPOSITORY / "pinproxy", quiet=1)  # as pip does for all peers; no start is to do it
    with tempfile.TemporaryDirectory(prefix="pinproxy-bench-") as name:
        directory = Path(name)
        directory.chmod(0o777)  # squid gives its privileges up and still wants to write here
        load = directory / "load"
        source = Path(__file__).with_name("load.c")
        subprocess.run(["cc", "-O2", "-pthread", "-o", str(load), str(source), "-lssl", "-lcrypto"], check=True)
        values = {"directory": name, "user": getpass.getuser(), **make_certificates(directory)}
        values |= {"origin_plain": str(free_port()), "origin_tls": str(free_port())}
        stage = Stage(directory, values, load, {})
        _make_bodies(directory / "www")
        names = [HOST, *(f"h{number:06}.{HOST}" for number in range(DISTINCT_HOSTS))]
        (directory / "hosts").write_text("".join(f"127.0.0.1 {each}\n" for each in names), "utf-8")
        origin = subprocess.Popen(
            ["taskset", "-c", OTHER_CORE, "nginx", "-e", f"{name}/origin.log", "-c", str(stage.fill("origin.conf"))]
        )
        try:
            wait_for_port(int(values["origin_tls"]))
            yield stage
        finally:
            origin.terminate()
            origin.wait(10)


def _allow_many_files() -> None:
    """Let this process and those it starts have as many open files as the system allows: the scenarios of growth need 10,000."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _make_bodies(www: Path) -> None:
    www.mkdir()
    (www / "64").write_bytes(b"x" * 64)
    (www / "1k").write_bytes(b"x" * 1024)
    (www / "large").write_bytes(os.urandom(1024 * 1024) * (_LARGE_BYTES // (1024 * 1024)))
