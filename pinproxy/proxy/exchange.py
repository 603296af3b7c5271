"""One request and its response, in origination.

    client --> request head, body --> [ take or open an upstream ] --> origin
    client <-- response, re-framed where the client's version asks for it <-- origin

Rules of this file:
- Nothing of a request is sent before the upstream's chain and pins were judged: an `HttpUpstream` exists only afterwards.
- A request is sent a second time only if a reused connection died before a response byte, the method is idempotent, and no
  body was sent (RFC 9112 §9.3.1, RFC 9110 §9.2.2).
- Once a response head is out, the only way to say that something went wrong is to cut the connection.
- Every exchange ends exactly once, in `_end`, and is told to the log exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from pinproxy.authority import Authority
from pinproxy.errors import ClientClosed, Draining, HeadTimeout, InternalError, Refused, UpstreamClosed, UpstreamTimeout
from pinproxy.http1.connection import asks_upgrade, keeps_alive, logs_in_connection
from pinproxy.http1.fields import encode_chunk, encode_last_chunk, forward_request_head
from pinproxy.http1.framing import CHUNKED, Framing
from pinproxy.http1.head import Fields, RequestHead, ResponseHead
from pinproxy.net.transport import SocketTransport
from pinproxy.policy.rule import HostRule
from pinproxy.proxy.errand import Errand
from pinproxy.proxy.http_opening import open_http_upstream
from pinproxy.proxy.http_upstream import HttpUpstream
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record
from pinproxy.proxy.response_writer import ResponseWriter

# > RFC 9110 §9.2.2: … PUT, DELETE, and safe request methods are idempotent.
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
_SWITCHING_PROTOCOLS = 101  # RFC 9110 §15.2.2
_OWN_BOUNDS = float("inf")
"""Opening an upstream has bounds of its own for each of its steps."""


class ExchangeClient(Protocol):
    """The client's side, as an exchange sees it."""

    transport: SocketTransport

    def expect_within(self, seconds: float) -> None:
        """Call `Exchange.expire` after so much time, unless told otherwise before."""

    def exchange_needs_request(self) -> None:
        """Hear that more of the request can be taken."""

    def exchange_done(self, *, keep_alive: bool) -> None:
        """Hear that the response is out whole."""

    def exchange_refused(self, refusal: Refused, *, is_response_begun: bool, must_cut: bool) -> None:
        """Hear that there will be no (whole) response."""

    def exchange_switched(self, upstream: HttpUpstream) -> None:
        """Hear that both sides now speak another protocol."""


class Exchange:
    """A request on its way, and its response on the way back.

    Attributes:
        record: Becomes the log line.
        request: The client's request head.
        takes_request: Whether body pieces may be given now.
        is_request_done: Whether the whole request has been taken; one without a body is whole with its head.
    """

    __slots__ = (
        "_authority",
        "_client",
        "_head",
        "_is_chunked",
        "_is_over",
        "_last_moved",
        "_may_upgrade",
        "_proxy",
        "_request_framing",
        "_response",
        "_response_lives_on",
        "_rewrite",
        "_rule",
        "_unsent",
        "_upstream",
        "is_request_done",
        "record",
        "request",
        "takes_request",
    )

    def __init__(self, proxy: Proxy, client: ExchangeClient, record: Record, request: RequestHead, framing: Framing) -> None:
        """Begin with a whole request head; `begin` sends it on its way."""
        self.record = record
        self.request = request
        self.takes_request = False
        self.is_request_done = framing.is_empty
        self._proxy = proxy
        self._client = client
        self._request_framing = framing
        self._is_chunked = framing == CHUNKED
        self._may_upgrade = asks_upgrade(request) and framing.is_empty  # or a server could switch in the middle of the body
        self._authority: Authority | None = None
        self._rule: HostRule | None = None
        self._head = self._unsent = b""
        self._upstream: HttpUpstream | None = None
        self._response = ResponseWriter(client.transport, request.minor, record.id)
        self._response_lives_on = False
        self._rewrite: Callable[[ResponseHead], ResponseHead] | None = None
        self._last_moved = 0
        self._is_over = False

    # --- where it goes ----------------------------------------------------------------------------------------------

    def begin(self, errand: Errand) -> None:
        """Send the request on its way: over an idle connection, or a new one that is verified first.

        Args:
            errand: Where to.

        Raises:
            BadRequest: The request may not go past this proxy.
        """
        self._authority, self._rule = authority, rule = errand.authority, errand.rule
        self._rewrite = errand.rewrite
        self._head = forward_request_head(
            self.request,
            self._request_framing,
            path=errand.path,
            host=errand.host,
            own_name=self._proxy.own_name,
            keep_upgrade=self._may_upgrade,
        )
        pooled = self._take_pooled(authority, rule)
        if pooled is not None:
            self.record.reused(pooled.upstream, pooled.address)
            self._send_over(pooled)
        else:
            self._open_soon()

    def _take_pooled(self, authority: Authority, rule: HostRule | None) -> HttpUpstream | None:
        while (pooled := self._proxy.pool.take(authority, rule)) is not None:
            if pooled.is_quiet():
                return pooled
            pooled.close()
        return None

    def _open_soon(self) -> None:
        self.takes_request = False
        self._client.expect_within(_OWN_BOUNDS)
        self._proxy.spawn(self._open())

    async def _open(self) -> None:
        assert self._authority is not None  # noqa: S101 - `begin` set it; for the type checker
        try:
            connection = await open_http_upstream(self._authority, self._rule, self._proxy, self.record)
            if self._is_over:
                self._give_back(connection)
            else:
                self._send_over(connection)
                self._client.exchange_needs_request()
        except Refused as refusal:
            self.refuse(refusal)
        except asyncio.CancelledError:
            self.refuse(Draining("the proxy ended before the request was sent"))  # nothing else bounds the client's wait now
            raise
        except Exception as error:  # noqa: BLE001 - the boundary of this task: log, refuse, never go on
            self._proxy.report_defect("opening an upstream failed", error, self.record.id)
            self.refuse(InternalError("opening the upstream connection failed; the log has the details"))

    def _send_over(self, connection: HttpUpstream) -> None:
        connection.begin(self, self.request.method, may_upgrade=self._may_upgrade)
        self._upstream = connection
        self._unsent = self._head
        self.takes_request = True
        if self.is_request_done:
            self._send_end(b"")
        else:
            self._client.expect_within(self._proxy.limits.idle_seconds)

    def _give_back(self, connection: HttpUpstream) -> None:
        if connection.is_free and not self._proxy.is_draining:
            self._proxy.keep(connection)
        else:
            connection.close()

    # --- the request ------------------------------------------------------------------------------------------------

    def take_request_body(self, data: bytes) -> None:
        """Send a piece of the request body, the head before it if that has not gone yet."""
        self.record.bytes_up += len(data)
        self._send(encode_chunk(data) if self._is_chunked else data)

    def take_request_end(self, trailers: Fields) -> None:
        """Send the end of the request behind its body."""
        self.is_request_done = True
        self._send_end(encode_last_chunk(trailers) if self._is_chunked else b"")

    def flush_request(self) -> None:
        """Send the head although no body has come yet: the client may wait for 100 (Continue)."""
        if self._unsent:
            self._send(b"")

    def _send_end(self, data: bytes) -> None:
        self._send(data)
        if self._response.status is None:
            self._client.expect_within(self._proxy.limits.response_head_seconds)

    def _send(self, data: bytes) -> None:
        if self._upstream is not None:
            unsent, self._unsent = self._unsent, b""
            self._upstream.transport.write(unsent + data if unsent else data)

    def pause_request(self) -> None:
        """Take no more of the body while the origin reads slowly."""
        self.takes_request = False

    def resume_request(self) -> None:
        """Take more of the body."""
        self.takes_request = True
        self._client.exchange_needs_request()

    # --- the response -----------------------------------------------------------------------------------------------

    def take_response_head(self, head: ResponseHead, framing: Framing) -> None:
        """Pass an interim or the final head on to the client."""
        if self._rewrite is not None:
            head = self._rewrite(head)
        if head.is_interim:
            self._response.interim(head)
            if self.is_request_done:
                self._client.expect_within(self._proxy.limits.response_head_seconds)
            return
        self.record.status = head.status
        self._response_lives_on = keeps_alive(head) and not logs_in_connection(self.request, head)
        # An early answer leaves the rest of a request unread: nothing may follow it on this connection.
        keep_alive = self.is_request_done and keeps_alive(self.request) and not self._proxy.is_draining
        self._response.head(head, framing, keep_alive=keep_alive)
        self._client.expect_within(self._proxy.limits.idle_seconds)

    def take_response_body(self, data: bytes) -> None:
        """Pass a piece of the response body on to the client."""
        self.record.bytes_down += len(data)
        self._response.body(data)

    def take_response_end(self, trailers: Fields) -> None:
        """Pass the end on; then the upstream is free, and so is the client."""
        # Let go of first: a client too slow for what is flushed below must not pause a connection that is somebody else's next.
        upstream, self._upstream = self._upstream, None
        if self._is_over or upstream is None:
            return
        self._is_over = True
        self._response.end(trailers)
        self._response.flush()
        upstream.end()
        if self._response.status == _SWITCHING_PROTOCOLS:
            self._client.exchange_switched(upstream)
            return
        if not self.is_request_done:
            upstream.abort()
        elif self._response_lives_on:
            self._give_back(upstream)
        else:
            upstream.close()
        self.record.finish()
        self._client.exchange_done(keep_alive=self._response.keep_alive)

    def flush_response(self) -> None:
        """Write what has gathered in one go."""
        self._response.flush()

    def pause_response(self) -> None:
        """Read no more of the response while the client reads slowly."""
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume_response(self) -> None:
        """Read on."""
        if self._upstream is not None:
            self._upstream.transport.resume_reading()

    # --- what can go wrong ------------------------------------------------------------------------------------------

    def upstream_failed(self, refusal: Refused) -> None:
        """Refuse: what came from the origin is no response."""
        self.refuse(refusal)

    def upstream_lost(self, upstream: HttpUpstream, *, is_cut: bool) -> None:
        """Try once more where that is safe; else refuse."""
        if self._is_over:
            return
        self._upstream = None
        if upstream.is_reused and not upstream.has_answered and self._may_be_sent_again():
            self._open_soon()
            return
        how = "cut" if is_cut else "closed"
        self.refuse(UpstreamClosed(f"{self._authority} {how} the connection before the response was complete"))

    def _may_be_sent_again(self) -> bool:
        # > RFC 9112 §9.3.1: A proxy MUST NOT automatically retry non-idempotent requests.
        return self._request_framing.is_empty and self.request.method in _IDEMPOTENT

    def expire(self) -> None:
        """Refuse what has come to a standstill; what has moved since it was last looked at gets as long again."""
        limits = self._proxy.limits
        if self.is_request_done and self._response.status is None:
            self.refuse(UpstreamTimeout(f"{self._authority} sent no response head within {limits.response_head_seconds:g} s"))
            return
        # What is held for a slow reader moves, too.
        moved = self.record.bytes_up + self.record.bytes_down - self._held_bytes()
        if moved != self._last_moved:
            self._last_moved = moved
            self._client.expect_within(limits.idle_seconds)
        elif not self.is_request_done and self.takes_request:
            self.refuse(HeadTimeout(f"the request body came to a standstill for {limits.idle_seconds:g} s"))
        elif self._client.transport.get_write_buffer_size():
            self.refuse(ClientClosed(f"the client took nothing of the response for {limits.idle_seconds:g} s"))
        else:
            self.refuse(UpstreamTimeout(f"{self._authority} came to a standstill for {limits.idle_seconds:g} s"))

    def _held_bytes(self) -> int:
        up = self._upstream.transport.get_write_buffer_size() if self._upstream is not None else 0
        return up + self._client.transport.get_write_buffer_size()

    def give_up(self, reason: Refused) -> None:
        """Cut the upstream: nobody is left to answer."""
        if not self._is_over:
            self._end()
            self.record.finish(reason)

    def refuse(self, refusal: Refused) -> None:
        """End without a (whole) response."""
        if self._is_over:
            return
        self._end()
        self._response.flush()
        self.record.finish(refusal)
        self._client.exchange_refused(
            refusal, is_response_begun=self._response.status is not None, must_cut=self._response.ends_with_connection
        )

    def _end(self) -> None:
        self._is_over = True
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None
