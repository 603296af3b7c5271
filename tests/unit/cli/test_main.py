"""The command line as a whole: what is loaded, what is said, which exit code follows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import click
import pytest

from pinproxy import __version__
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import COMMANDS, Entry, invoke
from tests.harness.command_line import environment

ENTRIES = {name: entry for section in COMMANDS.values() for name, entry in section.items()}


@pytest.mark.parametrize(("name", "entry"), ENTRIES.items(), ids=ENTRIES)
def test_the_line_in_the_list_of_commands_is_the_commands_own(name: str, entry: Entry) -> None:
    """The list is written out so that it loads no command; it must not drift from what the commands say."""
    command = getattr(import_module(f"pinproxy.cli.{entry.module}"), entry.attribute)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert (command.help or "").partition("\n")[0] == entry.summary


@pytest.mark.parametrize("name", ENTRIES)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` is the manual."""
    assert invoke([name, "--help"]) == ExitCode.OK
    assert ENTRIES[name].summary in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["healthcheck", "--url", "http://127.0.0.1:1/"]], ids=["help", "healthcheck"])
def test_help_and_probes_load_nothing_heavy(arguments: list[str]) -> None:
    """A probe runs every few seconds beside the proxy, in the same memory limit."""
    code = (
        "import sys; from pinproxy.cli.main import invoke; "
        f"invoke({arguments!r}); "
        "print([name for name in ('pydantic', 'ruamel.yaml', 'aiohttp', 'cryptography', 'structlog', 'asyncio', 'ssl') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_proxy_loads_nothing_of_other_commands_nor_of_an_admin_server_it_may_not_have() -> None:
    """What `run` imports stays resident beside the service for as long as both run."""
    code = (
        "import sys, pinproxy.cli.run; "
        "print([name for name in sys.modules if name.startswith(('pinproxy.cli.', 'pinproxy.admin', 'pinproxy.pins.formats'))]); "
        "print([name for name in ('aiohttp', 'prometheus_client', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['pinproxy.cli.options', 'pinproxy.cli.run']", "[]"]


def test_a_probe_starts_in_a_fraction_of_a_second() -> None:
    """The best of five, since the machine may be busy: 80 ms where this was written."""

    def once() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "pinproxy", "--help"], env=environment(), stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began

    assert min(once() for _ in range(5)) < 0.3


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """One place says it."""
    assert invoke(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out == f"pinproxy {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chekc"], "there is no command 'chekc'; did you mean 'check'?"),
        (["zzz"], "there is no command 'zzz'; `pinproxy --help` lists them"),
        (["check"], "Missing option '-c' / '--config' (env var: 'PINPROXY_CONFIG')"),
        (["env", "--format", "fish"], "'fish' is not one of"),
        (["run", "--config", "x", "--no-such-option"], "No such option"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_says_what_is_wrong(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 is usage or configuration; nothing was started."""
    monkeypatch.delenv("PINPROXY_CONFIG", raising=False)
    assert invoke(arguments) == ExitCode.USAGE
    output = capsys.readouterr()
    assert said in output.err
    assert output.out == ""


def test_every_problem_of_a_configuration_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As file:line:column, which editors jump to."""
    file = tmp_path / "c.yaml"
    file.write_text("version: 1\nunlisted: maybe\nhosts:\n  - {host: a.example}\n", "utf-8")
    assert invoke(["check", "--config", str(file)]) == ExitCode.USAGE
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{file}:2:11: unlisted: ")
    assert second.startswith(f"{file}:4:5: hosts[0]: a.example has no pins")
    assert last == "pinproxy: 2 problems; nothing was started"


def test_an_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """128 + SIGINT, as shells have it."""

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    assert invoke(["wait", "--url", "http://127.0.0.1:1/", "--timeout", "5"]) == ExitCode.INTERRUPTED


def test_a_reader_that_has_read_enough_is_no_traceback() -> None:
    """`pinproxy schema | head -1` is an honest thing to type."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pinproxy", "schema"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(10) == ExitCode.FAILURE


def test_a_full_disk_is_no_traceback() -> None:
    """What cannot be written is said in a line."""
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "pinproxy", "schema"], stdout=full, stderr=subprocess.PIPE, env=environment(), check=False
        )
    assert (ended.returncode, ended.stderr) == (ExitCode.FAILURE, b"pinproxy: cannot write: No space left on device\n")


def test_a_schema_replaces_no_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor a pipe, as here. A link stays a link, and what it leads to is replaced."""
    file, link, pipe = tmp_path / "s.json", tmp_path / "link", tmp_path / "pipe"
    file.touch()
    link.symlink_to(file)
    os.mkfifo(pipe)
    assert invoke(["schema", "-o", str(link)]) == ExitCode.OK
    assert (link.is_symlink(), file.stat().st_size > 0) == (True, True)
    assert invoke(["schema", "-o", str(pipe)]) == ExitCode.USAGE
    assert "pipe is no file; without --output" in capsys.readouterr().err
    assert pipe.is_fifo()


def test_a_terminal_without_the_sign_gets_its_number() -> None:
    """A Latin-1 terminal is shown a number, not a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "pinproxy", "run", "--help"],
        env=environment(PYTHONIOENCODING="latin-1:strict"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2026" in done.stdout
