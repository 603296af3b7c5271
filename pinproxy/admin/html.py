"""HTML that is escaped by construction: text goes in as `str` and comes out as `Html`, and only `Html` is left as it is."""

from __future__ import annotations

from html import escape


class Html(str):
    """Markup that is safe to send."""

    __slots__ = ()


_VOID = frozenset({"meta", "br"})  # elements that have no end tag (HTML Living Standard §13.1.2)


def tag(name: str, /, *children: str | None, **attributes: str) -> Html:
    """Make an element.

    Args:
        name: Of the element.
        children: Text, which is escaped, or `Html`; None is left out.
        attributes: A trailing underscore is dropped, for `class_`; values are escaped and quoted.
    """
    fields = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{fields}>" if name in _VOID else f"<{name}{fields}>{join(*children)}</{name}>")


def join(*children: str | None) -> Html:
    """Put pieces one after the other; what is not `Html` yet is escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children if child is not None))
