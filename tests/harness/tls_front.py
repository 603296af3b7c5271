"""A proxy that speaks TLS with its clients, an origin behind it, and clients that speak TLS with it, and inside it again."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from pinproxy.limits import Limits
from pinproxy.proxy.tls_front import front_context
from tests.harness.clients import Answer, connect_head, get_head, read_answer
from tests.harness.origin import Handler, Origin, running_origin
from tests.harness.pki import Issued, make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

FRONT = "proxy.example.test"


@lru_cache
def certificates() -> tuple[Issued, Issued]:
    """Make a root and a leaf for HOST, once."""
    root = make_root()
    return root, make_leaf(root, HOST)


@lru_cache
def front_certificates() -> tuple[Issued, Issued]:
    """Make a root and a leaf for the proxy itself, once."""
    root = make_root("Front Root")
    return root, make_leaf(root, FRONT)


@lru_cache
def clients() -> Issued:
    """Make the CA of clients, once."""
    return make_root("Clients")


@dataclass
class Stage:
    """A proxy that speaks TLS with its clients, and an origin behind it."""

    proxy: RunningProxy
    origin: Origin


@contextlib.asynccontextmanager
async def staged(
    *, asks: bool = False, handler: Handler | None = None, limits: Limits | None = None, **rule: Any
) -> AsyncIterator[Stage]:
    """Run both; with `asks`, clients have to show a certificate."""
    root, leaf = certificates()
    front = front_certificates()[1]
    async with (
        running_origin(server_context(leaf), handler) as origin,
        running_proxy(host_rule([leaf.pin], root.anchors, port=origin.port, **rule), limits=limits) as proxy,
    ):
        proxy.server.speak_tls(front_context(front.pem + front.key_pem, (clients().der,) if asks else None))
        yield Stage(proxy, origin)


def client_context(client: Issued | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Make the context of a client, perhaps with a certificate, perhaps of one version alone."""
    context = ssl.create_default_context(cadata=front_certificates()[0].pem.decode("ascii"))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if client is not None:
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(client.pem + client.key_pem)
            context.load_cert_chain(file.name)
    return context


def connect_tls(port: int, client: Issued | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
    """Connect to the proxy by TLS."""
    context = client_context(client, version)
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    return context.wrap_socket(sock, server_hostname=FRONT, suppress_ragged_eofs=False)


class Inner:
    """TLS inside TLS, which `SSLSocket` cannot do: through memory."""

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext) -> None:
        """Shake hands for HOST."""
        self._outer = outer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=HOST)
        self._do(self._tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        """Send."""
        self._tls.write(data)
        self._outer.sendall(self._out.read())

    def recv(self, count: int) -> bytes:
        """Receive."""
        return self._do(lambda: self._tls.read(count))

    def _do(self, step: Callable[[], bytes | None]) -> bytes:
        while True:
            try:
                return step() or b""
            except ssl.SSLWantReadError:
                if sent := self._out.read():
                    self._outer.sendall(sent)
                received = self._outer.recv(65536)
                if not received:
                    raise EOFError("the connection ended inside TLS") from None
                self._in.write(received)
            finally:
                if sent := self._out.read():
                    self._outer.sendall(sent)


def get(proxy: RunningProxy, client: Issued | None = None, version: ssl.TLSVersion | None = None) -> Answer:
    """Ask for `/` in absolute form."""
    with connect_tls(proxy.port, client, version) as sock:
        sock.sendall(get_head(f"http://{HOST}/"))
        return read_answer(sock)


def get_through_connect(proxy: RunningProxy, context: ssl.SSLContext) -> Answer:
    """Ask for `/` through CONNECT."""
    with connect_tls(proxy.port) as sock:
        sock.sendall(connect_head())
        assert read_answer(sock).status == 200
        inner = Inner(sock, context)
        inner.sendall(get_head("/"))
        return read_answer(cast("socket.socket", inner))
