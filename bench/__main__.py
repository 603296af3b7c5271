"""`./dev bench SCENARIO… [--against a,b] [--quick]`: measure, print a table, keep table and plots in `bench/results/`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench.scenarios import SCENARIOS, Row, Scale, Scenario, known_peers, run_scenario, takes_part
from bench.stage import HERE, standing
from bench.table import markdown, plot


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("scenario", nargs="+", choices=[*SCENARIOS, "all"])
    parser.add_argument("--against", help="peers, separated by commas; all by default")
    parser.add_argument("--quick", action="store_true", help="shorter measurements: a first look, not a result")
    parser.add_argument("--seconds", type=float, help="of load for one measurement")
    parser.add_argument("--repetitions", type=int, help="measurements of each peer")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="where table and plots go")
    arguments = parser.parse_args()

    scale = Scale(1.5, 3, 500) if arguments.quick else Scale(4.0, 3, 2000)
    scale = Scale(arguments.seconds or scale.seconds, arguments.repetitions or scale.repetitions, scale.tunnels)
    names = list(SCENARIOS) if "all" in arguments.scenario else arguments.scenario
    peers = known_peers(arguments.against.split(",") if arguments.against else None)
    versions = {peer.name: version for peer in peers if (version := peer.installed_version())}
    for peer in peers:
        if peer.name not in versions:
            print(f"{peer.name} is not installed and left out; bench/setup installs the peers", file=sys.stderr)
    began = time.monotonic()
    results: dict[str, tuple[Scenario, list[Row]]] = {}
    with standing() as stage:
        for name in names:
            scenario = SCENARIOS[name]
            print(f"{scenario.title}, {scale.repetitions} times {scale.seconds:g} s", flush=True)
            asked = [peer for peer in peers if peer.name in versions and takes_part(peer, scenario)]
            results[name] = (scenario, run_scenario(stage, scenario, asked, scale, lambda line: print(line, flush=True)))
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = markdown(results, versions)
    (arguments.out / "table.md").write_text(table, "utf-8")
    for name, (scenario, rows) in results.items():
        plot(arguments.out / f"{name}.svg", scenario, rows)
    print(f"\n{table}\n{time.monotonic() - began:.0f} s; table and plots are in {arguments.out}")
    return 0 if all(row.values for _, rows in results.values() for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
