"""Small files that a configuration names, such as keys, certificates and passwords: bounded, and refused in words for a message.

A secret that others may read is refused and not repaired: it may have been read already. The rule is that of PostgreSQL's libpq,
which fits a mounted Kubernetes Secret as well as a file in a home directory: 0600 or less where the user pinproxy runs as owns
the file, 0640 or less where root does.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pinproxy.net.named_file import open_named_file

_MAX_BYTES = 64 * 1024  # a chain has 2 to 8 KiB, a key at most 4
_OF_OTHERS, _OF_GROUP_AND_OTHERS = 0o037, 0o077  # the bits that root's secret, and anybody else's, must not have


def read_small_file(path: Path, name: str, expected: str, *, is_secret: bool = False) -> bytes:
    """Read a small file, through one descriptor, so that what was checked is what is read; a Secret's file is a link to one.

    Args:
        path: Where it is.
        name: The same as the operator wrote it.
        expected: What it should be, for messages.
        is_secret: Whether nobody else may read it.

    Raises:
        ValueError: Unreadable, too large, or a secret that others may read.
    """
    try:
        with open_named_file(path) as file:
            if is_secret:
                refuse_readable_by_others(os.fstat(file.fileno()), name)
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror}); expected {expected}") from error
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{name} is larger than {_MAX_BYTES} bytes; expected {expected}")
    return content


def read_secret(path: Path, name: str, expected: str) -> bytes:
    """Read a small file that nobody else may read; the arguments are those of `read_small_file`."""
    return read_small_file(path, name, expected, is_secret=True)


def refuse_readable_by_others(status: os.stat_result, name: str) -> None:
    """Refuse a secret's file that others may read.

    Args:
        status: Of the open file.
        name: As the operator wrote it.

    Raises:
        ValueError: Its mode, and the one expected.
    """
    is_roots = status.st_uid == 0 and os.geteuid() != 0
    if status.st_mode & (_OF_OTHERS if is_roots else _OF_GROUP_AND_OTHERS):
        mode, wanted = stat.S_IMODE(status.st_mode), "0640" if is_roots else "0600"
        raise ValueError(f"{name} has mode {mode:04o}, so others may read it; expected {wanted} or less: `chmod {wanted}` it")
