"""What Linux says of a process."""

from __future__ import annotations

from bench.procfs import child_pids, cpu_ticks, processor_name, resident_pages


def test_processor_time_is_its_own_and_that_of_the_children_it_waited_for() -> None:
    """proc(5): utime, stime, cutime, cstime are fields 14 to 17; the name before them may hold blanks and brackets."""
    stat = "1234 (a) b) c) S 1 1234 1234 0 -1 4194560 900 0 0 0 100 20 3 4 20 0 1 0 500 1000000 250 18446744073709551615"
    assert cpu_ticks(stat) == 100 + 20 + 3 + 4


def test_the_resident_set_is_the_second_number() -> None:
    """The first is what is mapped, and says nothing."""
    assert resident_pages("5000 250 100 1 0 200 0\n") == 250


def test_children_are_numbers_or_none() -> None:
    """A process without children has an empty file."""
    assert (child_pids("10 20 \n"), child_pids("")) == ([10, 20], [])


def test_a_processor_without_a_name_is_unknown() -> None:
    """Some architectures name none."""
    assert processor_name("processor\t: 0\nmodel name\t: Chip 9000\n") == "Chip 9000"
    assert processor_name("processor\t: 0\nBogoMIPS\t: 50.00\n") == "unknown processor"
