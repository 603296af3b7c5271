"""Results as Markdown tables, and as SVG plots made by hand: a bar for each peer and figure, its spread drawn over it."""

from __future__ import annotations

from html import escape
from pathlib import Path

from bench.goals import Outcome
from bench.measure import Row
from bench.results import Found, Results

_BAR, _LEFT, _WIDTH, _HEAD = 22, 110, 560, 30
_US = "pinproxy"


def number(value: float) -> str:
    """Format a figure with three significant digits, and whole where it is large."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def scenario_table(found: Found) -> str:
    """Write the table of one scenario, cheapest first, with the ratio of pinproxy's first figure to the peer's."""
    first = found.figures[0]
    lines = _single_columns(found) if len(found.figures) == 1 else _many_columns(found)
    ours = next((row.median(first.key) for row in found.rows if row.peer == _US), None)
    for row in sorted(found.rows, key=lambda row: row.median(first.key) or float("inf")):
        theirs = row.median(first.key)
        ratio = f"{ours / theirs:.2f}" if ours and theirs else ""
        cells = [_name(row), *(_cell(row, figure.key) for figure in found.figures)]
        if len(found.figures) == 1:
            cells.append(_spread(row, first.key))
        if len(found.rows) > 1:
            cells.append(ratio)
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- {row.peer} failed: {row.problem}" for row in found.rows if row.problem]
    notes += [f"- {row.peer}: {row.errors} of {row.errors + row.operations} failed" for row in found.rows if row.errors]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def goals_table(outcomes: list[Outcome], titles: dict[str, str]) -> str:
    """Write each goal with what was measured and whether it is met.

    Args:
        outcomes: The goals, judged.
        titles: Of the scenarios, by name.
    """
    lines = ["| scenario | goal | measured | |", "|---|---|---|---|"]
    for outcome in outcomes:
        goal = outcome.goal
        what = f", {goal.what}" if goal.what else ""
        is_ratio = goal.peer is not None or goal.base is not None
        measured = (
            "-"
            if outcome.measured is None
            else f"{outcome.measured:.2f} x"
            if is_ratio
            else f"{number(outcome.measured)} {goal.unit}"
        )
        verdict = {True: "met", False: "**NOT met**", None: "not measured"}[outcome.is_met]
        lines.append(f"| {titles.get(goal.scenario, goal.scenario)}{what} | {goal.text} | {measured} | {verdict} |")
    return "\n".join(lines)


def left_out_table(results: Results) -> str:
    """Write who is missing where, and why: one line for each reason of each peer."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, found in results.scenarios.items():
        for peer, reason in found.left_out.items():
            reasons.setdefault((peer, reason), []).append(f"`{name}`")
    lines = ["| peer | not in | because |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {peer} | {', '.join(names)} | {reason} |" for (peer, reason), names in reasons.items())])


def markdown(results: Results, outcomes: list[Outcome]) -> str:
    """Write everything, as it is printed at the end of a run."""
    parts = [f"### {found.title}\n\n{scenario_table(found)}" for found in results.scenarios.values()]
    titles = {name: found.title for name, found in results.scenarios.items()}
    measured = [outcome for outcome in outcomes if outcome.goal.scenario in results.scenarios]
    if measured:
        parts.append(f"### Goals\n\n{goals_table(measured, titles)}")
    parts.append("\n".join(f"- {name}: {version}" for name, version in (results.machine | results.versions).items()))
    return "\n\n".join(parts) + "\n"


def _single_columns(found: Found) -> list[str]:
    titles = ["proxy", found.figures[0].unit, "min - max", *(["pinproxy / proxy"] if len(found.rows) > 1 else [])]
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]


def _many_columns(found: Found) -> list[str]:
    titles = ["proxy", *(f"{figure.title}, {figure.unit}" for figure in found.figures)]
    titles += ["pinproxy / proxy"] if len(found.rows) > 1 else []
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]


def _name(row: Row) -> str:
    return f"**{row.peer}**" if row.peer == _US else row.peer


def _cell(row: Row, key: str) -> str:
    value = row.median(key)
    return "-" if value is None else number(value)


def _spread(row: Row, key: str) -> str:
    values = row.values.get(key)
    return f"{number(min(values))} - {number(max(values))}" if values else ""


def plot(path: Path, found: Found) -> None:
    """Draw one scenario: bars by figure, and by peer within one; figures of one unit share a scale."""
    bars = [(figure, row, row.values[figure.key]) for figure in found.figures for row in found.rows if figure.key in row.values]
    if not bars:
        return
    largest: dict[str, float] = {}
    for figure, _, values in bars:
        largest[figure.unit] = max(largest.get(figure.unit, 0), *values)
    parts: list[str] = []
    top, shown = _HEAD, ""
    for figure, row, values in bars:
        if figure.key != shown:
            shown = figure.key
            top += 18
            heading = f"{figure.title}: {figure.unit}" if figure.title else figure.unit
            parts.append(f'<text x="4" y="{top - 5}">{escape(heading)}</text>')
        parts += _bar(top, row, values, row.median(figure.key) or 0, _WIDTH / (largest[figure.unit] or 1))
        top += _BAR
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 90}" height="{top + 8}" font-family="sans-serif"'
        f' font-size="12">\n<text x="4" y="18" font-weight="bold">{escape(found.title)}; less is better</text>'
    )
    path.write_text("\n".join([head, *parts, "</svg>"]) + "\n", "utf-8")


def _bar(top: int, row: Row, values: list[float], median: float, scale: float) -> list[str]:
    colour = "#2563eb" if row.peer == _US else "#9ca3af"
    low, high, middle = (_LEFT + value * scale for value in (min(values), max(values), median))
    return [
        f'<text x="{_LEFT - 6}" y="{top + 13}" text-anchor="end">{escape(row.peer)}</text>',
        f'<rect x="{_LEFT}" y="{top}" width="{middle - _LEFT:.1f}" height="{_BAR - 6}" fill="{colour}"/>',
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{top + 8}" y2="{top + 8}" stroke="#111" stroke-width="2"/>',
        f'<text x="{high + 6:.1f}" y="{top + 13}">{number(median)}</text>',
    ]
