"""What the shell learns from a command; docs and scripts rely on these numbers."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command but `exec`, which has its child's."""

    OK = 0
    FAILURE = 1
    USAGE = 2  # a command line or configuration that is wrong: nothing was started
    MISMATCH = 3  # a check ran well and found a mismatch
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it
    NOT_EXECUTABLE = 126  # `exec` alone: POSIX.1-2024, XCU 2.8.2
    NOT_FOUND = 127  # `exec` alone, likewise
