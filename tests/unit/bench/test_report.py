"""Tables, the page and the file that both come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.goals import Goal, judge
from bench.measure import QUICK, Figure, Row, known_peers
from bench.peers import PEERS
from bench.process import REPOSITORY
from bench.report import page
from bench.results import Found, Results, scale_as_json
from bench.scenarios import SCENARIOS
from bench.table import goals_table, number, plot, scenario_table

CPU = Figure("cpu", "", "µs CPU / request")
FOUND = Found(
    "S1 plain HTTP in",
    (CPU,),
    [
        Row("pinproxy", {"cpu": [60.0, 50.0, 55.0]}, 300),
        Row("haproxy", {"cpu": [44.0]}, 98, errors=2),
        Row("squid", {"cpu": [110.0]}, 100),
        Row("envoy", problem="it ended with 1"),
    ],
    {"pproxy": "it adds no TLS"},
)


def results(*, is_quick: bool = False) -> Results:
    """A run of one scenario."""
    return Results(
        command="./dev bench all",
        began="2026-01-02T03:04:05+00:00",
        is_quick=is_quick,
        scale=scale_as_json(QUICK),
        machine={"commit": "abc"},
        versions={"squid": "5.7"},
        scenarios={"s1": FOUND},
    )


def test_a_table_is_sorted_and_hides_neither_errors_nor_failures() -> None:
    """Cheapest first; the ratio is of medians; who failed stands last with the reason below."""
    assert scenario_table(FOUND).splitlines() == [
        "| proxy | µs CPU / request | min - max | pinproxy / proxy |",
        "|---|---|---|---|",
        "| haproxy | 44 | 44 - 44 | 1.25 |",
        "| **pinproxy** | 55 | 50 - 60 | 1.00 |",
        "| squid | 110 | 110 - 110 | 0.50 |",
        "| envoy | - |  |  |",
        "",
        "- envoy failed: it ended with 1",
        "- haproxy: 2 of 100 failed",
    ]


def test_a_table_of_several_figures_has_a_column_for_each() -> None:
    """The ratio is of the first; where nobody is compared there is none."""
    found = Found(
        "T", (Figure("a", "first", "ms"), Figure("b", "second", "s")), [Row("pinproxy", {"a": [1234.5], "b": [0.0123]})], {}
    )
    assert scenario_table(found).splitlines() == [
        "| proxy | first, ms | second, s |",
        "|---|---|---|",
        "| **pinproxy** | 1,234 | 0.0123 |",
    ]


def test_goals_say_what_was_measured_and_whether_it_is_enough() -> None:
    """Met, not met, or not measured."""
    rows = {"s1": FOUND.rows}
    goals = [Goal("s1", "cpu", limit, peer=peer) for limit, peer in ((1.5, "haproxy"), (0.4, "squid"), (1.0, "envoy"))]
    assert goals_table([judge(goal, rows) for goal in goals], {"s1": "S1"}).splitlines()[2:] == [
        "| S1 | ≤ 1.5 x haproxy | 1.25 x | met |",
        "| S1 | ≤ 0.4 x squid | 0.50 x | **NOT met** |",
        "| S1 | ≤ 1 x envoy | - | not measured |",
    ]


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (99.94, "99.9"), (0.01234, "0.0123"), (2.0, "2")])
def test_a_number_has_three_significant_digits(value: float, text: str) -> None:
    """More would be noise."""
    assert number(value) == text


def test_the_page_tells_where_a_peer_is_ahead_and_who_is_missing() -> None:
    """Nothing on it is written down beforehand."""
    text = page(results())
    assert "- S1 plain HTTP in, µs CPU / request: pinproxy 55; haproxy 44 (1.25 x)\n" in text
    assert "| pproxy | `s1` | it adds no TLS |" in text
    assert "2 of 2 goals that were measured are met." in text
    assert "not a result" not in text


def test_the_page_of_a_quick_run_says_so() -> None:
    """The twin: what was measured for a second each is not to be quoted."""
    assert "not a result" in page(results(is_quick=True))


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """The page can be written again from the file alone."""
    results().write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results()


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    """A newer or older format is not guessed at."""
    (tmp_path / "results.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match="no results in format 1"):
        Results.read(tmp_path / "results.json")


def test_a_plot_has_a_bar_for_each_peer_that_was_measured(tmp_path: Path) -> None:
    """Who failed has none."""
    plot(tmp_path / "s1.svg", FOUND)
    assert (tmp_path / "s1.svg").read_text().count("<rect") == 3


def test_the_readme_says_who_cannot_serve_what() -> None:
    """Each peer with its reason; the table of the README and the code are one list."""
    text = (REPOSITORY / "bench/README.md").read_text(encoding="utf-8")
    for peer in PEERS.values():
        assert peer.name.lower() in text.lower()
        assert [reason for reason in peer.cannot.values() if reason not in text] == []
    assert [name for name in SCENARIOS if f"`{name}`" not in text] == []


def test_pinproxy_is_always_measured() -> None:
    """Without it there is no ratio."""
    assert [peer.name for peer in known_peers(["squid"])] == ["pinproxy", "squid"]
