"""The TLS goodbye as bytes, so that one direction can end while the other goes on.

> RFC 8446 §6.1: Each party MUST send a "close_notify" alert before closing its write side of the connection, unless it has
> already sent some error alert. This does not have any effect on its read side of the connection.

Python cannot say only that: `SSLSocket.unwrap` sends the alert and goes on to read the peer's, and OpenSSL then throws away
data that is on its way (APPLICATION_DATA_AFTER_CLOSE_NOTIFY, measured on OpenSSL 3.0: the rest of the stream is lost). So while
it says goodbye, the library is given another socket, on which nothing ever arrives; what it wrote there is passed on by us.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl

from pinproxy.net.loop_local import LoopLocal

_ALERT_BYTES = 512  # a record with an alert takes 24 to 40, and comes in one piece


def make_close_notify(tls: ssl.SSLSocket) -> bytes:
    """Make the record that ends our direction; the caller sends it on the socket itself, and writes nothing after it.

    Args:
        tls: Non-blocking, its handshake finished, nothing left unsent. It goes on reading as before.

    Returns:
        The record; empty where the connection is beyond goodbyes.
    """
    stage = _stage_of_loop()
    descriptor = tls.fileno()
    # The event loop's registration belongs to the open file, which `kept` keeps: it is there again afterwards.
    kept = os.dup(descriptor)
    try:
        os.dup2(stage.fileno(), descriptor, inheritable=False)
        with contextlib.suppress(OSError, ValueError):  # "want read", as there is nothing to read: that is the point
            tls.unwrap()
    finally:
        os.dup2(kept, descriptor, inheritable=False)
        os.close(kept)
        record = stage.take()
    return record


class Stage:
    """The other socket: lent to one goodbye after the other, since to make a pair costs as much as all the rest."""

    def __init__(self) -> None:
        """Open a pair of sockets."""
        self._open()

    def _open(self) -> None:
        self._listener, self._stage = socket.socketpair()
        self._listener.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
        self._stage.setblocking(False)  # noqa: FBT003 - the same

    def fileno(self) -> int:
        """Return the descriptor to write on; nothing ever arrives there."""
        return self._stage.fileno()

    def take(self) -> bytes:
        """Take what was said, and leave nothing of it for whoever comes next."""
        try:
            said = self._listener.recv(_ALERT_BYTES)
        except BlockingIOError:
            return b""
        if len(said) == _ALERT_BYTES:
            self._close()
            self._open()
        return said

    def _close(self) -> None:
        self._listener.close()
        self._stage.close()

    def __del__(self) -> None:
        """Close both, if there was a descriptor for them."""
        with contextlib.suppress(AttributeError):
            self._close()


_stage_of_loop: LoopLocal[Stage] = LoopLocal(Stage)
