"""Results as a Markdown table, and as an SVG plot made by hand: a bar for each peer, its spread drawn over it."""

from __future__ import annotations

import platform
from html import escape
from pathlib import Path

from bench.scenarios import Row, Scenario

_BAR, _LEFT, _WIDTH = 22, 110, 560


def markdown(results: dict[str, tuple[Scenario, list[Row]]], versions: dict[str, str]) -> str:
    """Write the tables: median, lowest, highest, and the ratio of pinproxy's median to the peer's."""
    lines = [f"Measured on {platform.machine()}, Python {platform.python_version()}, Linux {platform.release()}.", ""]
    for scenario, rows in results.values():
        ours = next((row for row in rows if row.peer == "pinproxy" and row.values), None)
        lines += [
            f"### {scenario.title} ({scenario.unit})",
            "",
            "| proxy | median | min - max | pinproxy / proxy |",
            "|---|---|---|---|",
        ]
        for row in sorted(rows, key=lambda row: row.median if row.values else float("inf")):
            if not row.values:
                lines.append(f"| {row.peer} | - | {row.problem} | |")
                continue
            ratio = f"{ours.median / row.median:.2f}" if ours and row.median else ""
            lines.append(f"| {row.peer} | {row.median:.2f} | {min(row.values):.2f} - {max(row.values):.2f} | {ratio} |")
        lines.append("")
    lines += ["Versions:", ""] + [f"- {name}: {version}" for name, version in versions.items()]
    return "\n".join(lines) + "\n"


def plot(path: Path, scenario: Scenario, rows: list[Row]) -> None:
    """Draw one scenario."""
    shown = sorted((row for row in rows if row.values), key=lambda row: row.median)
    if not shown:
        return
    scale = _WIDTH / max(max(row.values) for row in shown)
    height = 40 + _BAR * len(shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 90}" height="{height}"',
        ' font-family="sans-serif" font-size="12">',
        f'<text x="4" y="18" font-weight="bold">{escape(scenario.title)}: {escape(scenario.unit)}, less is better</text>',
    ]
    for index, row in enumerate(shown):
        top = 30 + index * _BAR
        colour = "#2563eb" if row.peer == "pinproxy" else "#9ca3af"
        low, high, middle = (_LEFT + value * scale for value in (min(row.values), max(row.values), row.median))
        parts += [
            f'<text x="{_LEFT - 6}" y="{top + 13}" text-anchor="end">{escape(row.peer)}</text>',
            f'<rect x="{_LEFT}" y="{top}" width="{middle - _LEFT:.1f}" height="{_BAR - 6}" fill="{colour}"/>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{top + 8}" y2="{top + 8}" stroke="#111" stroke-width="2"/>',
            f'<text x="{high + 6:.1f}" y="{top + 13}">{row.median:.1f}</text>',
        ]
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", "utf-8")
