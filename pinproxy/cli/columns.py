"""Tables for people: columns as wide as their widest cell, colours that do not count."""

from __future__ import annotations

from collections.abc import Sequence

import click


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table.

    Args:
        head: Titles of the columns.
        rows: Cells, styled or not; one for each title.

    Returns:
        Lines, without spaces at their ends.
    """
    table = [[click.style(title, bold=True) for title in head], *rows]
    widths = [max(len(click.unstyle(row[index])) for row in table) for index in range(len(head))]
    return "\n".join("  ".join(_padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - len(click.unstyle(cell)))
