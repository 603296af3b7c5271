"""`healthcheck` and `wait`: whom they ask, and what they make of the answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest

from pinproxy.cli.admin_client import Target, find_target
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from pinproxy.cli.probe import ask
from pinproxy.errors import SettingsError

DEFAULT = Target("127.0.0.1", 9470)


@contextlib.contextmanager
def answering(status: int, body: bytes = b"") -> Iterator[tuple[Target, list[str]]]:
    """Run an HTTP server with one answer; yields its address and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Target("127.0.0.1", server.server_address[1]), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def config(directory: Path, text: str) -> Path:
    """Write a configuration."""
    file = directory / "c.yaml"
    file.write_text(f"version: 1\n{text}", "utf-8")
    return file


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PINPROXY_ADMIN", raising=False)
    monkeypatch.delenv("PINPROXY_CONFIG", raising=False)


def test_200_is_ready_and_anything_else_is_not() -> None:
    """The answer's own words are passed on."""
    with answering(200, b"ready") as (target, asked):
        assert ask(target, 5) is None
        assert asked == ["/readyz"]
    with answering(503, b"draining\n") as (target, _):
        assert ask(target, 5) == f"not ready: {target} answered 503: draining"


def test_nobody_there_is_not_ready() -> None:
    """A refused connection is an answer, not an error of ours."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "does not answer (Connection refused)" in (ask(Target("127.0.0.1", port), 5) or "")


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1\r\n\r\n"])
def test_what_speaks_no_http_is_not_ready(said: bytes) -> None:
    """Another program may have the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_say_and_close, args=(server, said))
        thread.start()
        assert "answered no HTTP" in (ask(Target("127.0.0.1", server.getsockname()[1]), 5) or "")
        thread.join()


def _say_and_close(server: socket.socket, said: bytes) -> None:
    client, _ = server.accept()
    with client:
        client.recv(4096)
        client.sendall(said)


def test_one_that_says_nothing_is_given_up_at_the_timeout() -> None:
    """A probe that hangs tells its runtime nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "does not answer" in (ask(Target("127.0.0.1", server.getsockname()[1]), 0.05) or "")


def test_the_url_beats_the_variable_beats_the_file_beats_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of all options; an address for every interface is asked on loopback."""
    file = config(tmp_path, "admin: 0.0.0.0:9001\n")
    assert find_target(None, None) == DEFAULT
    assert find_target(config(tmp_path / "..", ""), None) == DEFAULT
    assert find_target(file, None) == Target("127.0.0.1", 9001)
    monkeypatch.setenv("PINPROXY_ADMIN", "[::]:9002")
    assert find_target(file, None) == Target("::1", 9002)
    assert find_target(file, "http://pod:9003") == Target("pod", 9003)
    assert find_target(file, "http://pod:9003/livez") == Target("pod", 9003, "/livez")


def test_the_rest_of_the_file_is_the_proxys_to_judge(tmp_path: Path) -> None:
    """A reload that was refused leaves a ready proxy; its probe must not fail over the file."""
    assert find_target(config(tmp_path, "admin: 127.0.0.1:9001\nnonsense: true\n"), None) == Target("127.0.0.1", 9001)


@pytest.mark.parametrize("said", ["null", "9470", "host:", ":9470", "host:http"])
def test_an_admin_server_that_is_off_or_unreadable_is_a_usage_error(said: str, tmp_path: Path) -> None:
    """It would never become ready, and 1 would say "not yet"."""
    with pytest.raises(click.UsageError):
        find_target(config(tmp_path, f"admin: {said!r}\n" if said != "null" else "admin: null\n"), None)


@pytest.mark.parametrize("url", ["https://127.0.0.1:9470/", "127.0.0.1:9470", "http:///readyz"])
def test_a_url_that_is_none_is_a_usage_error(url: str) -> None:
    """The admin server speaks plain HTTP."""
    with pytest.raises(click.UsageError):
        find_target(None, url)


def test_a_file_that_cannot_be_read_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    """Exit 2 like any other."""
    with pytest.raises(SettingsError):
        find_target(tmp_path / "missing.yaml", None)


@pytest.mark.parametrize("option", ["--url", "--admin"])
def test_healthcheck_exits_with_0_or_1(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What HEALTHCHECK and exec probes read."""

    def said(target: Target) -> str:
        return str(target) if option == "--url" else f"{target.host}:{target.port}"

    with answering(200) as (target, _):
        assert invoke(["healthcheck", option, said(target)]) == ExitCode.OK
    assert capsys.readouterr().out == "ready\n"
    with answering(503) as (target, _):
        assert invoke(["healthcheck", option, said(target)]) == ExitCode.FAILURE
    assert "answered 503" in capsys.readouterr().err


def test_wait_gives_up_at_its_timeout(capsys: pytest.CaptureFixture[str]) -> None:
    """With the last answer."""
    with answering(503, b"draining") as (target, asked):
        assert invoke(["wait", "--url", str(target), "--timeout", "0.25"]) == ExitCode.FAILURE
        assert len(asked) > 1
    assert "answered 503: draining; gave up after 0.25 s" in capsys.readouterr().err


def test_wait_returns_once_somebody_is_ready() -> None:
    """Started before the proxy, as a program beside it is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    outcome: list[int] = []
    thread = threading.Thread(target=lambda: outcome.append(invoke(["wait", "--url", f"http://127.0.0.1:{port}/"])))
    thread.start()
    with socket.create_server(("127.0.0.1", port)) as server:
        _say_and_close(server, b"HTTP/1.0 200 OK\r\n\r\n")
        thread.join(10)
    assert outcome == [ExitCode.OK]
