"""Listening on a path: who may connect is decided by the file's mode and its directory, and no port is open for others.

1. Whatever has the path already is left alone, unless it is a socket on which nobody listens any more.
2. Bind; the mode is set before `listen`, and until then the kernel refuses whoever connects.
3. At the end the path is removed, unless it has become somebody else's.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

# > unix(7): sun_path is 108 bytes, with a null byte at its end.
MAX_PATH_BYTES = 107
# Owner and group: a service that is to use the proxy gets its group, and nobody else gets in.
_MODE = 0o660


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A path to listen on, absolute."""

    path: Path

    def __str__(self) -> str:
        """Format as `unix:/path`, the way configurations write it."""
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a socket that we made, told from one that another process has put in its place."""

    path: Path
    device: int
    inode: int

    def remove(self) -> None:
        """Remove it if it is still ours."""
        with contextlib.suppress(OSError):
            if _identity(self.path) == (self.device, self.inode):
                self.path.unlink()


def listen_on_path(address: UnixAddress, backlog: int) -> tuple[socket.socket, SocketFile]:
    """Bind and listen.

    Args:
        address: Where.
        backlog: Connections that wait to be accepted.

    Returns:
        The listening socket, non-blocking, and its file.

    Raises:
        OSError: It cannot be done; the text says why.
    """
    path = address.path
    # 1.
    _remove_stale(path)
    with contextlib.ExitStack() as undo:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        undo.callback(sock.close)
        # 2.
        sock.bind(str(path))
        file = SocketFile(path, *_identity(path))
        undo.callback(file.remove)
        path.chmod(_MODE)
        sock.listen(backlog)
        undo.pop_all()
    return sock, file


def _remove_stale(path: Path) -> None:
    """Remove what a process that was killed has left behind."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "something else has that path; move it, or listen elsewhere")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its backlog is full, so there is one
    raise OSError(errno.EADDRINUSE, "another process listens there")


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
