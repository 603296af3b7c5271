"""Accepting clients on a TCP address or a UNIX socket, as raw sockets.

Raw, not `asyncio.start_server`: the first bytes of a client decide whether the kernel, the TLS library or the HTTP reader gets
to read the rest, and a stream reader would already have taken them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from pinproxy.authority import Authority
from pinproxy.errors import SettingsError
from pinproxy.net.exhaustion import is_exhausted
from pinproxy.net.unix_socket import SocketFile, UnixAddress, listen_on_path

ListenAddress = Authority | UnixAddress
"""Where clients are accepted."""

Accepted = Callable[[socket.socket, str], None]
"""Takes an accepted socket, and the name of its peer: `host:port`, or `unix`."""

_BACKLOG = 1024  # the kernel caps it at net.core.somaxconn
_ACCEPTS_PER_WAKE = 64
_BREATHER_SECONDS = 1.0  # asyncio's own habit after EMFILE


class Listener:
    """One bound address. Every accepted socket goes to the callback, non-blocking, over TCP with TCP_NODELAY."""

    def __init__(self, address: ListenAddress, accepted: Accepted) -> None:
        """Remember where and to whom; nothing is bound yet."""
        self._address = address
        self._accepted = accepted
        self._sock: socket.socket | None = None
        self._file: SocketFile | None = None
        self._breather: asyncio.TimerHandle | None = None

    def bind(self) -> ListenAddress:
        """Bind and listen.

        Returns:
            What is bound: the kernel's choice for port 0.

        Raises:
            SettingsError: The address cannot be bound.
        """
        address = self._address
        try:
            if isinstance(address, UnixAddress):
                self._sock, self._file = listen_on_path(address, _BACKLOG)
                return address
            self._sock = _listen_on_port(address)
        except OSError as error:
            hint = "" if isinstance(address, UnixAddress) else "; is another process on that port?"
            message = f"cannot listen on {address}: {error.strerror}{hint}"
            raise SettingsError.of("listen", message) from error
        host, port = self._sock.getsockname()[:2]
        return Authority(str(host), int(port))

    def start(self) -> None:
        """Begin to accept."""
        if self._sock is not None:
            asyncio.get_running_loop().add_reader(self._sock.fileno(), self._accept_some)

    def close(self) -> None:
        """Stop accepting and free the port, or the path."""
        if self._breather is not None:
            self._breather.cancel()
            self._breather = None
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self._file is not None:
            self._file.remove()
            self._file = None

    def _accept_some(self) -> None:
        sock, is_unix = self._sock, isinstance(self._address, UnixAddress)
        for _ in range(_ACCEPTS_PER_WAKE):
            if sock is None:
                return
            try:
                client, peer = sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if not is_exhausted(error):
                    raise
                self._take_a_breather(error)
                return
            client.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
            self._accepted(client, "unix" if is_unix else str(Authority(*peer[:2])))

    def _take_a_breather(self, error: OSError) -> None:
        """Leave new clients in the backlog while the process has no descriptor for them; those it has go on."""
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "accepting is paused: no descriptors left", "exception": error})
        if self._sock is not None:
            loop.remove_reader(self._sock.fileno())
        self._breather = loop.call_later(_BREATHER_SECONDS, self.start)


def _listen_on_port(address: Authority) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
        # What is accepted inherits both (tcp(7) on Linux), which saves two calls for each client.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
