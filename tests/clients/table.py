"""The HTTP clients, one entry each: how somebody calls them who knows nothing of pins."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from tests.harness.origin import body_of, receipt_for
from tests.harness.running import HOST

SCRIPTS = Path(__file__).parent / "scripts"
SMALL, LARGE = 12, 4 * 2**20
# One byte more than curl sends without asking for 100 (Continue) first.
POSTED = 2**20 + 1


@dataclass(frozen=True, slots=True)
class Fetch:
    """One request of a client.

    Attributes:
        url: What it asks for.
        into: File for the body of the answer.
        answer: What that body must be.
        body: File to post; None: a GET.
    """

    url: str
    into: Path
    answer: bytes
    body: Path | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """A real client.

    Attributes:
        name: For the test's name.
        tools: The programs it takes.
        command: From requests, the directory with the roots, and the one with built programs: a command that makes the requests
            in one go and fails at the first that is not answered with 200.
        build: From the directory for programs: the command that builds it, if it has to be built.
        has_http2: It speaks HTTP/2 where the origin does.
        has_http_proxy: It sends `http://` URLs to the proxy of its environment.
        seconds: What a test of it may take; None: as any other.
    """

    name: str
    tools: tuple[str, ...]
    command: Callable[[Sequence[Fetch], Path, Path], list[str]]
    build: Callable[[Path], list[str]] | None = None
    has_http2: bool = False
    has_http_proxy: bool = True
    seconds: int | None = None


def curl(fetches: Sequence[Fetch], *options: str) -> list[str]:
    """Make a curl command; it prints the HTTP version of each answer."""
    command = ["curl", "--fail-early"]
    for number, fetch in enumerate(fetches):
        command += ["--next"] if number else []
        command += ["--silent", "--show-error", "--fail", "--write-out", r"%{http_version}\n", *options]
        command += ["--data-binary", f"@{fetch.body}"] if fetch.body else []
        command += ["--output", str(fetch.into), fetch.url]
    return command


def _curl(fetches: Sequence[Fetch], _trust: Path, _programs: Path) -> list[str]:
    return curl(fetches)


def _wget(fetches: Sequence[Fetch], trust: Path, _programs: Path) -> list[str]:
    """One process each, since wget posts the same to all. No variable tells it of a CA."""
    commands = []
    for fetch in fetches:
        command = ["wget", "--quiet", "--tries=1", f"--ca-certificate={trust}/bundle.pem", f"--output-document={fetch.into}"]
        commands.append([*command, *([f"--post-file={fetch.body}"] if fetch.body else []), fetch.url])
    return ["sh", "-c", " && ".join(map(shlex.join, commands))]


def _triples(fetches: Sequence[Fetch]) -> list[str]:
    return [argument for fetch in fetches for argument in (fetch.url, str(fetch.into), str(fetch.body or "-"))]


def _python(library: str, *, has_http2: bool = False) -> Client:
    def command(fetches: Sequence[Fetch], _trust: Path, _programs: Path) -> list[str]:
        return [sys.executable, str(SCRIPTS / "fetch.py"), library, *_triples(fetches)]

    return Client(library, (), command, has_http2=has_http2)


CLIENTS = (
    Client("curl", ("curl",), _curl, has_http2=True),
    Client("wget", ("wget",), _wget),
    _python("requests"),
    _python("httpx"),
    _python("httpx2", has_http2=True),
    _python("urllib"),
    _python("urllib3"),
    _python("aiohttp"),
    Client(
        "node",
        ("node",),
        lambda fetches, _trust, _programs: ["node", str(SCRIPTS / "fetch.mjs"), *_triples(fetches)],
        has_http_proxy=False,
    ),
    Client(
        "java",
        ("java", "javac"),
        lambda fetches, _trust, programs: ["java", "-cp", str(programs), "Fetch", *_triples(fetches)],
        build=lambda programs: ["javac", "-d", str(programs), str(SCRIPTS / "Fetch.java")],
        has_http2=True,
        seconds=120,
    ),
    Client(
        "go",
        ("go",),
        lambda fetches, _trust, programs: [str(programs / "fetch"), *_triples(fetches)],
        build=lambda programs: ["go", "build", "-o", str(programs / "fetch"), str(SCRIPTS / "fetch.go")],
        has_http2=True,
        seconds=300,  # Go brings its standard library as source: the first build on a machine compiles it
    ),
)


def each_client(*, where: Callable[[Client], bool] = lambda _client: True) -> pytest.MarkDecorator:
    """Run a test with each client of the table that has what it takes."""
    params = []
    for client in filter(where, CLIENTS):
        marks = [pytest.mark.needs_tool(*client.tools)] if client.tools else []
        marks += [pytest.mark.timeout(client.seconds)] if client.seconds else []
        params.append(pytest.param(client, id=client.name, marks=marks))
    return pytest.mark.parametrize("client", params, indirect=True)


def small_fetch(directory: Path, scheme: str = "https") -> Fetch:
    """A GET of a few bytes."""
    return Fetch(f"{scheme}://{HOST}/{SMALL}", directory / "small", body_of(SMALL))


def errands(directory: Path, scheme: str = "https") -> list[Fetch]:
    """A GET of a few bytes, one of 4 MiB, and a POST of 1 MiB."""
    body = directory / "body"
    body.write_bytes(body_of(POSTED))
    return [
        small_fetch(directory, scheme),
        Fetch(f"{scheme}://{HOST}/{LARGE}", directory / "large", body_of(LARGE)),
        Fetch(f"{scheme}://{HOST}/", directory / "receipt", receipt_for(body_of(POSTED)), body),
    ]


def assert_answered(fetches: Sequence[Fetch]) -> None:
    """Assert that each file holds what the origin sent, byte for byte."""
    for fetch in fetches:
        got = fetch.into.read_bytes()
        # Of 4 MiB, a difference is nothing to read.
        assert (len(got), sha256(got).hexdigest()) == (len(fetch.answer), sha256(fetch.answer).hexdigest()), fetch.url
