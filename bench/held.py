"""Connections that are opened and then left alone."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator

from bench.measure import Sample, Scale
from bench.peers import Way
from bench.process import Running
from bench.stage import HOST, Stage

_SETTLING_SECONDS = 1.0  # what a proxy does once after a connection came, and no event tells of


def idle_tunnels(_stage: Stage, proxy: Running, way: Way, scale: Scale) -> Sample:
    """Resident KiB of the proxy for each idle tunnel."""
    return _memory(proxy, way, scale.tunnels)


def idle_interceptions(_stage: Stage, proxy: Running, way: Way, scale: Scale) -> Sample:
    """Resident KiB of the proxy for each connection with TLS on both sides that has carried a request, and is idle."""
    return _memory(proxy, way, scale.tunnels // 4)


def _memory(proxy: Running, way: Way, count: int) -> Sample:
    # The memory that the first ones cost once and for all. They stay: what they give back, the others would take first.
    with held_connections(way, 50):
        time.sleep(_SETTLING_SECONDS)  # nothing tells that the last connection is idle
        before = proxy.resident_kib()
        with held_connections(way, count):
            time.sleep(_SETTLING_SECONDS)
            return Sample({"kib": (proxy.resident_kib() - before) / count}, count)


@contextlib.contextmanager
def held_connections(way: Way, count: int, *, is_asked: bool = False) -> Iterator[None]:
    """Hold connections open during the block.

    Args:
        way: How the proxy is asked; where it names a CA, TLS is spoken, and one request made, since some proxies open their
            upstream no sooner.
        count: How many.
        is_asked: Whether each carries one request in plain HTTP before it falls idle.

    Raises:
        RuntimeError: One of them was refused.
    """
    options = dict(zip(way.arguments[::2], way.arguments[1::2], strict=True))
    host = options.get("--host", HOST)
    target = options.get("--target-prefix", "") + "/64"
    request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("ascii")
    context = ssl.create_default_context(cafile=options["--ca"]) if "--ca" in options else None
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", way.port), 20))
            if connect := options.get("--connect"):
                sock.sendall(f"CONNECT {connect} HTTP/1.1\r\nHost: {connect}\r\n\r\n".encode("ascii"))
                _expect_success(sock, ends_with=b"\r\n\r\n")
            if context is not None:
                sock = stack.enter_context(context.wrap_socket(sock, server_hostname=host.partition(":")[0]))
            if context is not None or is_asked:
                sock.sendall(request)
                _expect_success(sock, ends_with=b"x" * 64)
        yield


def _expect_success(sock: socket.socket, ends_with: bytes) -> None:
    """Read an answer whole."""
    answer = b""
    while not answer.endswith(ends_with):
        piece = sock.recv(4096)
        if not piece:
            raise RuntimeError(f"a connection was refused: {answer[:200]!r}")
        answer += piece
    if b" 200 " not in answer[:16]:
        raise RuntimeError(f"a connection was refused: {answer[:200]!r}")
