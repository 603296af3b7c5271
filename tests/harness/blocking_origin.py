"""An origin on OpenSSL's own sockets, in threads: it sends alerts, half-closes and cuts, which asyncio's TLS does not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_SECONDS = 10.0

Story = Callable[[ssl.SSLSocket], None]


@dataclass
class BlockingOrigin:
    """A running origin.

    Attributes:
        port: Where it listens.
        handshakes: TLS handshakes finished.
        failures: Reasons of those that failed, as OpenSSL names them.
    """

    port: int
    handshakes: int = 0
    failures: list[str] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def join(self) -> None:
        """Wait until every connection so far has ended. Blocks."""
        for thread in list(self._threads):
            thread.join(_SECONDS)


@contextlib.contextmanager
def blocking_origin(
    context: ssl.SSLContext, story: Story = lambda _: None, *, address: str = "127.0.0.1", port: int = 0
) -> Iterator[BlockingOrigin]:
    """Run an origin on loopback.

    Args:
        context: Its TLS.
        story: Speaks for it on each connection, in a thread of its own; the connection is cut afterwards, without a goodbye
            unless the story said one (`unwrap`).
        address: Where it listens.
        port: 0: one that is free.
    """
    listener = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    origin = BlockingOrigin(listener.getsockname()[1])

    def carry(client: socket.socket) -> None:
        client.settimeout(_SECONDS)
        try:
            with context.wrap_socket(client, server_side=True, suppress_ragged_eofs=False) as tls:
                origin.handshakes += 1
                story(tls)
        except OSError as error:
            origin.failures.append(getattr(error, "reason", None) or type(error).__name__)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # closed below
            thread = threading.Thread(target=carry, args=(client,))
            origin._threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield origin
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        accepting.join(_SECONDS)
        listener.close()
        origin.join()


def answer_once(tls: ssl.SSLSocket) -> None:
    """Read one request head, answer it, and end in good order."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += tls.recv(4096)
    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes")
    with contextlib.suppress(OSError):
        tls.unwrap()
