"""Thousands of idle tunnels, and more clients than there are descriptors, against the proxy as a process of its own."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness.clients import read_answer, read_head
from tests.harness.command_line import RunningCommand, running_pinproxy

PREAMBLE = "version: 1\nlisten: [127.0.0.1:0]\nadmin: null\nlocal_ca: {publish: null}\nunlisted: allow\n"
BATCH = 200  # below any backlog
BESIDE = 500  # descriptors left to pytest and to the proxy itself
WANTED = 10_000  # the default of `limits.connections`
MOST_BYTES = 16 * 1024


@dataclass
class Flood:
    """Tunnels through one proxy, both ends of them held here.

    Attributes:
        tunnels: Clients and upstreams, in pairs.
        origin: The proxy's connection to the listener for requests in clear, once there was one.
    """

    proxy: tuple[str, int]
    listener: socket.socket
    tunnels: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    origin: socket.socket | None = None

    def head(self) -> bytes:
        """Write the CONNECT that leads to the listener."""
        authority = b"127.0.0.1:%d" % self.listener.getsockname()[1]
        return b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority)

    def dial(self) -> socket.socket:
        """Connect to the proxy."""
        return socket.create_connection(self.proxy, 20)

    def open(self, count: int) -> None:
        """Open so many more, no more than a backlog holds, each with a number of its own that arrives at its other end."""
        clients = {}
        for number in range(len(self.tunnels), len(self.tunnels) + count):
            clients[number] = client = self.dial()
            client.sendall(self.head() + number.to_bytes(4, "big"))
        for client in clients.values():
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")  # nothing follows before the other end speaks
        for _ in range(count):
            upstream, _ = self.listener.accept()
            upstream.settimeout(20)
            number = int.from_bytes(upstream.recv(4, socket.MSG_WAITALL), "big")
            self.tunnels.append((clients.pop(number), upstream))

    def assert_carries(self, every: int = 1) -> None:
        """Send a byte up and another down through every so many."""
        for client, upstream in self.tunnels[::every]:
            client.sendall(b"u")
            upstream.sendall(b"d")
            assert (upstream.recv(2), client.recv(2)) == (b"u", b"d")

    def ask(self, client: socket.socket) -> None:
        """Send a request in clear to the listener, and have it answered."""
        authority = b"127.0.0.1:%d" % self.listener.getsockname()[1]
        client.sendall(b"GET http://%b/ HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority))
        if self.origin is None:
            self.origin, _ = self.listener.accept()
        assert read_head(self.origin).startswith(b"GET / HTTP/1.1\r\n")
        self.origin.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert read_answer(client).status == 204

    def close(self) -> None:
        """Close everything that is open but the listener."""
        for client, upstream in self.tunnels:
            client.close()
            upstream.close()
        self.tunnels.clear()
        if self.origin is not None:
            self.origin.close()
            self.origin = None


@contextlib.contextmanager
def flooding(tmp_path: Path, configuration: str = "") -> Iterator[tuple[Flood, RunningCommand]]:
    """Run a proxy that lets everybody anywhere on this machine, and a listener for the other ends."""
    (tmp_path / "c.yaml").write_text(PREAMBLE + configuration, "utf-8")
    with (
        running_pinproxy("run", "--config", str(tmp_path / "c.yaml"), PINPROXY_LIMITS_ALLOW_PRIVATE="true") as command,
        socket.create_server(("127.0.0.1", 0), backlog=1024) as listener,
    ):
        listener.settimeout(20)
        host, _, port = command.wait_for("started")["listen"][0].rpartition(":")
        flood = Flood((host, int(port)), listener)
        try:
            yield flood, command
        finally:
            flood.close()


@pytest.fixture
def room() -> Iterator[int]:
    """Raise the soft limit of descriptors to the hard one; the number of tunnels that fit, each with two of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(WANTED, (hard - BESIDE) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def sockets(command: RunningCommand) -> int:
    """Count the sockets that the proxy has open."""
    links = []
    for path in Path(f"/proc/{command.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(path.readlink()))
    return sum(link.startswith("socket:") for link in links)


def resident_bytes(command: RunningCommand) -> int:
    """Read how much memory the proxy holds."""
    return int(Path(f"/proc/{command.process.pid}/statm").read_text("ascii").split()[1]) * resource.getpagesize()


def cpu_seconds(command: RunningCommand) -> float:
    """Read how long the proxy has computed."""
    fields = Path(f"/proc/{command.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, proc(5)


@pytest.mark.attack(
    "ten thousand tunnels opened and left idle, or as many as the machine has descriptors for",
    expect="bound",
    topic="resources",
)
@pytest.mark.attack(
    "one connection more than limits.connections", expect="overloaded", topic="resources", motive="smokescreen (464b111)"
)
def test_ten_thousand_idle_tunnels_cost_little_and_nobody_else_a_thing(tmp_path: Path, room: int) -> None:
    """Each in its place, all of them alive, the next request served; what is over the limit is told so; all is released."""
    with flooding(tmp_path, f"limits: {{connections: {room + 1}}}\n") as (flood, command):
        at_rest = sockets(command)
        flood.open(BATCH)
        before = resident_bytes(command)
        while len(flood.tunnels) < room:
            flood.open(min(BATCH, room - len(flood.tunnels)))
        assert resident_bytes(command) - before < MOST_BYTES * (room - BATCH)
        with flood.dial() as beside:
            flood.ask(beside)
            with flood.dial() as turned_away:
                answer = read_answer(turned_away)
                assert (answer.status, answer.code, int(answer.fields["retry-after"]) > 0) == (503, "overloaded", True)
            flood.assert_carries(every=7)
            flood.ask(beside)
        flood.close()
        _until(lambda: sockets(command) == at_rest)


@pytest.mark.attack(
    "more clients than the process may have descriptors",
    expect=("bound", "overloaded"),
    topic="resources",
    motive="asyncio's pause after EMFILE",
)
def test_without_descriptors_the_proxy_waits_and_serves_again_when_they_come_back(tmp_path: Path) -> None:
    """Whoever is connected goes on; whoever is not is told so, or stays in the backlog; the processor rests meanwhile."""
    with flooding(tmp_path) as (flood, command):
        flood.open(5)
        _, hard = resource.prlimit(command.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(command.process.pid, resource.RLIMIT_NOFILE, (64, hard))
        waiting = [flood.dial() for _ in range(64)]
        _until(lambda: pauses(command) >= 1)
        flood.assert_carries()
        waiting[0].sendall(flood.head())
        answer = read_answer(waiting[0])
        assert (answer.status, answer.code, b"descriptor" in answer.body) == (503, "overloaded", True)
        spent, paused = cpu_seconds(command), pauses(command)
        _until(lambda: pauses(command) > paused)
        assert cpu_seconds(command) - spent < 0.2
        for sock in waiting:
            sock.close()
        flood.open(5)
        flood.assert_carries()


def pauses(command: RunningCommand) -> int:
    """Count how often accepting was paused."""
    return command.log_file.read_text("utf-8").count("accepting is paused")


def _until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does, and tells nobody."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
