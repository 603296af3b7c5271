"""One word of a configuration changed in its text: everything else is as it was, byte for byte."""

from __future__ import annotations

import pytest

from pinproxy.settings.document import parse_document
from pinproxy.settings.edit import NotEditable, with_host_mode

HEAD = "# a comment\nversion: 1\nhosts:\n"


def edited(hosts: str, index: int = 0) -> str:
    """Set the mode of an entry to `enforce`."""
    text = HEAD + hosts
    changed = with_host_mode(text, parse_document(text.encode(), "c.yaml"), index, "enforce")
    assert changed.startswith(HEAD)
    return changed.removeprefix(HEAD)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("  - {host: a.example, mode: report-only}  # why\n", "  - {host: a.example, mode: enforce}  # why\n"),
        ("  - {mode: 'report-only', host: a.example}\n", "  - {mode: enforce, host: a.example}\n"),
        ('  - {host: a.example, "mode": "report-only"}', '  - {host: a.example, "mode": enforce}'),
        ("  - host: a.example\n    mode: report-only   # why\n", "  - host: a.example\n    mode: enforce   # why\n"),
        ("  - {host: a.example, pin_set: p}\n", "  - {host: a.example, mode: enforce, pin_set: p}\n"),
        ('  - {host: "*.example"}\n', '  - {host: "*.example", mode: enforce}\n'),
        ("  - host: a.example  # why\n    pin_set: p\n", "  - host: a.example  # why\n    mode: enforce\n    pin_set: p\n"),
        ("  - pin_set: p\n    host: a.example", "  - pin_set: p\n    host: a.example\n    mode: enforce\n"),
        ("  -   host: a.example\r\n      pin_set: p\r\n", "  -   host: a.example\r\n      mode: enforce\r\n      pin_set: p\r\n"),
        ("  - {host: ä.example, mode: report-only} # ß\n", "  - {host: ä.example, mode: enforce} # ß\n"),
        ("  - {\n    host: a.example,\n    pin_set: p }\n", "  - {\n    host: a.example, mode: enforce,\n    pin_set: p }\n"),
    ],
)
def test_the_mode_is_replaced_or_added_and_nothing_else(hosts: str, expected: str) -> None:
    """Comments, order, quotes, spaces and line ends stay."""
    assert edited(hosts) == expected


def test_the_entry_that_is_meant_is_changed() -> None:
    """The second of three that look alike."""
    entry = "  - {{host: {}.example, mode: report-only}}\n"
    changed = edited("".join(entry.format(name) for name in "abc"), index=1)
    assert changed == entry.format("a") + "  - {host: b.example, mode: enforce}\n" + entry.format("c")


def test_a_byte_order_mark_is_no_column() -> None:
    """Some editors write one, here before an entry on the first line."""
    text = "\ufeff{version: 1, hosts: [{host: a.example, mode: report-only}]}\n"
    changed = with_host_mode(text, parse_document(text.encode(), "c.yaml"), 0, "enforce")
    assert changed == text.replace("report-only", "enforce")


@pytest.mark.parametrize(
    "hosts",
    [
        "  - {host: a.example, mode: &m report-only}\n",
        "  - {host: a.example, mode: !!str report-only}\n",
        "  - host: a.example\n    mode:\n      report-only\n",
        "  - host: >-\n      a.example\n",
    ],
)
def test_what_is_not_written_plainly_is_left_to_people(hosts: str) -> None:
    """A wrong guess would change another host."""
    with pytest.raises(NotEditable, match="not written plainly"):
        edited(hosts)


def test_lines_that_end_in_carriage_returns_alone_are_left_to_people() -> None:
    """YAML counts them as lines (YAML 1.2 §5.4); with a line feed behind each it is a text like any other."""
    text = "version: 1\rhosts:\r  - host: a.example\r    mode: report-only\r"
    with pytest.raises(NotEditable, match="line feed"):
        with_host_mode(text, parse_document(text.encode(), "c.yaml"), 0, "enforce")
    text = text.replace("\r", "\r\n")
    assert "mode: enforce\r\n" in with_host_mode(text, parse_document(text.encode(), "c.yaml"), 0, "enforce")


def test_an_alias_is_left_to_people() -> None:
    """It has the place of what it stands for, which belongs to somebody else."""
    with pytest.raises(NotEditable, match="`mode`"):
        edited("  - {host: a.example, mode: &m report-only}\n  - {host: b.example, mode: *m}\n", index=1)
