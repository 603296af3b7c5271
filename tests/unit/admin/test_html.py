"""Markup: escaped by construction."""

from __future__ import annotations

from pinproxy.admin.html import Html, join, tag


def test_text_is_escaped_and_markup_is_not_escaped_twice() -> None:
    """What is `str` is text; what came out of `tag` is markup."""
    assert tag("p", "<b>&", tag("i", '"')) == "<p>&lt;b&gt;&amp;<i>&quot;</i></p>"


def test_an_attribute_cannot_be_left() -> None:
    """Quotes in a value are escaped; the name loses the underscore that keeps it from being a keyword."""
    assert tag("a", "x", href='"><script>', class_="c") == '<a href="&quot;&gt;&lt;script&gt;" class="c">x</a>'


def test_nothing_is_left_out_but_none() -> None:
    """So that a caller may write `… if … else None` where an element may be absent."""
    assert join("a", None, "", Html("<br>")) == "a<br>"


def test_an_element_without_content_model_has_no_end_tag() -> None:
    """`</meta>` is a parse error."""
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'
