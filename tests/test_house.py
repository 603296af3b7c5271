"""The house rules that neither ruff nor mypy nor import-linter can state, each with an offender it catches."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pinproxy.errors import refusal_codes

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "pinproxy"
SOURCES = sorted(PACKAGE.rglob("*.py"))
LOCKS = sorted(REPOSITORY.glob("requirements*.lock"))

# A file that needs scrolling for its idea is two files. 250 lines is the feel, 350 the end.
LONGEST_FILE_LINES = 350

PURE = ("authority", "errors", "http1", "limits", "pins", "policy", "socks5", "tls")
CLOCK_READERS = {"now", "today", "utcnow"}


def is_pure(path: Path) -> bool:
    """Tell whether a file belongs to the functional core."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py") in PURE


def each(paths: list[Path]) -> pytest.MarkDecorator:
    """Run a test once for each file, named by its path."""
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(REPOSITORY)))


def prints(source: str) -> list[int]:
    """List the lines that call print()."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def clock_reads(source: str) -> list[int]:
    """List the lines that ask the clock, as `datetime.now()` does; the `time` module is import-linter's to refuse."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_READERS
    ]


def assignments(source: str, attribute: str) -> list[int]:
    """List the lines that set an attribute of that name."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr == attribute and isinstance(node.ctx, ast.Store)
    ]


def effects(source: str) -> list[int]:
    """List the lines that wait for something or open a file."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open")
    ]


def unexplained(source: str, numbers: list[int]) -> list[int]:
    """Keep those of the lines that have no comment of their own, neither behind them nor on the line above.

    A tool's directive (`noqa`, `type: ignore`, `pragma`) is no explanation; the words after it are.
    """

    def explains(line: str) -> bool:
        comment = line.partition("#")[2]
        words = re.sub(r"(noqa|type: ignore|pragma: no cover)(: ?[A-Z0-9, ]+|\[[a-z, -]+\])?", "", comment)
        return bool(re.search(r"[a-z]{2}", words))

    def has_reason(number: int) -> bool:
        above = lines[number - 1].lstrip()
        return explains(lines[number]) or (above.startswith("#") and explains(above))

    lines = ["", *source.splitlines()]
    return [number for number in numbers if not has_reason(number)]


def catch_alls(source: str) -> list[int]:
    """List the lines that catch everything and do not end by raising again."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or re.search(r"\b(Base)?Exception\b", ast.unparse(node.type)))
        and not isinstance(node.body[-1], ast.Raise)
    ]


def escapes(source: str) -> list[int]:
    """List the lines on which a tool is told to look away."""
    pattern = r"#\s*(noqa|type: ignore|pragma: no cover)"
    return [number for number, line in enumerate(source.splitlines(), start=1) if re.search(pattern, line)]


@each(SOURCES)
def test_a_file_holds_one_idea(path: Path) -> None:
    """A file longer than this is a place to ask whether it holds two."""
    assert len(path.read_text().splitlines()) <= LONGEST_FILE_LINES


@each(SOURCES)
def test_only_the_command_line_prints(path: Path) -> None:
    """The proxy speaks through its log, whose lines are structured."""
    if path.relative_to(PACKAGE).parts[0] != "cli":
        assert prints(path.read_text()) == []


def test_a_print_is_found() -> None:
    """The offender."""
    assert prints("x = 1\nprint(x)\n") == [2]


@each([path for path in SOURCES if is_pure(path)])
def test_the_functional_core_neither_waits_nor_asks_the_clock(path: Path) -> None:
    """Now is an argument, and so is everything that was read."""
    source = path.read_text()
    assert (clock_reads(source), effects(source)) == ([], [])


def test_a_clock_read_and_an_effect_are_found() -> None:
    """The offenders."""
    assert clock_reads("import datetime\nt = datetime.datetime.now()\n") == [2]
    assert effects("async def f():\n    await g()\n\nopen('x')\n") == [1, 4, 2]


@each(SOURCES)
def test_whoever_catches_everything_says_why(path: Path) -> None:
    """A catch-all may hide a check that failed: one stands at each task boundary, and a comment says what it does."""
    source = path.read_text()
    assert unexplained(source, catch_alls(source)) == []


@each(SOURCES)
def test_an_escape_from_a_check_carries_its_reason(path: Path) -> None:
    """A rule is left by name and with the reason beside it."""
    source = path.read_text()
    assert unexplained(source, escapes(source)) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("try:\n    f()\nexcept Exception:\n    g()\n", [3]),
        ("try:\n    f()\nexcept (ValueError, Exception) as error:\n    g()\n", [3]),
        ("try:\n    f()\nexcept:\n    g()\n", [3]),
        ("try:\n    f()\nexcept Exception:  # noqa: BLE001\n    g()\n", [3]),
        ("try:\n    f()\nexcept Exception:  # noqa: BLE001 - the end of a task, which logs and closes\n    g()\n", []),
        ("try:\n    f()\n# the end of a task, which logs and closes\nexcept Exception:\n    g()\n", []),
        ("try:\n    f()\nexcept BaseException:\n    g()\n    raise\n", []),
        ("try:\n    f()\nexcept ValueError:\n    g()\n", []),
    ],
)
def test_a_catch_all_without_a_reason_is_found(source: str, lines: list[int]) -> None:
    """The offenders and their twins."""
    assert unexplained(source, catch_alls(source)) == lines


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("x = f()  # type: ignore[misc]\n", [1]),
        ("x = f()  # noqa: SLF001, S501\n", [1]),
        ("x = f()  # type: ignore[misc]  # typeshed has no stub for it\n", []),
        ("# typeshed has no stub for it\nx = f()  # type: ignore[misc]\n", []),
    ],
)
def test_an_escape_without_a_reason_is_found(source: str, lines: list[int]) -> None:
    """The offenders and their twins."""
    assert unexplained(source, escapes(source)) == lines


@each(SOURCES)
def test_no_import_hides_from_the_layers(path: Path) -> None:
    """A cycle that only the type checker sees is a type that lives in the wrong layer."""
    assert "TYPE_CHECKING" not in path.read_text()


@pytest.mark.attack(
    "the crash of a Python whose TLS context was switched inside a handshake, and the first one collected",
    expect="neutralise",
    topic="interception",
    motive="CVE-2026-19445",
)
@each(SOURCES)
def test_no_tls_context_is_switched_inside_a_handshake(path: Path) -> None:
    """Interception reads the name before the handshake begins, so nothing needs an `sni_callback`."""
    assert assignments(path.read_text(), "sni_callback") == []


def test_a_switched_context_is_found() -> None:
    """The offender, and its twin."""
    source = "context.sni_callback = switch\ncontext.options |= 1\n"
    assert (assignments(source, "sni_callback"), assignments(source, "options")) == ([1], [2])


def headings(text: str) -> list[str]:
    """List the codes that have a heading, in the order of the page."""
    return re.findall(r"^### `([a-z0-9_]+)`$", text, flags=re.MULTILINE)


def sections(text: str) -> list[tuple[str, str]]:
    """Pair each code with the text below its heading."""
    parts = re.split(r"^### `([a-z0-9_]+)`$", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def test_every_reason_code_has_a_heading_and_every_heading_a_code() -> None:
    """A code an operator meets at night can be looked up, and the page names none that cannot happen."""
    assert sorted(headings((REPOSITORY / "docs/errors.md").read_text())) == sorted(refusal_codes())


@pytest.mark.parametrize(("code", "text"), sections((REPOSITORY / "docs/errors.md").read_text()))
def test_every_reason_code_is_told_with_status_cause_and_remedy(code: str, text: str) -> None:
    """The status on the page is that of the class; what it means, why it happens and what to do all stand there."""
    kind = refusal_codes()[code]
    assert text.lstrip().startswith(f"*{kind.status} · {kind.proxy_status}*")
    assert "**Cause.**" in text
    assert "**Remedy.**" in text


@each(LOCKS)
def test_a_lock_names_no_address(path: Path) -> None:
    """A lock installs from whichever index is configured, and from nowhere else."""
    text = path.read_text()
    assert re.findall(r"://|^--(?!hash)|@ ", text, flags=re.MULTILINE) == []


@each(LOCKS)
def test_everything_locked_has_a_version_and_a_hash(path: Path) -> None:
    """What is installed is what was resolved, to the byte."""
    entries = re.split(r"^(?=\S)", path.read_text(), flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==\S+ ", entry)
        assert "--hash=sha256:" in entry


def test_what_runs_and_what_builds_is_locked_alike_for_the_workshop() -> None:
    """The suite runs on the versions that the image holds."""

    def entries(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+==\S+", (REPOSITORY / name).read_text(), flags=re.MULTILINE))

    assert entries("requirements.lock") | entries("requirements-build.lock") <= entries("requirements-dev.lock")
