"""A reset that arrives together with the bytes before it."""

from __future__ import annotations

import pytest

from pinproxy.net.transport import READ_BYTES, SocketTransport
from tests.harness.socket_pairs import Recorder, reset, socket_pair


@pytest.mark.parametrize("size", [1, READ_BYTES, 20 * 1024])
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
async def test_a_reset_behind_the_last_bytes_is_heard_at_once(size: int, *, is_tls: bool) -> None:
    """The event loop (libuv) tells of it once, with the first of them, and then watches no more.

    Otherwise a client could hold a connection for an hour by a few bytes and a reset.
    """
    with socket_pair(is_tls=is_tls) as (ours, peer):
        peer.sendall(bytes(size))
        reset(peer)
        recorder = Recorder()
        SocketTransport(ours, recorder, 65536)
        assert isinstance(await recorder.end(), OSError)
        assert len(recorder.data) == size
