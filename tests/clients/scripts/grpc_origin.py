"""A gRPC origin: `grpc_origin.py CHAIN.pem KEY.pem` prints its port, then echoes messages of `/test.Echo/…` until it is ended."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc


def echo(request: bytes, _context: grpc.ServicerContext) -> bytes:
    """One message, one answer."""
    return request


def echo_each(requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
    """Each message as it comes."""
    yield from requests


def refuse(_request: bytes, context: grpc.ServicerContext) -> bytes:
    """Answer with a status in the trailers alone."""
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")
    raise AssertionError("abort raises")


def main(chain: str, key: str) -> None:
    """Serve."""
    server = grpc.server(ThreadPoolExecutor(4))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Once": grpc.unary_unary_rpc_method_handler(echo),
        "Each": grpc.stream_stream_rpc_method_handler(echo_each),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    credentials = grpc.ssl_server_credentials([(Path(key).read_bytes(), Path(chain).read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
