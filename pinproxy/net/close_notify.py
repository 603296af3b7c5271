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

_ALERT_BYTES = 512  # a record with an alert takes 24 to 40, and comes in one piece


def make_close_notify(tls: ssl.SSLSocket) -> bytes:
    """Make the record that ends our direction; the caller sends it on the socket itself, and writes nothing after it.

    Args:
        tls: Non-blocking, its handshake finished, nothing left unsent. It goes on reading as before.

    Returns:
        The record; empty where the connection is beyond goodbyes.
    """
    descriptor = tls.fileno()
    listener, stage = socket.socketpair()
    with listener, stage:
        listener.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
        stage.setblocking(False)  # noqa: FBT003 - the same
        # The event loop's registration belongs to the open file, which `kept` keeps: it is there again afterwards.
        kept = os.dup(descriptor)
        try:
            os.dup2(stage.fileno(), descriptor, inheritable=False)
            with contextlib.suppress(OSError, ValueError):  # "want read", as there is nothing to read: that is the point
                tls.unwrap()
        finally:
            os.dup2(kept, descriptor, inheritable=False)
            os.close(kept)
        try:
            return listener.recv(_ALERT_BYTES)
        except BlockingIOError:
            return b""
