"""The way out through another HTTP proxy: CONNECT, its answer read to the last byte of its head, then the socket is the host's.

Everything goes by CONNECT, plain HTTP too: one way, and the proxy sees of a request no more than where it goes.
"""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass, field

from pinproxy.authority import Authority
from pinproxy.errors import ClientClosed, DialTimeout, HeadTooLarge, LoopDetected, UpstreamClosed, UpstreamProxyRefused
from pinproxy.http1.head import ResponseHead, parse_response_head
from pinproxy.limits import Limits
from pinproxy.net.peek import read_head
from pinproxy.net.readiness import send_all
from pinproxy.policy.no_proxy import NoProxy

# > RFC 9209 §2.3.15: Name: proxy_loop_detected
_LOOP = re.compile(rb";\s*error=proxy_loop_detected\s*(?:;|,|$)")


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


async def open_way(
    sock: socket.socket, proxy: UpstreamProxy, target: Authority, limits: Limits, via: tuple[bytes, ...] = ()
) -> None:
    """Ask the proxy at the other end of a socket for a way to an authority; the name is resolved there.

    Args:
        sock: Connected to the proxy, non-blocking; what follows the answer's head stays in it.
        proxy: For its credentials and messages.
        target: Where to.
        limits: The answer has `connect_seconds` to come and `head_bytes` to say.
        via: Values of the Via field: whom the request that wants this way has passed, us included.

    Raises:
        UpstreamProxyRefused: It said no, or nothing that can be understood.
        LoopDetected: It said that the way leads back to a proxy that the request has passed.
        DialTimeout: It did not answer in time.
    """
    try:
        async with asyncio.timeout(limits.connect_seconds):
            await send_all(sock, _request(proxy, target, via))
            answer = await _final_answer(sock, limits)
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
    status = answer.status
    if 200 <= status < 300:
        return
    if any(_LOOP.search(value) for value in answer.get_all(b"proxy-status")):
        raise LoopDetected(f"the upstream proxy {proxy.authority} says that the way to {target} leads back to where it came from")
    if status == 407:
        has = "does not accept our credentials" if proxy.authorization else "asks for credentials"
        text = f"the upstream proxy {proxy.authority} {has} (407); correct user and password of `upstream_proxy`"
        raise UpstreamProxyRefused(text)
    raise UpstreamProxyRefused(f"the upstream proxy {proxy.authority} refused CONNECT {target} with status {status}")


async def _final_answer(sock: socket.socket, limits: Limits) -> ResponseHead:
    while True:
        head = parse_response_head(await read_head(sock, limits.head_bytes))
        # > RFC 9110 §15.2: A client MUST be able to parse one or more 1xx responses received prior to a final response
        if head.status >= 200 or head.status == 101:
            return head


def _request(proxy: UpstreamProxy, target: Authority, via: tuple[bytes, ...]) -> bytes:
    name = str(target).encode("ascii")
    passed = b"".join(b"Via: %b\r\n" % value for value in via)
    credentials = b"Proxy-Authorization: %b\r\n" % proxy.authorization if proxy.authorization else b""
    return b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (name, name, passed, credentials)
