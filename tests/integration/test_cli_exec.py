"""`pinproxy exec`: a program that knows nothing of pins, behind a proxy of its own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinproxy.cli.exit_code import ExitCode
from tests.harness.blocking_origin import answer_once, blocking_origin
from tests.harness.command_line import environment, pinproxy, write_config
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
STRANGER = make_leaf(ROOT, HOST)
URLLIB = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())"
REQUESTS = "import sys, requests; print(requests.get(sys.argv[1], timeout=20).text)"


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Iterator[str]:
    """A configuration whose host is pinned to the key that its origin has."""
    with blocking_origin(server_context(LEAF), answer_once) as origin:
        yield str(write_config(tmp_path, ROOT, LEAF, origin.port))


@pytest.fixture(name="idle")
def _idle(tmp_path: Path) -> str:
    """A configuration for programs that connect nowhere."""
    return str(write_config(tmp_path, ROOT, LEAF, 1))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "client",
    [
        pytest.param(["curl", "-sS"], marks=pytest.mark.needs_tool("curl"), id="curl"),
        pytest.param([sys.executable, "-c", URLLIB], id="urllib"),
        pytest.param([sys.executable, "-c", REQUESTS], id="requests"),
    ],
)
def test_a_client_gets_through_without_knowing(client: list[str], scheme: str, config: str) -> None:
    """Its environment leads it and makes it trust the proxy's CA; an inherited NO_PROXY does not lead it around."""
    done = pinproxy("exec", "--config", config, *client, f"{scheme}://{HOST}/", NO_PROXY="*", no_proxy="*")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "yes", "")


@pytest.mark.needs_tool("curl")
def test_a_pin_that_is_not_met_is_seen_by_the_client_and_told_on_stderr(tmp_path: Path) -> None:
    """The same with a server of another key: the twin of the above."""
    with blocking_origin(server_context(STRANGER), answer_once) as origin:
        file = write_config(tmp_path, ROOT, LEAF, origin.port)
        done = pinproxy(
            "exec", "--config", str(file), "--", "curl", "-sS", "-w", "%{http_code}", "-o", "/dev/null", f"http://{HOST}/"
        )
    assert (done.returncode, done.stdout) == (0, "403")
    assert '"code":"pin_mismatch"' in done.stderr


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 128 + signal.SIGTERM), ("kill -KILL $$", 128 + signal.SIGKILL)],
)
def test_the_exit_code_is_the_childs(script: str, code: int, idle: str) -> None:
    """As a shell reports it: 128 and the number of the signal."""
    assert pinproxy("exec", "--config", idle, "--", "sh", "-c", script).returncode == code


def test_a_program_that_does_not_exist_is_127_and_one_that_cannot_run_126(idle: str, tmp_path: Path) -> None:
    """As a shell has it, with one readable line."""
    missing = pinproxy("exec", "--config", idle, "no-such-program", "--flag")
    assert (missing.returncode, missing.stderr) == (ExitCode.NOT_FOUND, "pinproxy exec: no-such-program: not found\n")
    text = tmp_path / "text"
    text.write_text("no program\n")
    refused = pinproxy("exec", "--config", idle, str(text))
    assert (refused.returncode, refused.stderr) == (ExitCode.NOT_EXECUTABLE, f"pinproxy exec: {text}: cannot be executed\n")
    text.write_text("#!/no/such/interpreter\n")
    text.chmod(0o755)
    assert pinproxy("exec", "--config", idle, str(text)).returncode == ExitCode.NOT_FOUND


def test_a_wrong_configuration_starts_no_child(tmp_path: Path) -> None:
    """The child would go out unpinned otherwise."""
    (tmp_path / "c.yaml").write_text("version: 2\n", "utf-8")
    done = pinproxy("exec", "--config", "c.yaml", "touch", "started", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert not (tmp_path / "started").exists()


def test_each_run_publishes_into_a_private_directory_that_goes_with_it(tmp_path: Path) -> None:
    """What the configuration would publish elsewhere stays as it is: it may be another proxy's."""
    file = write_config(tmp_path, ROOT, LEAF, 1, "local_ca: {publish: public}\n")
    script = 'stat -c %a "$(dirname "$SSL_CERT_FILE")"; ls "$(dirname "$SSL_CERT_FILE")"; dirname "$SSL_CERT_FILE"'
    done = pinproxy("exec", "--config", str(file), "sh", "-c", script)
    mode, *names, directory = done.stdout.splitlines()
    assert (mode, names) == ("700", ["bundle.pem", "ca.pem", "truststore.p12"])
    assert not Path(directory).exists()
    assert not (tmp_path / "public").exists()


def test_a_run_leaves_the_observations_of_the_proxy_beside_it_alone(tmp_path: Path) -> None:
    """The file is one process's own, and `promote` rests on it."""
    file = write_config(tmp_path, ROOT, LEAF, 1, "local_ca: {publish: null}\nobservations: {file: observations.json}\n")
    assert pinproxy("exec", "--config", str(file), "true").returncode == 0
    assert not (tmp_path / "observations.json").exists()


def test_the_childs_input_and_output_are_its_own(idle: str) -> None:
    """It stands in pipelines, and its options need no `--` before them."""
    done = subprocess.run(
        [sys.executable, "-m", "pinproxy", "exec", "--config", idle, "grep", "-v", "-e", "--config"],
        input="--config\nkept\n",
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (0, "kept\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_for_us_is_a_signal_for_the_child(number: signal.Signals, idle: str) -> None:
    """Without a terminal, as a supervisor sends it; the child decides what it means."""
    script = f"trap 'exit 9' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [sys.executable, "-m", "pinproxy", "exec", "--config", idle, "sh", "-c", script],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(20) == 9


@pytest.mark.needs_tool("setsid")
def test_ctrl_c_in_a_terminal_reaches_the_child_once(idle: str) -> None:
    """The kernel sends it to the whole foreground group; forwarding it would make an impatient user of a patient one.

    Stdin is a file here: it is the controlling terminal that counts.
    """
    script = (
        "import signal, sys, time\n"
        "count = 0\n"
        "def interrupted(*_):\n    global count; count += 1\n"
        "signal.signal(signal.SIGINT, interrupted)\n"
        "print('ready', flush=True)\n"
        "while not count: time.sleep(0.01)\n"
        "time.sleep(0.3)  # for a second one to arrive\n"
        "sys.exit(count)\n"
    )
    command = [sys.executable, "-m", "pinproxy", "exec", "--config", idle, sys.executable, "-c", script]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", "sh", "-c", 'exec "$@" </dev/null', "sh", *command],
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    try:
        os.close(theirs)
        said = b""
        deadline = time.monotonic() + 20
        while b"ready" not in said and time.monotonic() < deadline:
            said += os.read(ours, 4096)
        os.write(ours, b"\x03")
        assert process.wait(20) == 1, said
    finally:
        process.kill()
        process.wait()
        os.close(ours)
