"""What Linux says of a process, as text to numbers. No file is opened here."""

from __future__ import annotations


def cpu_ticks(stat: str) -> int:
    """Add up the processor time in `/proc/PID/stat`: its own and that of children it has waited for, user and system (proc(5)).

    Children count once they have ended: proxy.py has certificates signed by processes that live for milliseconds.
    """
    fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return sum(int(field) for field in fields[11:15])


def resident_pages(statm: str) -> int:
    """Read the resident set, in pages, from `/proc/PID/statm`."""
    return int(statm.split()[1])


def child_pids(children: str) -> list[int]:
    """Read the process ids in `/proc/PID/task/TID/children`."""
    return [int(pid) for pid in children.split()]


def processor_name(cpuinfo: str) -> str:
    """Read the first processor's name from `/proc/cpuinfo`; some architectures have none."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return "unknown processor"
