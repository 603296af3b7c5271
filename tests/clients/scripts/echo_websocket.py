"""A WebSocket client as a service has one: `echo_websocket.py URL MESSAGE_BYTES…`; proxy and roots come from the environment.

Sends one text and a binary message of each size, prints the size of each echo that is what was sent, and closes.
"""

from __future__ import annotations

import sys

from websockets.sync.client import connect


def main(url: str, *sizes: str) -> None:
    """Talk; any exception is the end."""
    with connect(url, max_size=None) as socket:
        messages: list[str | bytes] = ["hello", *(bytes(int(size)) for size in sizes)]
        for message in messages:
            socket.send(message)
            if socket.recv() != message:
                raise ValueError(f"{len(message)} bytes came back as something else")
            print(len(message))


if __name__ == "__main__":
    main(*sys.argv[1:])
