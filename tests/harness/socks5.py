"""A raw SOCKS5 client: exactly the bytes a test means, and every byte of the answer. It blocks, like `tests.harness.clients`."""

from __future__ import annotations

import ipaddress
import socket

from tests.harness.clients import connect
from tests.harness.running import HOST, RunningProxy

GREETING = b"\x05\x01\x00"
NO_AUTHENTICATION = b"\x05\x00"
OPEN = bytes.fromhex("05 00 00 01 00000000 0000")


def socks_request(host: str = HOST, port: int = 443, *, command: int = 1) -> bytes:
    """Write a request: by address where the host is one, else by name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        where = b"\x03" + bytes([len(host)]) + host.encode("ascii")
    else:
        where = (b"\x01" if address.version == 4 else b"\x04") + address.packed
    return b"\x05" + bytes([command]) + b"\x00" + where + port.to_bytes(2, "big")


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """Read so many bytes; fewer only where the connection ended."""
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


def greet(proxy: RunningProxy) -> socket.socket:
    """Connect, and agree on no authentication."""
    sock = connect(proxy)
    sock.sendall(GREETING)
    assert read_exactly(sock, 2) == NO_AUTHENTICATION
    return sock


def ask_socks(proxy: RunningProxy, request: bytes) -> bytes:
    """Send one request; return all that comes back, where the proxy refuses."""
    with greet(proxy) as sock:
        sock.sendall(request)
        data = b""
        while piece := sock.recv(4096):
            data += piece
        return data


def open_socks(proxy: RunningProxy, host: str = HOST, port: int = 443) -> socket.socket:
    """Ask for a way and read that it is open; what comes next is TLS."""
    sock = greet(proxy)
    sock.sendall(socks_request(host, port))
    answer = read_exactly(sock, 10)
    if answer != OPEN:
        sock.close()
    assert answer == OPEN
    return sock
