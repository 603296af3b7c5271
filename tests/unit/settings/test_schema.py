"""The published schema, and the configurations that come with the program."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pinproxy.limits import Limits
from pinproxy.pins.pin import parse_pin
from pinproxy.settings.load import load_settings
from pinproxy.settings.schema import alternatives, json_schema, schema_at, schema_text

CONFIG = Path(__file__).parents[3] / "config"


def keys(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every key of every section with its schema."""
    for section in (schema, *schema["$defs"].values()):
        yield from section.get("properties", {}).items()


def test_the_published_schema_is_the_models() -> None:
    """`./dev schema` writes it."""
    assert (CONFIG / "pinproxy.schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_schema_is_one_of_draft_2020_12() -> None:
    """And JSON, without the titles that only repeat the keys."""
    assert json.loads(schema_text())["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert [name for name, schema in keys(json_schema()) if "title" in schema] == []


def test_every_key_has_a_text() -> None:
    """An editor shows it where the key is typed."""
    root = json_schema()
    texts = {name: [found.get("description") for found in (schema, *alternatives(root, schema))] for name, schema in keys(root)}
    assert [name for name, found in texts.items() if not any(found)] == []


def test_no_section_takes_unknown_keys() -> None:
    """An editor marks a misspelled one."""
    sections = [json_schema(), *json_schema()["$defs"].values()]
    assert [section for section in sections if section["additionalProperties"] is not False] == []


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (("hosts", 0), "host"),
        (("pin_sets", "payments", "pins", 3), "position"),
        (("defaults", "trust"), "ca_file"),
        (("limits",), "head_bytes"),
    ],
)
def test_a_place_is_found_in_the_schema(place: tuple[str | int, ...], key: str) -> None:
    """Through lists, names and what may be a text as well."""
    assert key in schema_at(json_schema(), place)["properties"]


@pytest.mark.parametrize("place", [("nowhere",), ("hosts", "name"), ("log", "level", "deeper")])
def test_a_place_that_the_model_does_not_have_is_empty(place: tuple[str | int, ...]) -> None:
    """The twin."""
    assert schema_at(json_schema(), place) == {}


@pytest.mark.parametrize("name", ["pinproxy", "minimal", "report-only"])
def test_a_configuration_that_comes_with_the_program_loads(name: str) -> None:
    """And names the schema for editors."""
    path = CONFIG / f"{name}.yaml"
    assert load_settings(path, {}, {}).hosts
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=./pinproxy.schema.json\n")


def test_the_minimal_configuration_is_ten_lines() -> None:
    """As it is called everywhere."""
    assert len((CONFIG / "minimal.yaml").read_text(encoding="utf-8").splitlines()) <= 10


def test_every_key_is_explained_in_the_full_configuration() -> None:
    """A key that is not there is a key that nobody finds."""
    text = (CONFIG / "pinproxy.yaml").read_text(encoding="utf-8")
    assert sorted({name for name, _ in keys(json_schema()) if not re.search(rf"\b{name}:", text)}) == []


def test_the_full_configuration_shows_the_defaults_of_the_limits() -> None:
    """A changed default must be changed there too."""
    settings = load_settings(CONFIG / "pinproxy.yaml", {}, {})
    assert settings.limits == Limits()
    bare = load_settings(None, {}, {})
    for name in ("listen", "admin", "unlisted", "unsafe_listen", "eviction_grace", "defaults", "log", "reload"):
        assert getattr(settings, name) == getattr(bare, name)


def test_every_commented_spelling_of_a_pin_is_the_pin_above_it() -> None:
    """What is shown can be used."""
    text = (CONFIG / "pinproxy.yaml").read_text(encoding="utf-8")
    spelled = re.findall(r"^ +# - (.+?)  +(?:curl|RFC 7469|TLSA.*)$", text, flags=re.MULTILINE)
    assert len(spelled) == 3
    assert {parse_pin(one).identity for one in spelled} == {
        parse_pin("sha256/PtWSFM0Pldud4f6ZoFmMBtviOxsno0D7CtgVr/3NgG8=").identity
    }
