"""Files that a configuration names: opened so that none can keep the proxy waiting, whatever it was that got that name."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_named_file(path: Path) -> BinaryIO:
    """Open a regular file for reading; links are followed, since a mounted Secret is one.

    A pipe would wait for its writer, at the start and again at every look for changes; a device may have no end.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if (kind := kind_of(os.fstat(descriptor).st_mode)) is not None:
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"it is {kind}", str(path))
    return os.fdopen(descriptor, "rb")


def kind_of(mode: int) -> str | None:
    """Name what is no regular file, `a directory` or the like; None: it is one.

    Args:
        mode: `st_mode` of its status.
    """
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")
