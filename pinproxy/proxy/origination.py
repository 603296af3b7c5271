"""Origination: a client speaks plain HTTP/1.1 to us, we add verified TLS.

GET http://api.example.com/v1 HTTP/1.1            client to us, in clear, beside it on the same machine
  1. Read the head; refuse what two readers could read differently.
  2. Bring the authority into its one form: `http://` without a port, or with 80, means TLS on 443.
  3. Find the rule; refuse unlisted hosts, or forward them as they are where the operator allows it.
  4. Send it over a connection whose chain and pins were judged (`proxy.exchange`).
  5. Pass the response back; then the next request, pipelined ones in their order.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import cast

from pinproxy.authority import Authority, parse_authority
from pinproxy.errors import BadRequest, Draining, HeadTimeout, PinError, Refused
from pinproxy.http1.fields import host_field
from pinproxy.http1.head import RequestHead
from pinproxy.http1.refusal import render_refusal
from pinproxy.http1.stream import End, RequestReader, Signal
from pinproxy.http1.target import RequestTarget, TargetForm, request_target
from pinproxy.net.lingering_close import LingeringClose
from pinproxy.net.relay import Relay
from pinproxy.net.transport import SocketTransport
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable
from pinproxy.proxy.exchange import Exchange
from pinproxy.proxy.http_upstream import HttpUpstream
from pinproxy.proxy.live import Slot, Tunnel
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record

_HTTP_PORT, _HTTPS_PORT = 80, 443


class OriginationClient(asyncio.Protocol):
    """One client connection on which requests come one after the other.

    Attributes:
        deadline: When the client has taken too long over what it is at.
    """

    def __init__(self, proxy: Proxy, slot: Slot, client: str) -> None:
        """Stand behind a transport that is about to be made.

        Args:
            proxy: What the stories share.
            slot: The client's place among the live connections, given up at the end.
            client: Its address, for the log.
        """
        self.deadline = float("inf")
        self.transport: SocketTransport
        self._proxy = proxy
        self._slot = slot
        self._client = client
        self._reader = RequestReader(proxy.limits.head_bytes)
        self._exchange: Exchange | None = None
        self._is_reading_paused = False
        self._is_advancing = False
        self._has_ended = False
        self._progress: object = None
        self._loop = asyncio.get_running_loop()

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a head."""
        self.transport = cast("SocketTransport", transport)
        self._slot.carrying = self
        self._proxy.deadlines.add(self)
        self.deadline = self._loop.time() + self._proxy.limits.head_seconds

    def data_received(self, data: bytes) -> None:
        """Read on; while an exchange cannot take more, let the kernel hold what follows."""
        self._reader.feed(data)
        self._advance()
        if self._reader.buffered and self._exchange is not None and not self._exchange.takes_request:
            self._is_reading_paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Finish the exchange in flight: a client may end its direction and still read the answer."""
        self._reader.feed_eof()
        self._advance()
        return self._exchange is not None

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - however it went, nobody is left to answer
        """Give up the exchange in flight."""
        if self._exchange is not None:
            self._exchange.client_lost()
        self._proxy.deadlines.discard(self)
        self._slot.release()

    def pause_writing(self) -> None:
        """Read less of the response: the client reads slowly."""
        if self._exchange is not None:
            self._exchange.pause_response()

    def resume_writing(self) -> None:
        """Read on."""
        if self._exchange is not None:
            self._exchange.resume_response()

    # --- the story --------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Take events as long as somebody takes them."""
        if self._is_advancing:
            return
        self._is_advancing = True
        try:
            while self._may_take_event():
                event = self._reader.next_event()
                if isinstance(event, Signal):
                    self._wait_for_more(event)
                    break
                if isinstance(event, RequestHead):
                    self._begin(event)
                elif self._exchange is not None:
                    self._pass_on(self._exchange, event)
        except Refused as refusal:
            self._refuse_head(refusal)
        finally:
            self._is_advancing = False

    def _may_take_event(self) -> bool:
        if self._has_ended or self.transport.is_closing():
            return False
        exchange = self._exchange
        if exchange is None:
            return True
        return not exchange.is_request_done and (exchange.takes_request or self._reader.framing.is_empty)

    def _pass_on(self, exchange: Exchange, event: bytes | End) -> None:
        if isinstance(event, bytes):
            exchange.take_request_body(event)
        else:
            exchange.take_request_end(event.trailers)
            self._progress = exchange.progress
            self.deadline = self._loop.time() + self._proxy.limits.response_head_seconds

    def _wait_for_more(self, signal: Signal) -> None:
        if self._exchange is not None:
            self._exchange.flush_request()
        elif signal is Signal.CLOSED:
            self.transport.close()
        elif self._reader.buffered and self.deadline == float("inf"):
            self.deadline = self._loop.time() + self._proxy.limits.head_seconds

    def _begin(self, request: RequestHead) -> None:
        """Decide where a request goes, and send it on its way."""
        record = Record(self._proxy, self._client, "origination")
        record.method = request.method.decode("ascii")
        self.deadline = self._loop.time() + self._proxy.limits.idle_seconds
        self._exchange = exchange = Exchange(self._proxy, self, record, request, self._reader.framing)
        try:
            if self._proxy.is_draining:
                raise Draining("the proxy is shutting down and takes no new request")
            # 1.
            target = request_target(request)
            # 2. and 3.
            authority, rule = self._destination(target, record)
            scheme = b"http" if rule is None else b"https"
            host = host_field(str(authority).encode("ascii"), scheme)
        except Refused as refusal:
            exchange.refuse(refusal)
            return
        # 4.
        exchange.begin(authority, rule, target.path, host)

    def _destination(self, target: RequestTarget, record: Record) -> tuple[Authority, HostRule | None]:
        if target.form is TargetForm.AUTHORITY:
            raise BadRequest("CONNECT comes first on a connection, or on one of its own")
        if target.form is not TargetForm.ABSOLUTE:
            raise BadRequest("expected an absolute target, as `GET http://host/path`: this is a forward proxy, not an origin")
        text = target.authority.decode("ascii")
        asked = parse_authority(text, _HTTP_PORT if target.scheme == b"http" else _HTTPS_PORT)
        secured = asked
        if target.scheme == b"http" and asked.port == _HTTP_PORT:
            secured = Authority(asked.host, _HTTPS_PORT)
        record.authority = secured
        rule = record.rule = self._proxy.policy.rule_for(secured)
        if rule is not None:
            return secured, rule
        if target.scheme == b"https":
            raise BadRequest(f"{secured} is not listed, so nothing says how to verify it; list it, or use CONNECT")
        record.authority, record.mode = asked, "plain"
        return asked, None

    # --- what the exchange says ---------------------------------------------------------------------------------------

    def exchange_needs_request(self) -> None:
        """Take up the request body again."""
        self._advance()
        if self._is_reading_paused and not self.transport.is_closing():
            self._is_reading_paused = False
            self.transport.resume_reading()

    def exchange_done(self, *, keep_alive: bool) -> None:
        """Go on to the next request, or close."""
        self._exchange = None
        if not keep_alive or self._proxy.is_draining:
            self._close_lingering()
            return
        self.deadline = self._loop.time() + self._proxy.limits.keep_alive_seconds
        self.exchange_needs_request()

    def exchange_refused(self, refusal: Refused, *, is_response_begun: bool, must_cut: bool) -> None:
        """Answer with the refusal; where a response has begun, cut it short so that it looks cut."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        record = exchange.record
        record.finish(refusal)
        if is_response_begun:
            if must_cut:
                self.transport.abort()
            else:
                self.transport.close()
            return
        self._answer(refusal, record, exchange.request.minor, head_only=exchange.request.method == b"HEAD")

    def exchange_switched(self, upstream: HttpUpstream) -> None:
        """Join the two sides after 101 (Switching Protocols): from here on it is bytes."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        self._proxy.deadlines.discard(self)
        relay = Relay(self._proxy.limits, self._proxy.deadlines)
        rest_up, rest_down = self._reader.take_rest(), upstream.reader.take_rest()
        for end, transport in ((relay.client, self.transport), (relay.upstream, upstream.transport)):
            end.connection_made(transport)
            transport.set_protocol(end)
        relay.client.write_first(rest_up)
        relay.upstream.write_first(rest_down)
        self.transport.resume_reading()
        upstream.transport.resume_reading()
        tunnel = Tunnel(relay, upstream.authority, upstream.upstream, self._proxy.eviction_grace_seconds)
        self._slot.carrying = tunnel

        def ended(_done: asyncio.Future[BaseException | None]) -> None:
            exchange.record.bytes_up += relay.bytes_up
            exchange.record.bytes_down += relay.bytes_down
            exchange.record.finish(tunnel.refusal)
            self._slot.release()

        relay.done.add_done_callback(ended)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _refuse_head(self, refusal: Refused) -> None:
        """Answer bytes that are no request, or the broken rest of one."""
        if self._exchange is not None:
            self._exchange.refuse(refusal)
            return
        record = Record(self._proxy, self._client, "none")
        record.finish(refusal)
        self._answer(refusal, record, minor=1, head_only=False)

    def _answer(self, refusal: Refused, record: Record, minor: int, *, head_only: bool) -> None:
        self.transport.write(refusal_bytes(refusal, record, minor=minor, head_only=head_only))
        self._close_lingering()

    def _close_lingering(self) -> None:
        self._has_ended = True
        self._proxy.deadlines.discard(self)
        LingeringClose(self._slot.release).take_over(self.transport)

    def expire(self) -> None:
        """End what took too long."""
        self.deadline = float("inf")
        if self._exchange is not None:
            if self._exchange.progress == self._progress:
                self._exchange.expire()
                return
            self._progress = self._exchange.progress
            self.deadline = self._loop.time() + self._proxy.limits.idle_seconds
        elif self._reader.buffered:
            self._refuse_head(HeadTimeout(f"no whole request head within {self._proxy.limits.head_seconds:g} s"))
        else:
            self.transport.close()

    # --- Carrying -----------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Close if idle; the response in flight is the last."""
        if self._exchange is None:
            self.transport.close()

    def abort(self) -> None:
        """Cut both sides."""
        if self._exchange is not None:
            self._exchange.client_lost()
            self._exchange = None
        self.transport.abort()

    def review(self, table: PolicyTable, now: datetime) -> None:
        """Nothing to do: the next request asks the table in force, and the one in flight was verified before it was sent."""


def refusal_bytes(refusal: Refused, record: Record, *, minor: int = 1, head_only: bool = False) -> bytes:
    """Render a refusal for the client of a record."""
    extra: dict[str, object] = {}
    if isinstance(refusal, PinError) and refusal.expected:
        extra = {"seen": refusal.seen, "expected": refusal.expected}
    host = str(record.authority) if record.authority is not None else None
    return render_refusal(refusal, connection_id=record.id, host=host, extra=extra, minor=minor, head_only=head_only)
