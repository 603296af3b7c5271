"""docs/security.md, made from the marks of the tests: `./dev docs` writes it, and a test compares what is checked in.

The test modules are imported and the marks read off their functions and off the rows of their tables, which is what pytest does
and takes a tenth of the time of a collection.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from pinproxy.errors import refusal_codes
from tests.attacks import OUTCOMES, TOPICS, Attack, read_mark

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent
PAGE = REPOSITORY / "docs/security.md"
UNTESTED = TESTS / "data/untested.toml"

INTRODUCTION = """\
# Security: the attacks that are tried

This page is made from the test suite by `./dev docs`; change the tests, not the page. Each row is an attack, what must
happen to it, and the tests that fail if something else does. A test that expects a refusal asserts the reason code, can
fail for one reason only, and has a twin beside it that passes with one thing changed.

**What it covers**: what a hostile network, server, client or file can do to the proxy, tried with real TLS on loopback
wherever TLS matters, on both event loops. What is promised, and to whom, is in [guarantees.md](guarantees.md).

**What it does not cover**: attacks on the libraries below (OpenSSL, `cryptography`, the kernel) other than through us;
whoever is root on the machine; timing and traffic analysis. What was left out on purpose stands
[below](#not-tested-and-why), with its reason. A row shows that one attack fails, not that no attack succeeds.

```
./dev test -m attack                         # all of them
./dev test -m "attack(topic='{topic}')"    # one table
./dev test -k {test}
```

In the second column stand reason codes of [errors.md](errors.md), or one of these words:

{outcomes}
"""

UNTESTED_INTRODUCTION = """\
## Not tested, and why

Known attacks without a test here: out of reach, impossible by construction, or somebody else's to answer for.
"""


@dataclass(slots=True)
class Row:
    """One attack with its tests, as links."""

    attack: Attack
    tests: list[str] = field(default_factory=list)


def marked(module: ModuleType) -> Iterator[tuple[str, Attack]]:
    """Yield what the marks of a test module say, each with the name of its test, in the module's order."""
    for name, function in vars(module).items():
        if not name.startswith("test_") or not isinstance(function, FunctionType):
            continue
        for mark in getattr(function, "pytestmark", ()):
            if mark.name == "attack":
                yield name, read_mark(mark)
            elif mark.name == "parametrize":
                yield from ((name, attack) for attack in marked_parameters(mark))


def marked_parameters(table: pytest.Mark) -> Iterator[Attack]:
    """Yield what the marks of single rows of a `parametrize` say."""
    for row in table.kwargs.get("argvalues") or table.args[1]:
        if isinstance(row, pytest.ParameterSet):
            yield from (read_mark(mark) for mark in row.marks if isinstance(mark, pytest.Mark) and mark.name == "attack")
            decorators = (mark for mark in row.marks if isinstance(mark, pytest.MarkDecorator))
            yield from (read_mark(decorator.mark) for decorator in decorators if decorator.name == "attack")


def marked_files() -> list[Path]:
    """List the test files that mention the mark."""
    return [path for path in sorted(TESTS.rglob("test_*.py")) if "pytest.mark.attack(" in path.read_text("utf-8")]


def collect_rows() -> list[Row]:
    """Read every mark of the suite.

    Raises:
        ValueError: Two marks tell one attack in different ways.
    """
    rows: dict[tuple[str, str], Row] = {}
    for path in marked_files():
        place = path.relative_to(REPOSITORY)
        for name, attack in marked(importlib.import_module(".".join(place.with_suffix("").parts))):
            row = rows.setdefault((attack.topic, attack.what), Row(attack))
            if row.attack != attack:
                raise ValueError(f"{place}: {name}: tells {attack.what!r} as {attack}, another test as {row.attack}")
            link = f"[{name}](../{place})"
            if link not in row.tests:
                row.tests.append(link)
    return list(rows.values())


def outcome(word: str) -> str:
    """Write what must happen, a reason code as a link to its heading."""
    return f"[`{word}`](errors.md#{word})" if word in refusal_codes() else f"*{word}*"


def table(topic: str, rows: list[Row]) -> str:
    """Write the attacks on one topic."""
    lines = [f"## {TOPICS[topic]}", "", "| attack | what must happen | known from | tests |", "|---|---|---|---|"]
    for row in rows:
        attack = row.attack
        cells = (attack.what, ", ".join(map(outcome, attack.expect)), attack.motive, "<br>".join(row.tests))
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def untested() -> str:
    """Write the reasons for what has no test."""
    entries = tomllib.loads(UNTESTED.read_text("utf-8"))["untested"]
    lines = [f"| {entry['attack']} | {entry['why']} |" for entry in entries]
    return "\n".join([UNTESTED_INTRODUCTION, "| attack | why there is no test |", "|---|---|", *lines]) + "\n"


def page() -> str:
    """Write the page."""
    rows = collect_rows()
    example = next(row for row in rows if row.attack.topic == "authority")
    introduction = INTRODUCTION.format(
        topic=example.attack.topic,
        test=example.tests[0].removeprefix("[").partition("]")[0],
        outcomes="\n".join(f"- *{word}*: {meaning}" for word, meaning in OUTCOMES.items()),
    )
    by_topic = {topic: [row for row in rows if row.attack.topic == topic] for topic in TOPICS}
    return "\n".join([introduction, *(table(topic, found) for topic, found in by_topic.items() if found), untested()])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
