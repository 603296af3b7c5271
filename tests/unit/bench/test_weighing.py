"""What counts as growth in a soak."""

from __future__ import annotations

from dataclasses import replace

from bench.soak.weighing import FEWEST_FOR_MEMORY, Weight, grown_types, growth

QUIET = Weight(visits=0, resident_kib=70_000, descriptors=17, tasks=2, types={"ssl.SSLSocket": 1})


def test_what_comes_and_goes_has_not_grown() -> None:
    """One busy moment says nothing: the floor is what counts."""
    assert growth([QUIET, replace(QUIET, descriptors=30), replace(QUIET, tasks=9), QUIET]) == []


def test_a_rising_floor_is_growth() -> None:
    """Of descriptors and tasks by one, of TLS connections by three; the type that there is more of is named."""
    more = replace(QUIET, descriptors=18, types={"ssl.SSLSocket": 4})
    assert growth([QUIET, QUIET, more, more]) == [
        "descriptors grew from 17 to 18 (tolerated: 0)",
        "tls_connections grew from 1 to 4 (tolerated: 2)",
    ]
    assert grown_types([QUIET, more]) == ["ssl.SSLSocket +3"]


def test_memory_is_judged_in_long_soaks_from_the_second_quarter_on() -> None:
    """A megabyte for each of the first thousand visits is warm-up; one for each thousand after them is a leak."""
    warming_up = [replace(QUIET, resident_kib=70_000 + 1000 * min(step, 2)) for step in range(FEWEST_FOR_MEMORY)]
    leaking = [replace(QUIET, resident_kib=70_000 + 1000 * step) for step in range(FEWEST_FOR_MEMORY)]
    assert growth(warming_up) == []
    assert growth(leaking[:-1]) == []
    assert growth(leaking) == ["resident_kib grew from 72000 to 75000 (tolerated: 1024)"]
