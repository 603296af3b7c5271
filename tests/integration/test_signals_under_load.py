"""SIGHUP and SIGTERM to the proxy as a process, while many clients ask it for something on connections they keep."""

from __future__ import annotations

import contextlib
import http.client
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from pinproxy.cli.exit_code import ExitCode
from tests.harness.blocking_origin import blocking_origin
from tests.harness.command_line import BACKUP, RunningCommand, running_pinproxy, write_config
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST

PREAMBLE = "listen: [127.0.0.1:0]\nadmin: null\nlocal_ca: {publish: null}\nreload: {poll: 1h}\n"
ROOT = make_root()
LEAF, OTHER = make_leaf(ROOT, HOST), make_leaf(ROOT, HOST)
CLIENTS = 6


def echo_paths(tls: ssl.SSLSocket) -> None:
    """Answer requests without a body, one after the other, each with its own path."""
    head = b""
    with contextlib.suppress(OSError):
        while piece := tls.recv(4096):
            head += piece
            if head.endswith(b"\r\n\r\n"):
                path = head.split(b" ")[1]
                tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))
                head = b""


@dataclass(frozen=True)
class Asked:
    """One request of one client; `outcome` is its status, or what became of its connection."""

    began: float
    ended: float
    outcome: int | str


@dataclass
class Load:
    """Clients that ask without pause, until told to stop.

    Attributes:
        asked: What each request came to; only ever appended to.
    """

    port: int
    asked: list[Asked] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def run(self, client: int) -> None:
        """Be one of them: GET and POST by turns; a connection that is closed is opened again."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        number = 0
        while not self._is_over.is_set():
            number += 1
            began = time.monotonic()
            outcome = self._ask(connection, "GET" if number % 2 else "POST", f"/{client}-{number}")
            self.asked.append(Asked(began, time.monotonic(), outcome))
            if outcome == "refused":
                break
        connection.close()

    @staticmethod
    def _ask(connection: http.client.HTTPConnection, method: str, path: str) -> int | str:
        try:
            connection.request(method, f"http://{HOST}{path}")
            response = connection.getresponse()
            body = response.read()
        except ConnectionRefusedError:
            return "refused"
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            connection.close()
            return "closed"
        except http.client.IncompleteRead:
            return "cut"
        if response.status == 200 and body.decode() != path:
            return f"the answer of another: {body!r}"
        return response.status

    def stop(self) -> None:
        """Ask no more."""
        self._is_over.set()

    def more(self, count: int) -> None:
        """Wait until so many more requests have come to something. Blocks."""
        enough = len(self.asked) + count
        until(lambda: len(self.asked) >= enough)


class Reload(Protocol):
    """Writes other pins and sends SIGHUP; waits until they are in force, unless told not to."""

    def __call__(self, pins: str, *, waits: bool = True) -> None:
        """Do it."""


@contextlib.contextmanager
def under_load(tmp_path: Path) -> Iterator[tuple[RunningCommand, Load, Reload]]:
    """Run a proxy, and clients that keep it busy."""
    with blocking_origin(server_context(LEAF), echo_paths) as origin:
        file = write_config(tmp_path, ROOT, LEAF, origin.port, PREAMBLE)
        original = file.read_text("utf-8")
        with running_pinproxy("run", "--config", str(file)) as command:

            def reload(pins: str, *, waits: bool = True) -> None:
                before = loaded(command)
                fresh = tmp_path / "fresh.yaml"
                fresh.write_text(original.replace(f"[{LEAF.pin}, {BACKUP}]", pins), "utf-8")
                fresh.replace(file)
                command.process.send_signal(signal.SIGHUP)
                until(lambda: not waits or loaded(command) > before)

            load = Load(int(command.wait_for("started")["listen"][0].rpartition(":")[2]))
            threads = [threading.Thread(target=load.run, args=(client,)) for client in range(CLIENTS)]
            for thread in threads:
                thread.start()
            try:
                load.more(2 * CLIENTS)
                yield command, load, reload
            finally:
                load.stop()
                for thread in threads:
                    thread.join(20)


def loaded(command: RunningCommand) -> int:
    """Count the configurations that came into force."""
    return command.log_file.read_text("utf-8").count('"configuration_loaded"')


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does, and tells nobody."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.attack("a storm of SIGHUP under load", expect="serve", topic="faults", motive="Envoy's hot restart")
def test_no_request_is_lost_to_a_storm_of_reloads(tmp_path: Path) -> None:
    """Pin sets come and go, all of which match: every request is answered, each with its own answer."""
    with under_load(tmp_path) as (command, load, reload):
        for number in range(12):
            reload(f"[{LEAF.pin}, {(BACKUP, OTHER.pin)[number % 2]}]", waits=False)
            load.more(3)
        reload(f"[{LEAF.pin}, {BACKUP}]")
        assert loaded(command) > 2
        load.more(CLIENTS)
        load.stop()
    assert {asked.outcome for asked in load.asked} == {200}


@pytest.mark.attack(
    "requests on connections that were verified under the pins of before",
    expect="pin_mismatch",
    topic="faults",
    motive="CVE-2022-21654",
)
def test_from_the_line_of_the_reload_on_not_one_request_is_served_under_the_old_pins(tmp_path: Path) -> None:
    """Three times there and back, with every client on a connection of its own that it keeps."""
    with under_load(tmp_path) as (_command, load, reload):
        for pins, outcome in [(f"[{OTHER.pin}, {BACKUP}]", 403), (f"[{LEAF.pin}, {BACKUP}]", 200)] * 3:
            reload(pins)
            since = time.monotonic()
            load.more(4 * CLIENTS)
            during = [asked.outcome for asked in load.asked if asked.began > since]
            assert set(during) == {outcome}
        assert {asked.outcome for asked in load.asked} == {200, 403}


@pytest.mark.attack("SIGTERM under load", expect="serve", topic="faults", motive="Envoy's drain")
def test_no_response_is_cut_by_a_drain_under_load(tmp_path: Path) -> None:
    """Whole, or 503, or not begun: a connection that was idle may end while its client asks. The exit code is 0."""
    with under_load(tmp_path) as (command, load, _reload):
        command.process.terminate()
        assert command.process.wait(20) == ExitCode.OK
    assert {asked.outcome for asked in load.asked} <= {200, 503, "closed", "refused"}
    assert [asked.outcome for asked in load.asked].count("closed") <= CLIENTS
