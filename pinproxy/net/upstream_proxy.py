"""The way out through another HTTP proxy: CONNECT, its answer read to the last byte of its head, then the socket is the host's.

Everything goes by CONNECT, plain HTTP too: one way, and the proxy sees of a request no more than where it goes.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field

from pinproxy.authority import Authority
from pinproxy.errors import ClientClosed, DialTimeout, HeadTooLarge, UpstreamClosed, UpstreamProxyRefused
from pinproxy.http1.head import parse_response_head
from pinproxy.limits import Limits
from pinproxy.net.peek import read_head
from pinproxy.net.readiness import send_all
from pinproxy.policy.no_proxy import NoProxy


@dataclass(frozen=True, slots=True)
class UpstreamProxy:
    """A proxy between us and the world.

    Attributes:
        authority: Where it listens.
        authorization: Value of the Proxy-Authorization field, a secret; None: it asks for none.
        no_proxy: Hosts reached without it.
    """

    authority: Authority
    authorization: bytes | None = field(default=None, repr=False)
    no_proxy: NoProxy = field(default_factory=NoProxy)

    def serves(self, host: str) -> bool:
        """Tell whether a host is reached through it."""
        return not self.no_proxy.covers(host)


async def open_way(sock: socket.socket, proxy: UpstreamProxy, target: Authority, limits: Limits) -> None:
    """Ask the proxy at the other end of a socket for a way to an authority; the name is resolved there.

    Args:
        sock: Connected to the proxy, non-blocking; what follows the answer's head stays in it.
        proxy: For its credentials and messages.
        target: Where to.
        limits: The answer has `connect_seconds` to come and `head_bytes` to say.

    Raises:
        UpstreamProxyRefused: It said no, or nothing that can be understood.
        DialTimeout: It did not answer in time.
    """
    try:
        async with asyncio.timeout(limits.connect_seconds):
            await send_all(sock, _request(proxy, target))
            status = await _final_status(sock, limits)
    except TimeoutError as error:
        text = f"the upstream proxy {proxy.authority} did not open a way to {target} within {limits.connect_seconds:g} s"
        raise DialTimeout(text) from error
    except (ClientClosed, OSError) as error:
        raise UpstreamProxyRefused(f"the upstream proxy {proxy.authority} hung up on CONNECT {target}") from error
    except (HeadTooLarge, UpstreamClosed) as error:
        text = f"the upstream proxy {proxy.authority} answered CONNECT {target} with something that is no HTTP response"
        raise UpstreamProxyRefused(text) from error
    # > RFC 9110 §9.3.6: Any 2xx (Successful) response indicates that the sender … will switch to tunnel mode immediately after
    # > the response header section
    if 200 <= status < 300:
        return
    if status == 407:
        has = "does not accept our credentials" if proxy.authorization else "asks for credentials"
        text = f"the upstream proxy {proxy.authority} {has} (407); correct user and password of `upstream_proxy`"
        raise UpstreamProxyRefused(text)
    raise UpstreamProxyRefused(f"the upstream proxy {proxy.authority} refused CONNECT {target} with status {status}")


async def _final_status(sock: socket.socket, limits: Limits) -> int:
    while True:
        head = parse_response_head(await read_head(sock, limits.head_bytes))
        # > RFC 9110 §15.2: A client MUST be able to parse one or more 1xx responses received prior to a final response
        if head.status >= 200 or head.status == 101:
            return head.status


def _request(proxy: UpstreamProxy, target: Authority) -> bytes:
    name = str(target).encode("ascii")
    credentials = b"Proxy-Authorization: %b\r\n" % proxy.authorization if proxy.authorization else b""
    return b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (name, name, credentials)
