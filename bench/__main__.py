"""`./dev bench SCENARIO…` measures, prints tables and goals, and keeps both; `./dev bench report` writes docs/performance.md."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.goals import GOALS, judge
from bench.measure import FULL, QUICK, Scale, known_peers, run_scenario
from bench.peers import PEERS, Peer
from bench.process import REPOSITORY
from bench.report import page
from bench.results import Found, Results, scale_as_json, this_machine
from bench.scenarios import SCENARIOS
from bench.stage import standing
from bench.table import markdown, plot

_RESULTS = REPOSITORY / "bench" / "results"
_REPORT = REPOSITORY / "docs" / "performance.md"


def main(argv: Sequence[str]) -> int:
    """Run what was asked for; 1: something failed, and the table says what."""
    if argv and argv[0] == "report":
        return _report(argv[1:])
    names = ", ".join(SCENARIOS)
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, epilog=f"scenarios: all, {names}")
    parser.add_argument("scenario", nargs="+", choices=[*SCENARIOS, "all"], metavar="SCENARIO")
    parser.add_argument("--against", help="peers, separated by commas; all by default", metavar="PEER,…")
    parser.add_argument(
        "--except", dest="left_out", default="", help="scenarios to leave out, separated by commas", metavar="SCENARIO,…"
    )
    parser.add_argument("--quick", action="store_true", help="one short measurement of each: a first look, not a result")
    parser.add_argument("--seconds", type=float, help="of load for one measurement")
    parser.add_argument("--repetitions", type=int, help="measurements of each peer")
    parser.add_argument("--out", type=Path, help="where results, table and plots go; bench/results/NAME by default")
    arguments = parser.parse_args(argv)
    unknown = [name for name in (arguments.against or "").split(",") if name and name not in PEERS]
    if unknown:
        parser.error(f"unknown peer {', '.join(unknown)}; there are {', '.join(PEERS)}")

    wanted = list(SCENARIOS) if "all" in arguments.scenario else list(dict.fromkeys(arguments.scenario))
    wanted = [name for name in wanted if name not in arguments.left_out.split(",")]
    out: Path = arguments.out or _RESULTS / ("all" if "all" in arguments.scenario else "-".join(wanted))
    out.mkdir(parents=True, exist_ok=True)
    scale = QUICK if arguments.quick else FULL
    scale = replace(scale, seconds=arguments.seconds or scale.seconds, repetitions=arguments.repetitions or scale.repetitions)
    command = " ".join(["./dev bench", *argv])
    peers = known_peers(arguments.against.split(",") if arguments.against else None)
    results = _measure(wanted, peers, scale, out, command, is_quick=arguments.quick)
    outcomes = [judge(goal, results.rows) for goal in GOALS]
    table = markdown(results, outcomes)
    (out / "table.md").write_text(table, "utf-8")
    for name, found in results.scenarios.items():
        plot(out / f"{name}.svg", found)
    print(f"\n{table}\n{results.took_seconds:.0f} s; results, table and plots are in {out}")
    return 1 if any(row.problem for rows in results.rows.values() for row in rows) else 0


def _measure(wanted: list[str], peers: list[Peer], scale: Scale, out: Path, command: str, *, is_quick: bool) -> Results:
    """Measure scenario by scenario; what has been found is on disk before the next begins."""
    versions = {peer.name: version for peer in peers if (version := peer.installed_version())}
    for peer in peers:
        if peer.name not in versions:
            print(f"{peer.name} is not installed and left out; bench/setup installs the peers", file=sys.stderr)
    began = time.monotonic()
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    results = Results(command, now, is_quick, scale_as_json(scale), this_machine(), versions)
    with standing() as stage:
        results.configurations = stage.configurations
        for name in wanted:
            scenario = SCENARIOS[name]
            print(f"{name}: {scenario.title}", flush=True)
            reasons = {peer.name: scenario.reason_to_leave_out(peer) for peer in peers}
            missing = {peer.name: "not installed" for peer in peers if peer.name not in versions}
            left_out = {peer: reason for peer, reason in reasons.items() if reason} | missing
            asked = [peer for peer in peers if peer.name not in left_out]
            before = time.monotonic()
            rows = run_scenario(stage, scenario, asked, scale, lambda line: print(line, flush=True))
            after = time.monotonic()
            results.scenarios[name] = Found(scenario.title, scenario.figures, rows, left_out, round(after - before, 1))
            results.took_seconds = round(after - began, 1)
            results.write(out / "results.json")
    return results


def _report(argv: Sequence[str]) -> int:
    """Write the page of docs/ from a file of results."""
    parser = argparse.ArgumentParser(prog="./dev bench report", description="write docs/performance.md from results")
    parser.add_argument("results", nargs="?", type=Path, default=_RESULTS / "all" / "results.json")
    parser.add_argument("--output", type=Path, default=_REPORT)
    arguments = parser.parse_args(argv)
    try:
        results = Results.read(arguments.results)
    except (OSError, ValueError) as error:
        print(f"no results to report: {error}; measure first: ./dev bench all", file=sys.stderr)
        return 1
    arguments.output.write_text(page(results), "utf-8")
    print(f"{arguments.output} is written from {arguments.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
