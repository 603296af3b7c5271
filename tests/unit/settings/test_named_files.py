"""Files that a configuration names: what is no file is refused with its place, and nobody waits for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pinproxy.errors import SettingsError
from pinproxy.settings.load import load_settings
from pinproxy.settings.watch import ConfigWatch
from tests.harness.command_line import BACKUP


def make_socket(path: Path) -> None:
    """Leave the name of a socket behind."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


KINDS: dict[str, Callable[[Path], None]] = {
    "a directory": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to(os.devnull),
}
each_kind = pytest.mark.parametrize(("kind", "make"), KINDS.items(), ids=KINDS)
READ = {
    "trust": f"hosts: [{{host: a.example, pins: [{BACKUP}], allow_single_pin: true, trust: {{ca_file: named}}}}]\n",
    "pin of a certificate": f"pin_sets: {{x: {{pins: [{BACKUP}, {{cert_file: named}}]}}}}\n",
    "pin of a key": f"pin_sets: {{x: {{pins: [{BACKUP}, {{key_file: named}}]}}}}\n",
    "client certificate": "hosts: [{host: a.example, mode: disabled, client_cert: {cert_file: named, key_file: named}}]\n",
    "password": "upstream_proxy: http://user@proxy.example:8080\nupstream_proxy_password_file: named\n",
}


def problems(directory: Path, text: str) -> str:
    """Load a configuration, and tell what is wrong with it."""
    file = directory / "c.yaml"
    file.write_text(f"version: 1\n{text}", "utf-8")
    with pytest.raises(SettingsError) as refused:
        load_settings(file, {}, {})
    return str(refused.value)


@each_kind
@pytest.mark.parametrize("text", READ.values(), ids=READ)
def test_what_is_read_must_be_a_file(text: str, kind: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    """A pipe would hold up the start, and each look for changes; it is opened without waiting, and told by its name."""
    make(tmp_path / "named")
    said = problems(tmp_path, text)
    assert f"it is {kind}" in said
    assert said.startswith(f"{tmp_path}/c.yaml:")


@each_kind
def test_what_is_written_must_be_a_file_or_not_there(kind: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    """Observations outlive the process in a file, which is replaced whole."""
    text = "observations: {file: named}\n"
    file = tmp_path / "c.yaml"
    file.write_text(f"version: 1\n{text}", "utf-8")
    assert load_settings(file, {}, {}).observations.file == tmp_path / "named"
    (tmp_path / "named").touch()
    assert load_settings(file, {}, {}).observations.file == tmp_path / "named"
    (tmp_path / "named").unlink()
    make(tmp_path / "named")
    said = problems(tmp_path, text)
    assert said == f"{file}:2:22: observations.file: 'named' is {kind}; expected a file, or the path where one is to be made"


def test_a_socket_is_no_file_either(tmp_path: Path) -> None:
    """It is named as what it is where it can be seen without opening it."""
    make_socket(tmp_path / "named")
    assert "is a socket" in problems(tmp_path, "observations: {file: named}\n")


async def test_a_file_that_becomes_a_pipe_holds_up_no_watch(tmp_path: Path) -> None:
    """It is a change like any other, and seen without waiting for a writer."""
    file, named = tmp_path / "c.yaml", tmp_path / "roots.pem"
    file.write_text("hosts: [{trust: {ca_file: roots.pem}}]\n", "utf-8")
    named.touch()
    reloads = 0

    async def reload() -> None:
        nonlocal reloads
        reloads += 1

    watch = ConfigWatch(file, reload)
    named.unlink()
    os.mkfifo(named)
    assert [await watch.poll() for _ in range(2)] == [False, True]
    assert reloads == 1


async def test_a_name_that_no_file_can_have_ends_no_watch(tmp_path: Path) -> None:
    """It is refused at the reload, and the file that is right again is seen like any other."""
    file = tmp_path / "c.yaml"
    file.write_text("version: 1\n", "utf-8")
    seen: list[str] = []

    async def reload() -> None:
        seen.append(file.read_text("utf-8"))

    watch = ConfigWatch(file, reload)
    for text in ('observations: {file: "\\ud800"}\nhosts: [{trust: {ca_file: "\\ud800"}}]\n', "version: 1\n"):
        file.write_text(text, "utf-8")
        assert [await watch.poll() for _ in range(2)] == [False, True]
    assert len(seen) == 2
    assert "half a surrogate pair is in the name of no file" in problems(tmp_path, seen[0])
