"""Every scalar of the configuration as a flag and an environment variable: flag > environment > file > default.

Rules of this file:
- Names are derived from the place in the document and from nothing else: `limits.head_bytes` is `--limits-head-bytes` and
  `PINPROXY_LIMITS_HEAD_BYTES`. Lists of scalars are separated by commas; `null` says none.
- A variable or flag of ours that nobody knows is an error: a misspelled limit must not silently be the default.
- Pins, hosts and what else is a list of mappings stand in the file only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pinproxy.errors import Problem
from pinproxy.settings.document import Place
from pinproxy.settings.messages import did_you_mean
from pinproxy.settings.schema import alternatives, json_schema

_PREFIX = "PINPROXY_"
_OTHER_VARIABLES = frozenset({"PINPROXY_CONFIG"})
_FILE_ONLY = frozenset({"version"})
_SCALAR_TYPES = frozenset({"string", "integer", "number", "boolean"})
# Kubernetes puts such variables into every container of a namespace that has a Service called pinproxy or pinproxy-….
_KUBERNETES = re.compile(
    r"PINPROXY_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_KUBERNETES_PORT = re.compile(r"PINPROXY_(?:\w+_)?PORT=(?:tcp|udp|sctp)://.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ScalarOption:
    """A value that may come from a flag or the environment.

    Attributes:
        path: Place in the document, `limits.head_bytes`.
        environment: `PINPROXY_LIMITS_HEAD_BYTES`.
        flag: `--limits-head-bytes`.
        help: What the key is for.
        default: The value if nothing else says one, as it would stand in the file; None: none.
        is_list: Whether several values may stand there, separated by commas.
        choices: The words that may stand there; empty: not a choice.
    """

    path: str
    environment: str
    flag: str
    help: str
    default: object
    is_list: bool
    choices: tuple[str, ...]

    @property
    def place(self) -> Place:
        """The place as the document and its errors have it."""
        return tuple(self.path.split("."))


@dataclass(frozen=True, slots=True)
class Override:
    """A value given outside the file, and the flag or variable that gave it."""

    place: Place
    value: object
    source: str


@cache
def scalar_options() -> tuple[ScalarOption, ...]:
    """Return every option, in the order of the model; `--help` and `pinproxy env` are made from them."""
    return tuple(_option(path, schema) for path, schema in _scalars().items())


def read_overrides(
    environ: Mapping[str, str], flags: Mapping[str, str], known: Collection[str] = ()
) -> tuple[tuple[Override, ...], tuple[Problem, ...]]:
    """Collect what the environment and the flags say.

    Args:
        environ: The environment; variables that do not begin with `PINPROXY_` are not looked at.
        flags: Text by flag, as in `{"--limits-head-bytes": "32KiB"}`.
        known: Further variables that somebody else reads.

    Returns:
        The overrides, weakest first, and what is wrong with names.
    """
    by_variable = {option.environment: option for option in scalar_options()}
    by_flag = {option.flag: option for option in scalar_options()}
    overrides, problems = [], []
    for name, text in environ.items():
        if option := by_variable.get(name):
            overrides.append(Override(option.place, _decoded(option, text), name))
        elif name.startswith(_PREFIX) and not _is_somebody_elses(name, text, known):
            hint = did_you_mean(name, by_variable) or "; unset it, or see `pinproxy run --help` for the names there are"
            problems.append(Problem(name, 0, 0, "", f"unknown variable{hint}"))
    for name, text in flags.items():
        if option := by_flag.get(name):
            overrides.append(Override(option.place, _decoded(option, text), name))
        else:
            problems.append(Problem(name, 0, 0, "", f"unknown flag{did_you_mean(name, by_flag)}"))
    return tuple(overrides), tuple(problems)


def _is_somebody_elses(name: str, text: str, known: Collection[str]) -> bool:
    return (
        name in _OTHER_VARIABLES
        or name in known
        or _KUBERNETES.fullmatch(name) is not None
        or _KUBERNETES_PORT.fullmatch(f"{name}={text}") is not None
    )


# --- from the schema ------------------------------------------------------------------------------------------------


@cache
def _scalars() -> dict[str, Mapping[str, Any]]:
    """Find the places of the schema that hold a scalar or a list of scalars."""
    root = json_schema()
    found: dict[str, Mapping[str, Any]] = {}

    def walk(section: Mapping[str, Any], prefix: str) -> None:
        for key, schema in section.get("properties", {}).items():
            kinds = list(alternatives(root, schema))
            if [True for kind in kinds if "properties" in kind] == [True] == [True for _ in kinds]:
                walk(kinds[0], f"{prefix}{key}.")
            elif prefix + key not in _FILE_ONLY and all(map(_is_scalar, kinds)):
                found[prefix + key] = schema

    def _is_scalar(schema: Mapping[str, Any]) -> bool:
        if schema.get("type") == "array":
            return all(map(_is_scalar, alternatives(root, schema["items"])))
        return schema.get("type") in _SCALAR_TYPES or "enum" in schema or "const" in schema

    walk(root, "")
    return found


def _option(path: str, schema: Mapping[str, Any]) -> ScalarOption:
    name = path.replace(".", "-").replace("_", "-")
    kinds = list(alternatives(json_schema(), schema))
    words = [word for kind in kinds for word in kind.get("enum", [kind["const"]] if "const" in kind else [])]
    return ScalarOption(
        path=path,
        environment=_PREFIX + name.replace("-", "_").upper(),
        flag=f"--{name}",
        help=str(schema.get("description", "")),
        default=schema.get("default"),
        is_list=kinds[0].get("type") == "array",
        choices=tuple(word for word in words if isinstance(word, str)),
    )


# --- from text ------------------------------------------------------------------------------------------------------


def _decoded(option: ScalarOption, text: str) -> object:
    """Turn text into what YAML would have given; what does not fit stays text, and the model says what it expected."""
    schema = _scalars()[option.path]
    if text == "null" and {"type": "null"} in schema.get("anyOf", []):
        return None
    root = json_schema()
    kind = next(iter(alternatives(root, schema)))
    if kind.get("type") == "array":
        item = next(iter(alternatives(root, kind["items"])))
        return [_decoded_scalar(item, part.strip()) for part in text.split(",")] if text.strip() else []
    return _decoded_scalar(kind, text)


def _decoded_scalar(kind: Mapping[str, Any], text: str) -> object:
    if kind.get("format") == "path":
        # Relative to where the command was typed, not to the configuration file.
        return str(Path.cwd() / text) if text else text
    decoders: dict[str, Callable[[str], object]] = {"integer": _integer, "boolean": _boolean}
    return decoders.get(str(kind.get("type")), str)(text)


def _integer(text: str) -> object:
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def _boolean(text: str) -> object:
    return {"true": True, "false": False}.get(text, text)
