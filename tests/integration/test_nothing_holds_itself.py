"""What is over is gone at once, and does not wait for the collector: a peer must not be able to pile it up meanwhile."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator

import pytest

from pinproxy.http1.stream import RequestReader
from pinproxy.net.relay import RelayEnd
from pinproxy.net.transport import SocketTransport
from tests.harness.clients import connect, get_head, open_intercepted
from tests.harness.origin import running_origin
from tests.harness.pki import make_leaf, make_root, server_context
from tests.harness.running import HOST, RunningProxy, host_rule, running_proxy

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)


def connections() -> list[object]:
    """Find what there is one of for each connection, in use or not."""
    return [item for item in gc.get_objects() if isinstance(item, (RequestReader, RelayEnd, SocketTransport))]


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Let nothing go but what nobody holds."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def leave_in_a_body(proxy: RunningProxy) -> None:
    """End where more was announced."""
    with connect(proxy) as sock:
        sock.sendall(get_head(f"http://{HOST}/", further="Content-Length: 9\r\n") + b"begun")


def leave_without_a_word(proxy: RunningProxy) -> None:
    """End an intercepted connection without close_notify."""
    open_intercepted(proxy).close()


def leave_in_good_order(proxy: RunningProxy) -> None:
    """End an intercepted connection as TLS has it."""
    tls = open_intercepted(proxy)
    tls.unwrap().close()


@pytest.mark.attack(
    "connections that end in an error, each of which leaves its buffers to the garbage collector",
    expect="bound",
    topic="resources",
)
@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("end", [leave_in_a_body, leave_without_a_word, leave_in_good_order])
async def test_a_connection_that_ended_is_gone_without_the_collector(end: Callable[[RunningProxy], None]) -> None:
    """An exception that is kept keeps its traceback, that the frames, and those whoever keeps the exception."""
    others = connections()
    async with running_origin(server_context(LEAF)) as origin:
        rule = host_rule([LEAF.pin, ROOT.pin], ROOT.anchors, port=origin.port)
        async with running_proxy(rule) as proxy:
            await asyncio.to_thread(end, proxy)
            await proxy.connection()
            async with asyncio.timeout(5):
                while len(connections()) > len(others):  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(0.01)
