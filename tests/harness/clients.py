"""Raw clients: exactly the bytes a test means, and every byte of the answer. No HTTP library smooths anything over.

They block, so async tests call them through `asyncio.to_thread`; `ask` does it by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from tests.harness.running import HOST, RunningProxy

Way = Literal["origination", "interception", "tunnel"]
each_way = pytest.mark.parametrize("way", ["origination", "interception"])
every_way = pytest.mark.parametrize("way", ["origination", "interception", "tunnel"])  # the last wants a rule that tunnels
# For verdicts in which the mode has no part (tests/unit/policy/test_verify.py): report-only, the laxer one, is tried most.
every_way_in_a_mode = pytest.mark.parametrize(
    ("way", "mode"),
    [("origination", "enforce"), ("origination", "report-only"), ("interception", "report-only"), ("tunnel", "report-only")],
)
# For long tables whose rows differ in what is computed, and not in how it is waited for.
on_one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])
_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """A whole HTTP response."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """Our reason code; None: this is no refusal of ours."""
        return self.fields.get("x-pinproxy-error")

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document of a refusal."""
        assert self.fields["content-type"] == "application/problem+json"
        return dict(json.loads(self.body))


def connect(proxy: RunningProxy) -> socket.socket:
    """Connect to the proxy."""
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=_SECONDS)


def read_head(sock: socket.socket) -> bytes:
    """Read up to the empty line and not one byte more: what follows may be TLS."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise EOFError(f"the connection ended after {head!r}")
        head += byte
    return head


def read_to_end(sock: socket.socket) -> bytes:
    """Read until the peer ends its direction; a TLS socket of ours raises SSLEOFError where that end is a cut."""
    data = bytearray()
    # A TLS socket that has ended its own direction raises SSLZeroReturnError where the peer ends its own in good order.
    with contextlib.suppress(ssl.SSLZeroReturnError):
        while piece := sock.recv(65536):
            data += piece
    return bytes(data)


def read_answer(sock: socket.socket) -> Answer:
    """Read one response, its body by Content-Length or none."""
    status_line, *lines = read_head(sock).decode("ascii").rstrip().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = b""
    while len(body) < int(fields.get("content-length", "0")):
        piece = sock.recv(65536)
        if not piece:
            raise EOFError("the connection ended inside a body")
        body += piece
    return Answer(int(status_line.split(" ")[1]), fields, body)


def connect_head(host: str = HOST, port: int = 443) -> bytes:
    """Write the head of a CONNECT."""
    return b"CONNECT %b:%d HTTP/1.1\r\nHost: %b:%d\r\n\r\n" % (host.encode(), port, host.encode(), port)


def get_head(target: str, host: str = HOST, *, further: str = "") -> bytes:
    """Write a GET; `further` holds whole header lines."""
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{further}\r\n".encode()


def open_tunnel(proxy: RunningProxy, host: str = HOST, port: int = 443) -> socket.socket:
    """Send a CONNECT and read its 200; what comes next is TLS."""
    sock = connect(proxy)
    sock.sendall(connect_head(host, port))
    answer = read_answer(sock)
    if answer.status != 200:
        sock.close()
    assert (answer.status, answer.code) == (200, None)
    return sock


def start_tls(
    sock: socket.socket, proxy: RunningProxy, server_hostname: str | None = HOST, alpn: Sequence[str] = ()
) -> ssl.SSLSocket:
    """Begin TLS as a client that trusts the proxy's CA; a cut of the connection is an error, not an end."""
    context = proxy.client_context(alpn)
    if server_hostname is None:
        context.check_hostname = False
    return context.wrap_socket(sock, server_hostname=server_hostname, suppress_ragged_eofs=False)


def open_intercepted(proxy: RunningProxy, host: str = HOST, alpn: Sequence[str] = ()) -> ssl.SSLSocket:
    """Open a tunnel and begin TLS in it."""
    return start_tls(open_tunnel(proxy, host), proxy, host, alpn)


def originate(proxy: RunningProxy, host: str = HOST, path: str = "/") -> Answer:
    """Send one GET in absolute form over a connection of its own."""
    with connect(proxy) as sock:
        sock.sendall(get_head(f"http://{host}{path}", host, further="Connection: close\r\n"))
        return read_answer(sock)


def intercept(proxy: RunningProxy, host: str = HOST, path: str = "/", port: int = 443) -> Answer:
    """Send one GET through CONNECT and TLS; the answer is the refusal of the CONNECT where there is one."""
    with connect(proxy) as sock:
        sock.sendall(connect_head(host, port))
        answer = read_answer(sock)
        if answer.status != 200:
            return answer
        with start_tls(sock, proxy, host.strip("[]")) as tls:
            tls.sendall(get_head(path, host))
            return read_answer(tls)


def tunnel(proxy: RunningProxy, host: str = HOST, path: str = "/") -> Answer:
    """Send one GET through CONNECT and TLS 1.2 of the client's own, which trusts anybody: only the proxy can say no."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect(proxy) as sock:
        sock.sendall(connect_head(host))
        answer = read_answer(sock)
        if answer.status != 200:
            return answer
        with context.wrap_socket(sock, server_hostname=host, suppress_ragged_eofs=False) as tls:
            tls.sendall(get_head(path, host))
            return read_answer(tls)


async def ask(way: Way, proxy: RunningProxy, host: str = HOST) -> Answer:
    """Ask for `/` of a host, in one way or another."""
    ways = {"origination": originate, "interception": intercept, "tunnel": tunnel}
    return await asyncio.to_thread(ways[way], proxy, host)


def hello_and_rest(context: ssl.SSLContext, server_hostname: str) -> tuple[bytes, ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """Begin a handshake in memory: the ClientHello, and what `finish_handshake` goes on with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=server_hostname)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read(), tls, incoming, outgoing


def finish_handshake(sock: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
    """Go on with a handshake whose ClientHello was sent."""
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            data = sock.recv(65536)
            if not data:
                raise EOFError("the connection ended inside the handshake") from None
            incoming.write(data)
        else:
            sock.sendall(outgoing.read())
            return


def end_direction(tls: ssl.SSLSocket) -> None:
    """Send close_notify and go on reading (RFC 8446 §6.1); the peer must have nothing on its way to us meanwhile."""
    tls.settimeout(0)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.unwrap()
    tls.settimeout(_SECONDS)
