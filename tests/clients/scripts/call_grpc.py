"""A gRPC client as a service has one: `call_grpc.py AUTHORITY`; proxy and roots come from the environment.

Makes one call of 1 MiB, one stream of a hundred messages, and one call that the origin refuses, over one connection.
"""

from __future__ import annotations

import sys

import grpc

_SECONDS = 20


def main(authority: str) -> None:
    """Call; any exception is the end."""
    with grpc.secure_channel(authority, grpc.ssl_channel_credentials()) as channel:
        large = bytes(2**20)
        if channel.unary_unary("/test.Echo/Once", bytes, bytes)(large, timeout=_SECONDS) != large:
            raise ValueError("1 MiB came back as something else")
        print("once")
        messages = [b"%d" % number for number in range(100)]
        if list(channel.stream_stream("/test.Echo/Each", bytes, bytes)(iter(messages), timeout=_SECONDS)) != messages:
            raise ValueError("the stream came back as something else")
        print("each")
        try:
            channel.unary_unary("/test.Echo/Refuse", bytes, bytes)(b"", timeout=_SECONDS)
        except grpc.RpcError as error:
            print(error.code().name, error.details())


if __name__ == "__main__":
    main(*sys.argv[1:])
