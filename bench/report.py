"""`docs/performance.md` from a file of results: whatever the page says of a figure is computed from it."""

from __future__ import annotations

from string import Template

from bench.goals import GOALS, judge
from bench.results import Found, Results
from bench.table import goals_table, left_out_table, number, scenario_table

_US = "pinproxy"
_PAGE = Template("""# Performance

What a request, a tunnel and a connection cost in pinproxy and in its peers, measured side by side on one machine. This page is
written by `./dev bench report` from the results of a run; to change a figure, measure again:

```
bench/setup           # once: installs the peers on Debian
$command
./dev bench report
```

How it is measured, what may be concluded and what not: [bench/README.md](../bench/README.md). In short: ratios within one run say
something, absolute figures belong to the machine. Peers that listen on a fixed port for one destination (HAProxy, nginx, Envoy,
stunnel) do less than a forward proxy, and are the harder measure. pinproxy runs as it ships: pins enforced, limits on, one JSON
line for each request and connection.
$caution
## Goals

$met of $measured goals that were measured are met.

$goals

## Where a peer is ahead

$ahead

## Figures

Medians of $repetitions; less is better. `pinproxy / proxy` is the ratio of the first figure: above 1, the peer is cheaper.

$tables

## Who is missing where

$left_out

## What it was measured with

$machine

The configurations are in [bench/peers](../bench/peers), as of that commit, and filled in within the file of results.
Measured $began UTC in $minutes minutes.
""")
_QUICK = """
> **A first look, not a result**: measured with `--quick`. Repeat it without, on a quiet machine, before quoting anything.
"""


def page(results: Results) -> str:
    """Write the page."""
    outcomes = [judge(goal, results.rows) for goal in GOALS]
    titles = {name: found.title for name, found in results.scenarios.items()}
    repetitions = results.scale["repetitions"]
    sections = [
        f"### {found.title}\n\n`./dev bench {name}`\n\n{scenario_table(found)}" for name, found in results.scenarios.items()
    ]
    return _PAGE.substitute(
        command=results.command,
        caution=_QUICK if results.is_quick else "",
        met=sum(outcome.is_met is True for outcome in outcomes),
        measured=sum(outcome.is_met is not None for outcome in outcomes),
        goals=goals_table(outcomes, titles),
        ahead=_ahead(results),
        repetitions=f"{repetitions} measurements" if repetitions > 1 else "one measurement",
        tables="\n\n".join(sections),
        left_out=left_out_table(results),
        machine="\n".join(f"- {name}: {value}" for name, value in (results.machine | results.versions).items()),
        began=results.began[:16].replace("T", " "),
        minutes=f"{results.took_seconds / 60:.0f}",
    )


def _ahead(results: Results) -> str:
    """List the scenarios in which a peer's first figure is below pinproxy's."""
    lines = [line for found in results.scenarios.values() if (line := _ahead_in(found))]
    return "\n".join(lines) if lines else "Nowhere in this run."


def _ahead_in(found: Found) -> str | None:
    figure = found.figures[0]
    medians = {row.peer: median for row in found.rows if (median := row.median(figure.key))}
    ours = medians.pop(_US, None)
    if ours is None:
        return None
    faster = sorted((median, peer) for peer, median in medians.items() if median < ours)
    if not faster:
        return None
    shown = ", ".join(f"{peer} {number(median)} ({ours / median:.2f} x)" for median, peer in faster)
    return f"- {found.title}, {figure.unit}: pinproxy {number(ours)}; {shown}"
