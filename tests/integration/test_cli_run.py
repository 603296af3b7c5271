"""`pinproxy run` as a process: how it starts, what it refuses, how it ends."""

from __future__ import annotations

import http.client
import signal
import socket
import ssl
import threading
from pathlib import Path

import pytest

from pinproxy.cli.exit_code import ExitCode
from pinproxy.settings.options import scalar_options
from tests.harness.blocking_origin import answer_once, blocking_origin
from tests.harness.command_line import RunningCommand, pinproxy, running_pinproxy, write_config
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST

PREAMBLE = "listen: [127.0.0.1:0]\nadmin: 127.0.0.1:0\nlocal_ca: {publish: null}\n"
ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
CONTEXT = server_context(LEAF)


def get(command: RunningCommand) -> tuple[int, bytes]:
    """Ask for `HOST` through the proxy, in plain HTTP."""
    host, _, port = command.wait_for("started")["listen"][0].rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request("GET", f"http://{HOST}/")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_run_serves_is_healthy_and_ends_with_0_on_sigterm(tmp_path: Path) -> None:
    """What every supervisor relies on."""
    with blocking_origin(CONTEXT, answer_once) as origin:
        file = write_config(tmp_path, ROOT, LEAF, origin.port, PREAMBLE)
        with running_pinproxy("run", "--config", str(file)) as command:
            admin = command.wait_for("started")["admin"]
            assert get(command) == (200, b"yes")
            assert pinproxy("healthcheck", PINPROXY_ADMIN=admin).returncode == ExitCode.OK
            assert pinproxy("wait", "--url", f"http://{admin}").returncode == ExitCode.OK
            command.process.terminate()
            assert command.process.wait(20) == ExitCode.OK
            command.wait_for("stopped")
            assert pinproxy("healthcheck", PINPROXY_ADMIN=admin).returncode == ExitCode.FAILURE


@pytest.mark.attack("SIGTERM with responses and tunnels in flight", expect="serve", topic="faults", motive="Envoy's drain")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_finished_before_the_end(number: signal.Signals, tmp_path: Path) -> None:
    """Draining: the response that was under way arrives, then the exit code is 0."""
    asked, go = threading.Event(), threading.Event()

    def answer_later(tls: ssl.SSLSocket) -> None:
        tls.recv(1)
        asked.set()
        go.wait(20)
        answer_once(tls)

    with blocking_origin(CONTEXT, answer_later) as origin:
        file = write_config(tmp_path, ROOT, LEAF, origin.port, PREAMBLE)
        with running_pinproxy("run", "--config", str(file)) as command:
            answers: list[tuple[int, bytes]] = []
            client = threading.Thread(target=lambda: answers.append(get(command)))
            client.start()
            assert asked.wait(20)
            command.process.send_signal(number)
            command.wait_for("draining")
            go.set()
            client.join(20)
            assert answers == [(200, b"yes")]
            assert command.process.wait(20) == ExitCode.OK


@pytest.mark.attack("a drain that takes too long: the second signal ends it", expect="cut", topic="faults")
def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """An operator who insists is not made to wait for `limits.drain_seconds`."""
    asked, go = threading.Event(), threading.Event()

    def never_answer(tls: ssl.SSLSocket) -> None:
        tls.recv(1)
        asked.set()
        go.wait(50)

    with blocking_origin(CONTEXT, never_answer) as origin:
        file = write_config(tmp_path, ROOT, LEAF, origin.port, PREAMBLE)
        with running_pinproxy("run", "--config", str(file), "--limits-drain-seconds", "1h") as command:
            port = int(command.wait_for("started")["listen"][0].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                assert asked.wait(20)
                command.process.terminate()
                command.wait_for("draining")
                command.process.terminate()
                assert command.process.wait(20) == ExitCode.OK
        go.set()


def test_a_wrong_configuration_starts_nothing(tmp_path: Path) -> None:
    """Exit 2, every problem with its place, and not one line of a log."""
    (tmp_path / "c.yaml").write_text("version: 1\nlisten: [127.0.0.1:0]\nunlistd: deny\nadmin: here\n", "utf-8")
    done = pinproxy("run", "--config", "c.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["c.yaml:3:1", "c.yaml:4:8", "pinproxy"]
    assert "did you mean" in done.stderr


def test_a_port_that_is_taken_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    """Exit 2, with the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        file = write_config(tmp_path, ROOT, LEAF, 1, PREAMBLE)
        done = pinproxy("run", "--config", str(file), "--listen", address)
    assert done.returncode == ExitCode.USAGE
    assert address in done.stderr.splitlines()[-2]
    assert "Traceback" not in done.stderr


def test_a_flag_beats_a_variable_beats_the_file(tmp_path: Path) -> None:
    """Each says where a bad value came from, so each in turn can be seen to win."""
    file = write_config(tmp_path, ROOT, LEAF, 1, PREAMBLE + "unlisted: from-file\n")
    arguments = ["run", "--config", str(file)]
    assert "'from-file'" in pinproxy(*arguments).stderr
    by_variable = pinproxy(*arguments, PINPROXY_UNLISTED="from-variable").stderr
    assert by_variable.startswith("PINPROXY_UNLISTED: ")
    by_flag = pinproxy(*arguments, "--unlisted", "from-flag", PINPROXY_UNLISTED="from-variable").stderr
    assert by_flag.startswith("--unlisted: ")
    assert "from-variable" not in by_flag


def test_the_variable_names_the_configuration(tmp_path: Path) -> None:
    """PINPROXY_CONFIG is what a container image sets."""
    file = write_config(tmp_path, ROOT, LEAF, 1, PREAMBLE)
    with running_pinproxy("run", PINPROXY_CONFIG=str(file)) as command:
        command.wait_for("started")


def test_a_boolean_flag_may_stand_alone_or_say_false(tmp_path: Path) -> None:
    """`--unsafe-listen` and `--unsafe-listen=false`."""
    file = write_config(tmp_path, ROOT, LEAF, 1, PREAMBLE)
    everywhere = ["run", "--config", str(file), "--listen", "0.0.0.0:0"]
    with running_pinproxy(*everywhere, "--unsafe-listen") as command:
        command.wait_for("started")
    assert pinproxy(*everywhere, "--unsafe-listen=false").returncode == ExitCode.USAGE


def test_every_scalar_of_the_configuration_is_listed_by_help() -> None:
    """By the section it stands in."""
    text = pinproxy("run", "--help").stdout
    assert [option.flag for option in scalar_options() if f"  {option.flag} " not in text] == []
    assert "\nKeys of limits:\n" in text
