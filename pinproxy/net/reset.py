"""Resets: the one way to tell the peer of a plain connection that what it read is not all there was."""

from __future__ import annotations

import array
import contextlib
import fcntl
import socket
import struct
import termios

_LINGER_ZERO = struct.pack("ii", 1, 0)


def reset_on_close(sock: socket.socket) -> None:
    """Make the close of a socket a reset (socket(7): SO_LINGER); what the kernel has yet to send is thrown away with it."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)


def unsent_bytes(sock: socket.socket) -> int:
    """Count what the peer has not acknowledged yet (tcp(7): SIOCOUTQ); 0 where the kernel cannot tell."""
    count = array.array("i", [0])
    with contextlib.suppress(OSError):
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0]
