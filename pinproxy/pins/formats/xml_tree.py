"""XML to a small tree with line numbers, and nothing of XML that could make it more than the file.

Rules of this file:
- No entity is ever declared, expanded or fetched; a document that tries is refused. A DOCTYPE is refused too, but for the
  one of Apple's property lists, which names a DTD (never fetched) and declares nothing.
- On expat itself: ElementTree, which stands on it, does not say in which line an element began.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from pinproxy.pins.formats.values import Reading

_MAX_DEPTH = 64  # property lists of real applications are ten deep


@dataclass(slots=True)
class Element:
    """One element; its text is that of all its text nodes, joined."""

    tag: str
    line: int
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> Iterator[Element]:
        """List the children of a name, in order."""
        return (child for child in self.children if child.tag == tag)


def parse_xml(text: str, reading: Reading, *, is_doctype_allowed: bool = False) -> Element:
    """Parse a document.

    Args:
        text: The document.
        reading: Where problems go.
        is_doctype_allowed: Whether it may begin with a DOCTYPE, one without declarations of its own.

    Returns:
        The root element.

    Raises:
        PinFormatError: It is no XML, nested too deep, or holds a DOCTYPE or an entity.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    document = Element("", 1, {})
    opened = [document]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(opened) > _MAX_DEPTH:
            raise reading.refusal(parser.CurrentLineNumber, f"nested too deep; expected at most {_MAX_DEPTH} levels")
        element = Element(tag, parser.CurrentLineNumber, attributes)
        opened[-1].children.append(element)
        opened.append(element)

    def end(_tag: str) -> None:
        opened.pop()

    def characters(data: str) -> None:
        opened[-1].text += data

    def doctype(_name: str, _system: str | None, _public: str | None, has_declarations: int) -> None:
        if has_declarations or not is_doctype_allowed:
            raise reading.refusal(parser.CurrentLineNumber, "a DOCTYPE stands here, which could define entities; remove it")

    def entity(name: str, *_others: object) -> None:
        raise reading.refusal(parser.CurrentLineNumber, f"entity {name!r} is not one of XML's own; write what it stands for")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = doctype
    parser.EntityDeclHandler = entity
    parser.SkippedEntityHandler = entity
    try:
        parser.Parse(text, True)  # noqa: FBT003 - expat's own, which takes no names
    except expat.ExpatError as error:
        raise reading.refusal(error.lineno, f"not XML: {expat.ErrorString(error.code)}") from error
    return document.children[0]
