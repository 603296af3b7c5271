"""Goals are judged by arithmetic on what was measured."""

from __future__ import annotations

import pytest

from bench.goals import GOALS, Goal, judge
from bench.measure import Row
from bench.peers import PEERS
from bench.scenarios import SCENARIOS

ROWS = {
    "s1": [Row("pinproxy", {"cpu": [30.0, 50.0, 40.0]}), Row("squid", {"cpu": [80.0]}), Row("envoy", problem="it ended")],
    "growth-rules": [Row("pinproxy", {"cpu_1": [50.0], "cpu_10000": [60.0]})],
    "s4": [Row("pinproxy", {"kib": [5.0]})],
}


@pytest.mark.parametrize(
    ("goal", "measured", "is_met"),
    [
        (Goal("s1", "cpu", 0.5, peer="squid"), 0.5, True),
        (Goal("s1", "cpu", 0.49, peer="squid"), 0.5, False),
        (Goal("s1", "cpu", 1.0, peer="envoy"), None, None),
        (Goal("s1", "cpu", 1.0, peer="haproxy"), None, None),
        (Goal("growth-rules", "cpu_10000", 1.25, base="cpu_1"), 1.2, True),
        (Goal("growth-rules", "cpu_10000", 1.25, base="cpu_100"), None, None),
        (Goal("s4", "kib", 5, unit="KiB"), 5.0, True),
        (Goal("s4", "kib", 4.9, unit="KiB"), 5.0, False),
        (Goal("s2", "cpu", 1.0, peer="squid"), None, None),
    ],
)
def test_a_goal_is_met_up_to_its_limit_and_unknown_without_its_figures(
    goal: Goal, measured: float | None, is_met: bool | None
) -> None:
    """Medians are compared; what was not measured is neither met nor missed."""
    outcome = judge(goal, ROWS)
    assert (outcome.measured, outcome.is_met) == (measured, is_met)


def test_every_goal_asks_for_figures_that_exist() -> None:
    """A goal of a figure that nobody measures would stay unknown for ever."""
    for goal in GOALS:
        scenario = SCENARIOS[goal.scenario]
        figures = {figure.key for figure in scenario.figures}
        assert {goal.figure, goal.base or goal.figure} <= figures
        assert goal.peer is None or scenario.reason_to_leave_out(PEERS[goal.peer]) is None
