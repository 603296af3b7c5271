"""One request and its response, in origination.

    client --> request head, body --> [ take or open an upstream ] --> origin
    client <-- response, re-framed where the client's version asks for it <-- origin

Rules of this file:
- Nothing of a request is sent before the upstream's chain and pins were judged: an `HttpUpstream` exists only afterwards.
- A request is sent a second time only if a reused connection died before a response byte, the method is idempotent, and no
  body was sent (RFC 9112 §9.3.1, RFC 9110 §9.2.2).
- Once a response head is out, the only way to say that something went wrong is to cut the connection.
"""

from __future__ import annotations

from typing import Protocol

from pinproxy.authority import Authority
from pinproxy.errors import ClientClosed, InternalError, Refused, UpstreamClosed, UpstreamTimeout
from pinproxy.http1.connection import asks_upgrade, keeps_alive
from pinproxy.http1.fields import (
    downstream_framing,
    encode_chunk,
    encode_last_chunk,
    forward_request_head,
    forward_response_head,
)
from pinproxy.http1.framing import BodyKind, Framing
from pinproxy.http1.head import Fields, RequestHead, ResponseHead
from pinproxy.net.transport import SocketTransport
from pinproxy.policy.rule import HostRule
from pinproxy.proxy.http_upstream import HttpUpstream
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record

# > RFC 9110 §9.2.2: … PUT, DELETE, and safe request methods are idempotent.
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
_SWITCHING_PROTOCOLS = 101
"""RFC 9110 §15.2.2"""


class ExchangeClient(Protocol):
    """The client's side, as an exchange sees it."""

    transport: SocketTransport

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
        is_request_done: Whether the whole request has been taken.
        has_response_head: Whether a final response head went to the client.
    """

    def __init__(self, proxy: Proxy, client: ExchangeClient, record: Record, request: RequestHead, framing: Framing) -> None:
        """Begin with a whole request head; `route` decides where it goes."""
        self.record = record
        self.request = request
        self.takes_request = False
        self.is_request_done = False
        self.has_response_head = False
        self._proxy = proxy
        self._client = client
        self._request_framing = framing
        self._authority: Authority
        self._rule: HostRule | None = None
        self._path = b""
        self._host = b""
        self._upstream: HttpUpstream | None = None
        self._unsent = b""
        self._response: ResponseHead | None = None
        self._response_framing: Framing | None = None
        self._has_interim = False
        self._out: list[bytes] = []
        self._is_over = False
        self._keep_alive = keeps_alive(request)

    @property
    def progress(self) -> tuple[bool, int, int]:
        """Something that changes whenever the exchange gets on."""
        return self.has_response_head, self.record.bytes_up, self.record.bytes_down

    # --- where it goes ----------------------------------------------------------------------------------------------

    def begin(self, authority: Authority, rule: HostRule | None, path: bytes, host: bytes) -> None:
        """Send the request on its way: over an idle connection, or a new one that is verified first.

        Args:
            authority: Where to.
            rule: Its rule; None: unlisted, forwarded as plain HTTP.
            path: Request target for the origin.
            host: Host field for the origin.
        """
        self._authority, self._rule, self._path, self._host = authority, rule, path, host
        pooled = self._proxy.pool.take(authority, rule)
        if pooled is not None:
            self.record.reused(pooled.upstream, pooled.address)
            self._send_over(pooled)
        else:
            self._proxy.spawn(self._open())

    async def _open(self) -> None:
        try:
            connection = await self._open_verified() if self._rule is not None else await self._open_plain()
        except Refused as refusal:
            self.refuse(refusal)
        except Exception as error:  # noqa: BLE001 - the boundary of this task: log, refuse, never go on
            self._proxy.report_defect("opening an upstream failed", error)
            self.refuse(InternalError("opening the upstream connection failed; the log has the details"))
        else:
            if self._is_over:
                self._proxy.keep(connection)
            else:
                self._send_over(connection)
                self._client.exchange_needs_request()

    async def _open_verified(self) -> HttpUpstream:
        if self._rule is None:
            raise InternalError("a verified connection needs a rule")
        # > RFC 7301 §3.1: "http/1.1"; what the origin may answer with is what we can speak to it.
        upstream = await self._proxy.open_upstream(self._authority, self._rule, ("http/1.1",), self.record)
        connection = HttpUpstream(
            self._authority, upstream.address, upstream, self._proxy.limits.head_bytes, self._proxy.pool.remove
        )
        SocketTransport(upstream.sock, connection, self._proxy.limits.buffer_bytes)
        return connection

    async def _open_plain(self) -> HttpUpstream:
        sock = await self._proxy.opener.open_plain(self._authority, self.record)
        address = self.record.address or str(self._authority)
        connection = HttpUpstream(self._authority, address, None, self._proxy.limits.head_bytes, self._proxy.pool.remove)
        SocketTransport(sock, connection, self._proxy.limits.buffer_bytes)
        return connection

    def _send_over(self, connection: HttpUpstream) -> None:
        may_upgrade = asks_upgrade(self.request)
        try:
            connection.begin(self, self.request.method, may_upgrade=may_upgrade)
            self._unsent = forward_request_head(
                self.request, self._request_framing, path=self._path, host=self._host, keep_upgrade=may_upgrade
            )
        except Refused as refusal:
            connection.abort()
            self.refuse(refusal)
            return
        self._upstream = connection
        self.takes_request = True
        if self.is_request_done:
            self.flush_request()

    # --- the request ------------------------------------------------------------------------------------------------

    def take_request_body(self, data: bytes) -> None:
        """Send a piece of the request body, the head before it if that has not gone yet."""
        self.record.bytes_up += len(data)
        self._send(encode_chunk(data) if self._request_framing.kind is BodyKind.CHUNKED else data)

    def take_request_end(self, trailers: Fields) -> None:
        """Send the end of the request."""
        self.is_request_done = True
        self._send(encode_last_chunk(trailers) if self._request_framing.kind is BodyKind.CHUNKED else b"")

    def flush_request(self) -> None:
        """Send the head although no body has come yet: the client may wait for 100 (Continue)."""
        if self._unsent:
            self._send(b"")

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
        minor = self.request.minor
        extra: tuple[tuple[bytes, bytes], ...] = ()
        if head.is_interim:
            self._has_interim = True
        else:
            self._response = head
            self.record.status = head.status
            self._response_framing = downstream_framing(framing, minor)
            ends_with_connection = self._response_framing.kind is BodyKind.UNTIL_CLOSE
            # An early answer leaves the rest of a request unread: nothing may follow it on this connection.
            self._keep_alive = (
                self._keep_alive and not ends_with_connection and self.is_request_done and not self._proxy.is_draining
            )
            self.has_response_head = head.status != _SWITCHING_PROTOCOLS
            extra = ((b"X-Pinproxy-Id", self.record.id.encode("ascii")),)
        self._out.append(
            forward_response_head(
                head, self._response_framing or framing, client_minor=minor, keep_alive=self._keep_alive, extra=extra
            )
        )

    def take_response_body(self, data: bytes) -> None:
        """Pass a piece of the response body on to the client."""
        self.record.bytes_down += len(data)
        is_chunked = self._response_framing is not None and self._response_framing.kind is BodyKind.CHUNKED
        self._out.append(encode_chunk(data) if is_chunked else data)

    def take_response_end(self, trailers: Fields) -> None:
        """Pass the end on; then the upstream is free, and so is the client."""
        if self._response_framing is not None and self._response_framing.kind is BodyKind.CHUNKED:
            self._out.append(encode_last_chunk(trailers))
        self.flush_response()
        upstream, response = self._upstream, self._response
        if self._is_over or upstream is None or response is None:
            return
        self._is_over = True
        upstream.end()
        if response.status == _SWITCHING_PROTOCOLS:
            self._client.exchange_switched(upstream)
            return
        if self.is_request_done and keeps_alive(response) and upstream.reader.is_idle:
            self._proxy.keep(upstream)
        else:
            upstream.close()
        self.record.finish()
        self._client.exchange_done(keep_alive=self._keep_alive)

    def flush_response(self) -> None:
        """Write what has gathered in one go."""
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._client.transport.write(data)

    def pause_response(self) -> None:
        """Read no more of the response while the client reads slowly."""
        if self._upstream is not None and not self._is_over:
            self._upstream.transport.pause_reading()

    def resume_response(self) -> None:
        """Read on."""
        if self._upstream is not None and not self._is_over:
            self._upstream.transport.resume_reading()

    # --- what can go wrong ------------------------------------------------------------------------------------------

    def upstream_failed(self, refusal: Refused) -> None:
        """Refuse: what came from the origin is no response."""
        self.refuse(refusal)

    def upstream_lost(self, *, is_cut: bool) -> None:
        """Try once more where that is safe; else refuse."""
        if self._is_over:
            return
        upstream, self._upstream = self._upstream, None
        if upstream is not None and upstream.is_reused and self._may_be_sent_again():
            upstream.end()
            self.takes_request = False
            self._proxy.spawn(self._open())
            return
        how = "cut" if is_cut else "closed"
        self.refuse(UpstreamClosed(f"{self._authority} {how} the connection before the response was complete"))

    def _may_be_sent_again(self) -> bool:
        # > RFC 9112 §9.3.1: A proxy MUST NOT automatically retry non-idempotent requests.
        is_untouched = self._response is None and not self._has_interim
        return is_untouched and self._request_framing.is_empty and self.request.method in _IDEMPOTENT

    def expire(self) -> None:
        """Refuse: the origin did not answer in time."""
        seconds = self._proxy.limits.response_head_seconds
        self.refuse(UpstreamTimeout(f"{self._authority} sent no response head within {seconds:g} s"))

    def client_lost(self) -> None:
        """Cut the upstream: nobody is left to answer."""
        if not self._is_over:
            self._is_over = True
            self._drop_upstream()
            self.record.finish(ClientClosed("the client closed the connection before the response was complete"))

    def abort(self) -> None:
        """Cut the upstream, and tell nobody."""
        self._is_over = True
        self._drop_upstream()

    def refuse(self, refusal: Refused) -> None:
        """End without a (whole) response."""
        if self._is_over:
            return
        self._is_over = True
        self._drop_upstream()
        self.flush_response()
        ends_with_connection = self._response_framing is not None and self._response_framing.kind is BodyKind.UNTIL_CLOSE
        self._client.exchange_refused(refusal, is_response_begun=self.has_response_head, must_cut=ends_with_connection)

    def _drop_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None
