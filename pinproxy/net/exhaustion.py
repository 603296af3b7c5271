"""What the kernel says when this process or this machine has nothing left to give: the fault of nobody at the other end."""

from __future__ import annotations

import errno

_OUT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def is_exhausted(error: OSError) -> bool:
    """Tell whether a call failed for want of descriptors or memory."""
    return error.errno in _OUT_OF
