"""What the kernel says when this process or this machine has nothing left to give: the fault of nobody at the other end."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

from pinproxy.errors import Overloaded

_OUT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def is_exhausted(error: OSError) -> bool:
    """Tell whether a call failed for want of descriptors or memory."""
    return error.errno in _OUT_OF


@contextlib.contextmanager
def descriptor_needed(purpose: str) -> Iterator[None]:
    """Do something that takes a descriptor.

    Args:
        purpose: What it is for, for the message.

    Raises:
        Overloaded: There is none left.
    """
    try:
        yield
    except OSError as error:
        if is_exhausted(error):
            raise Overloaded(f"no descriptor is left {purpose} (ulimit -n)") from error
        raise


def has_descriptor_left() -> bool:
    """Tell whether a socket can be had, for whoever was told of a failure without its cause, as a resolver's callers are."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError as error:
        return not is_exhausted(error)
    return True
