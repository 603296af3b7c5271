"""What the documentation names exists: links, configurations, reason codes, keys, log fields, metrics and commands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from pinproxy.cli.main import COMMANDS
from pinproxy.errors import SettingsError, refusal_codes
from pinproxy.policy.mismatch import MismatchClass
from pinproxy.policy.verdict import Assurance, Decision, Verdict
from pinproxy.report.log import Log
from pinproxy.settings.load import load_settings
from pinproxy.settings.schema import json_schema, schema_at
from tests.unit.report.events import event

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])
# What operators read from beginning to end. The other pages are references, with tests of their own.
GUIDES = [
    REPOSITORY / "README.md",
    *(REPOSITORY / f"docs/{name}.md" for name in ("guarantees", "modes", "clients", "rollout")),
]
# Snake-case words that are other programs' names for things.
FOREIGN = {"ca_certificate", "grpc_proxy", "http_proxy", "https_proxy", "s_client", "trust_env"}


def each(paths: Iterable[Path]) -> pytest.MarkDecorator:
    """Run a test once for each page, named by its path."""
    return pytest.mark.parametrize("page", paths, ids=lambda path: str(path.relative_to(REPOSITORY)))


def without_code_blocks(text: str) -> str:
    """Leave out what stands between fences: it is quoted from programs, and not said by us."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """List what a link into a page can name: its headings as GitHub spells them."""
    found = re.findall(r"^#+ (.+)$", without_code_blocks(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def broken_links(page: Path, text: str) -> list[str]:
    """List the relative links of a page that lead nowhere."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code_blocks(text)):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if (name and not target.exists()) or (anchor and anchor not in anchors(target.read_text("utf-8") if name else text)):
            broken.append(link)
    return broken


def configurations(text: str) -> list[str]:
    """List the YAML blocks that are whole configurations."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for block in blocks if block.startswith("version: 1")]


def quoted(text: str) -> list[str]:
    """List what stands in backticks in running text."""
    return re.findall(r"`([^`\n]+)`", without_code_blocks(text))


def words(text: str) -> set[str]:
    """List the quoted words in snake case, alone or before a colon: codes, keys and fields look like this, and little else."""
    found = (re.fullmatch(r"([a-z0-9]+(?:_[a-z0-9]+)+)(?:: .*)?", item) for item in quoted(text))
    return {match[1] for match in found if match}


def paths(text: str) -> set[str]:
    """List the quoted dotted paths that begin with a key of the configuration."""
    found = (re.fullmatch(r"([a-z_]+(?:\.[a-z_]+)+)(?:: .*)?", item) for item in quoted(text))
    return {match[1] for match in found if match and match[1].partition(".")[0] in json_schema()["properties"]}


def unknown_paths(text: str) -> set[str]:
    """List the dotted paths that are no place of the configuration."""
    return {path for path in paths(text) if not schema_at(json_schema(), tuple(path.split(".")))}


def commands(text: str) -> set[str]:
    """List the commands of pinproxy that a page tells its reader to run, quoted or behind a prompt."""
    return set(re.findall(r"(?:`|^\$ |\"\$\()pinproxy ([a-z][a-z-]*)", text, flags=re.MULTILINE))


def known_words(directory: Path) -> set[str]:
    """List the words in snake case that pinproxy itself uses."""
    with (directory / "log").open("w+", encoding="utf-8") as stream:
        log = Log("json", "info", stream)
        log.connection(event())
        log.close()
        fields = set(json.loads((directory / "log").read_text("utf-8")))
    schema = json_schema()
    sections = (schema, *schema["$defs"].values())
    keys = {key for section in sections for key in section.get("properties", {})}
    page = (REPOSITORY / "docs/metrics.md").read_text("utf-8")
    metrics = set(re.findall(r"^### `(pinproxy_[a-z_]+)`$", page, flags=re.MULTILINE))
    events = {"configuration_rejected", "restart_needed", "observations_unreadable"}
    return fields | keys | metrics | events | FOREIGN | set(refusal_codes()) | {*Verdict, *Decision, *Assurance, *MismatchClass}


@each(PAGES)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """A link names a file of this repository, and a heading in it."""
    assert broken_links(page, page.read_text("utf-8")) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    """The offenders, and their twins."""
    text = (
        "# A b!\n[1](errors.md) [2](gone.md) [3](#a-b) [4](#a-c) [5](errors.md#pins) [6](errors.md#gone) [7](https://x.example/)"
    )
    assert broken_links(REPOSITORY / "docs/page.md", text) == ["gone.md", "#a-c", "errors.md#gone"]


@each([page for page in PAGES if configurations(page.read_text("utf-8"))])
def test_every_whole_configuration_loads(page: Path, tmp_path: Path) -> None:
    """What a reader copies starts."""
    for number, text in enumerate(configurations(page.read_text("utf-8"))):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text, "utf-8")
        load_settings(file, {}, {})


def test_a_configuration_that_does_not_load_is_found(tmp_path: Path) -> None:
    """The offender."""
    (text,) = configurations("```yaml\nversion: 1\nhost: []\n```\n\n```yaml\nhosts: []\n```\n")
    (tmp_path / "page.yaml").write_text(text, "utf-8")
    with pytest.raises(SettingsError, match="host"):
        load_settings(tmp_path / "page.yaml", {}, {})


@each(GUIDES)
def test_every_code_key_field_and_metric_exists(page: Path, tmp_path: Path) -> None:
    """A word that a reader searches for is found in a log, a configuration or a refusal."""
    text = page.read_text("utf-8")
    assert words(text) - known_words(tmp_path) == set()
    assert unknown_paths(text) == set()


def test_a_word_that_does_not_exist_is_found(tmp_path: Path) -> None:
    """The offenders, and their twins."""
    text = "`pin_mismatch` `pin_missmatch` `min_tls: 1.2` `mint_tls: 1.2` `limits.connections` `limits.connection` `a.b`"
    assert words(text) - known_words(tmp_path) == {"pin_missmatch", "mint_tls"}
    assert unknown_paths(text) == {"limits.connection"}


@each([*GUIDES, REPOSITORY / "docs/commands.md"])
def test_every_command_exists(page: Path) -> None:
    """A command that a page shows can be run."""
    known = {name for section in COMMANDS.values() for name in section}
    assert commands(page.read_text("utf-8")) - known == set()


def test_every_command_has_its_line_on_the_page_of_commands() -> None:
    """What is not there is not found."""
    page = (REPOSITORY / "docs/commands.md").read_text("utf-8")
    table = "".join(line for line in page.splitlines() if line.startswith("|"))
    assert [name for section in COMMANDS.values() for name in section if f"`{name}" not in table] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    """The forms in which pages show commands."""
    assert commands('`pinproxy pin HOST`\n$ pinproxy rum -c x\n`eval "$(pinproxy env)"`\npinproxy is') == {"pin", "rum", "env"}


def test_the_house_on_the_page_is_the_one_that_stands() -> None:
    """Every room of the package and of the repository's folders has its line, and no line is of a room that is not there."""
    page = (REPOSITORY / "docs/architecture.md").read_text("utf-8").partition("```\n")[2].partition("```")[0]
    told = set(re.findall(r"^ {2}(\S+?)/? ", page, flags=re.MULTILINE)) | {"limits.py", "__init__.py"}
    package = REPOSITORY / "pinproxy"
    rooms = {path.name for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert told == rooms
    assert all((REPOSITORY / name).exists() for name in re.findall(r"^(\S+)", page, flags=re.MULTILINE))
