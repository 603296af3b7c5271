"""YAML text to plain values, with the place of each.

Rules of this file:
- One document, YAML 1.2, mappings with unique keys. What YAML 1.2 does not have (merge keys, tags of other languages) is
  refused and not ignored, and so is whatever would make a small file a large document.
- Nothing here knows what the values mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from pinproxy.errors import Problem, SettingsError
from pinproxy.net.collector import collector_at_rest, free_one_by_one

Place = tuple[str | int, ...]

_MAX_BYTES = 4 * 1024 * 1024  # 10,000 hosts with two pins each are 1.5 MB; a ConfigMap ends at 1 MiB, a file need not
_MAX_REPEATED_NODES = 20_000  # ten aliases of ten, five times over, are more: the "billion laughs"
_MAX_DEPTH = 32  # the model is seven deep
_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp"))
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(slots=True)
class Document:
    """Plain values and where they stand.

    Attributes:
        file: The path as the operator named it.
        root: Mappings, lists and scalars; aliases are expanded.
        values: Line and column of each value, counted from 1.
        keys: Line and column of each key of a mapping.
        problems: What is wrong with the text and did not keep the rest from being read.
    """

    file: str
    root: object = None
    values: dict[Place, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Place, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def position(self, place: Place, *, of_key: bool = False) -> tuple[int, int]:
        """Find a value, or the nearest one around it that stands in the file."""
        if of_key and place in self.keys:
            return self.keys[place]
        while place and place not in self.values:
            place = place[:-1]
        return self.values.get(place, (1, 1))

    def at(self, place: Place) -> object:
        """Return the value at a place that stands in the file."""
        value = self.root
        for step in place:
            if isinstance(value, dict | list):
                value = value[step]  # type: ignore[index]  # a place has a number for each list, and a text for each mapping
        return value


def dotted(place: Place) -> str:
    """Format a place as `hosts[0].mode`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def read_document(path: Path) -> Document:
    """Read a configuration file.

    Raises:
        SettingsError: The file cannot be read, or its text is no YAML document at all.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        text = f"cannot be read ({error.strerror}); expected a configuration file"
        raise SettingsError.of(str(path), text) from error
    return parse_document(content, str(path))


def parse_document(content: bytes, file: str) -> Document:
    """Parse the bytes of a configuration file.

    Args:
        content: UTF-8, with or without a byte order mark.
        file: The name for messages.

    Raises:
        SettingsError: The bytes are no YAML document at all.
    """
    text = _decode(content, file)
    document = Document(file)
    yaml = YAML(typ="safe", pure=True)
    with collector_at_rest():
        try:
            node = yaml.compose(text)
        except RecursionError as error:
            raise _refused(file, 1, 1, f"nested too deep; expected at most {_MAX_DEPTH} levels") from error
        except YAMLError as error:
            raise _translated(error, text, file) from error
        if node is None:
            raise _refused(file, 1, 1, "the document is empty; expected at least `version: 1`")
        if not isinstance(node, MappingNode):
            raise _refused(file, 1, 1, "the document is no mapping; expected keys such as `version: 1`")
        document.root = _Builder(document, yaml).build(node, ())
        free_one_by_one(*(value.value for _, value in node.value if isinstance(value.value, list)))
    return document


class _Builder:
    """Walks the composed nodes once, so that values and their marks cannot disagree."""

    def __init__(self, document: Document, yaml: YAML) -> None:
        self._document = document
        self._constructor = yaml.constructor
        self._met: set[int] = set()
        self._repeated = 0

    def build(self, node: Node, place: Place) -> object:
        # What stands in the file is bounded by its size; only what aliases repeat is not.
        if id(node) in self._met:
            self._repeated += 1
        self._met.add(id(node))
        if self._repeated > _MAX_REPEATED_NODES:
            message = f"aliases make more than {_MAX_REPEATED_NODES} values; expand fewer"
            raise _refused(self._document.file, *_mark(node), message)
        if len(place) > _MAX_DEPTH:
            raise _refused(self._document.file, *_mark(node), f"nested too deep; expected at most {_MAX_DEPTH} levels")
        self._document.values[place] = _mark(node)
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, place)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self.build(item, (*place, index)) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and node.tag in _SCALARS:
            try:
                return self._constructor.construct_object(node, deep=True)
            except ValueError as error:
                self._problem(node, place, f"found {node.value!r}; {error}")
                return node.value
            finally:
                # It would keep every node until the collector finds that nobody asks it any more.
                self._constructor.constructed_objects.pop(node, None)
        self._problem(node, place, f"unknown tag {str(node.tag).replace(_TAG, '!!')}; remove it")
        return None

    def _mapping(self, node: MappingNode, place: Place) -> dict[str, object]:
        built: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._problem(key, place, "a list or mapping stands as a key; expected a word")
                continue
            # A key is its text: a pin set may be called 2027 without becoming a number.
            name = str(key.value)
            inside = (*place, name)
            if key.tag == _TAG + "merge":
                self._problem(key, inside, "merge keys are not part of YAML 1.2; what hosts share stands in `defaults`")
            elif name in built:
                line, _ = self._document.keys[inside]
                self._problem(key, inside, f"duplicate key; the first is in line {line}; keep one of them")
            else:
                self._document.keys[inside] = _mark(key)
                built[name] = self.build(value, inside)
        return built

    def _problem(self, node: Node, place: Place, message: str) -> None:
        self._document.problems.append(Problem(self._document.file, *_mark(node), dotted(place), message))


def _mark(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _decode(content: bytes, file: str) -> str:
    if len(content) > _MAX_BYTES:
        raise _refused(file, 1, 1, f"larger than {_MAX_BYTES} bytes; expected a configuration file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
        raise _refused(file, line, column, f"byte 0x{content[error.start]:02x} is not UTF-8; save it as UTF-8") from error
    text = text.removeprefix(_BYTE_ORDER_MARK)
    if text.lstrip().startswith("%YAML") and not text.lstrip().startswith("%YAML 1.2"):
        # Under 1.1 `no` is false and `010` is eight: one file must not mean two things.
        raise _refused(file, 1, 1, "the %YAML directive asks for another version; expected YAML 1.2, remove the line")
    return text


def _translated(error: YAMLError, text: str, file: str) -> SettingsError:
    """Say in our words what the parser met, and where."""
    if isinstance(error, ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        return _refused(file, line, column, f"control character U+{ord(text[error.position]):04X}; remove it")
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return _refused(file, 1, 1, f"not YAML: {error}")
    what, context = str(error.problem), str(error.context or "")
    mark = error.problem_mark
    if error.context_mark and what == "found unexpected end of stream":
        # The end of the file says nothing; where the unfinished thing begins does.
        mark, what = error.context_mark, f"unfinished {context.removeprefix('while scanning ').removeprefix('a ')}"
        context = ""
    lines = text.splitlines()
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    return _refused(file, mark.line + 1, mark.column + 1, _explained(what, context, rest))


def _explained(what: str, context: str, rest: str) -> str:
    """Explain the mistakes that people make; the others in the parser's words.

    Args:
        what: The parser's problem.
        context: What it was doing; may be empty.
        rest: The line from the place of the problem on.
    """
    if what == "but found another document":
        return "a second document begins here; expected one, remove the `---` and what follows"
    if what.startswith("found undefined alias"):
        word = "*" + what.partition("'")[2].rstrip("'")
        return f'unknown alias {word}; a host pattern stands in quotes: "{word}"'
    if rest.startswith("\t"):
        return "a tab stands in the indentation; use spaces"
    return f"not YAML: {what}, {context}" if context else f"not YAML: {what}"


def _refused(file: str, line: int, column: int, message: str) -> SettingsError:
    return SettingsError((Problem(file, line, column, "", message),))
