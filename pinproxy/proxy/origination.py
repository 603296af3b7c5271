"""Origination: a client speaks plain HTTP/1.1 to us, we add verified TLS.

GET http://api.example.com/v1 HTTP/1.1            client to us, in clear, beside it on the same machine
  1. Read the head; refuse what two readers could read differently.
  2. Decide where it goes: where its target says (`proxy.errand`), or where the route leads (`proxy.route`). `http://` without a
     port, or with 80, means TLS on 443.
  3. Find the rule; refuse unlisted hosts, or forward them as they are where the operator allows it.
  4. Send it over a connection whose chain and pins were judged (`proxy.exchange`).
  5. Pass the response back; then the next request, pipelined ones in their order.
"""

from __future__ import annotations

import asyncio
from typing import cast

from pinproxy.errors import ClientClosed, Draining, HeadTimeout, InternalError, Refused
from pinproxy.http1.head import RequestHead
from pinproxy.http1.stream import End, RequestReader, Signal
from pinproxy.net.lingering_close import LingeringClose
from pinproxy.net.transport import SocketTransport
from pinproxy.proxy.client_auth import ClientAuth
from pinproxy.proxy.errand import Direct, by_target
from pinproxy.proxy.exchange import Exchange
from pinproxy.proxy.http_reply import refusal_bytes
from pinproxy.proxy.http_upstream import HttpUpstream
from pinproxy.proxy.live import Slot
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record
from pinproxy.proxy.switched import Switched


class OriginationClient(asyncio.Protocol):
    """One client connection on which requests come one after the other.

    Attributes:
        transport: The client's.
        deadline: When the client has taken too long over what it is at.
    """

    def __init__(self, proxy: Proxy, slot: Slot, client: str, direct: Direct = by_target) -> None:
        """Stand behind a transport that is about to be made.

        Args:
            proxy: What the stories share.
            slot: The client's place among the live connections, given up at the end.
            client: Its address, for the log.
            direct: Decides where each request goes.
        """
        self.deadline = float("inf")
        self.transport: SocketTransport
        self._proxy = proxy
        self._slot = slot
        self._client = client
        self._direct = direct
        self._reader = RequestReader(proxy.limits.head_bytes)
        self._exchange: Exchange | None = None
        self._is_head_awaited = False
        self._is_writing_paused = False
        self._is_advancing = False
        self._has_ended = False
        self._loop = asyncio.get_running_loop()

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a head."""
        self.transport = cast("SocketTransport", transport)
        self._slot.carrying = self
        self._proxy.deadlines.add(self)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Read on; what nobody takes now stays in the kernel, and the client's window closes."""
        self._reader.feed(data)
        self._advance()
        if self._reader.buffered and not self._may_take_event():
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Finish the exchange in flight: a client may end its direction and still read the answer."""
        self._reader.feed_eof()
        self._advance()
        return self._exchange is not None

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - however it went, nobody is left to answer
        """Give up the exchange in flight."""
        self._give_up(ClientClosed("the client closed the connection before the response was complete"))
        self._proxy.deadlines.discard(self)
        self._slot.release()

    def pause_writing(self) -> None:
        """Read less of the response, and begin no further one: the client reads slowly."""
        self._is_writing_paused = True
        if self._exchange is not None:
            self._exchange.pause_response()

    def resume_writing(self) -> None:
        """Read on."""
        self._is_writing_paused = False
        if self._exchange is not None:
            self._exchange.resume_response()
        else:
            self.exchange_needs_request()

    # --- the story --------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Take events as long as somebody takes them."""
        if self._is_advancing:
            return
        self._is_advancing = True
        try:
            while self._may_take_event():
                event = self._reader.next_event()
                if isinstance(event, RequestHead):
                    self._begin(event)
                elif isinstance(event, Signal):
                    self._wait_for_more(event)
                    break
                elif self._exchange is not None:
                    self._pass_on(self._exchange, event)
        except Refused as refusal:
            self._refuse_bytes(refusal)
        finally:
            self._is_advancing = False

    def _may_take_event(self) -> bool:
        if self._has_ended or self.transport.is_closing():
            return False
        exchange = self._exchange
        if exchange is None:
            return not self._is_writing_paused
        return exchange.takes_request and not exchange.is_request_done

    @staticmethod
    def _pass_on(exchange: Exchange, event: bytes | End) -> None:
        if isinstance(event, bytes):
            exchange.take_request_body(event)
        else:
            exchange.take_request_end(event.trailers)

    def _wait_for_more(self, signal: Signal) -> None:
        if self._exchange is not None:
            self._exchange.flush_request()
        elif signal is Signal.CLOSED:
            self.transport.close()
        elif self._reader.buffered and not self._is_head_awaited:
            self._await_head()

    def _await_head(self) -> None:
        # The whole head has to come in this time: a byte now and then does not stretch it.
        self._is_head_awaited = True
        self.expect_within(self._proxy.limits.head_seconds)

    def _begin(self, request: RequestHead) -> None:
        """Decide where a request goes, and send it on its way."""
        self._is_head_awaited = False
        record = Record(self._proxy, self._client, "origination")
        record.method = request.method.decode("ascii")
        self._exchange = exchange = Exchange(self._proxy, self, record, request, self._reader.framing)
        if exchange.is_request_done:
            self._reader.next_event()  # its end, for which nothing has to come
        # A route's client speaks to a host, and knows of no proxy to show itself to.
        client_auth = self._proxy.client_auth if self._direct is by_target else None
        if client_auth is not None:
            record.user = client_auth.recognise(request)
            if record.user is None:
                self.expect_within(float("inf"))
                self._proxy.spawn(self._admit(exchange, client_auth))
                return
        self._send_on_its_way(exchange)

    async def _admit(self, exchange: Exchange, client_auth: ClientAuth) -> None:
        """Check credentials that were not seen before; the request waits, and nothing of its body is read."""
        try:
            exchange.record.user = await client_auth.demand(exchange.request)
            if self._exchange is exchange:
                self._send_on_its_way(exchange)
                self.exchange_needs_request()
        except Refused as refusal:
            exchange.refuse(refusal)
        except Exception as error:  # noqa: BLE001 - the boundary of this task: log, refuse, never go on
            self._proxy.report_defect("checking credentials failed", error, exchange.record.id)
            exchange.refuse(InternalError("checking the credentials failed; the log has the details"))

    def _send_on_its_way(self, exchange: Exchange) -> None:
        request, record = exchange.request, exchange.record
        try:
            if self._proxy.is_draining:
                raise Draining("the proxy is shutting down and takes no new request")
            record.received_via = request.get_all(b"via")
            if record.received_via:
                self._proxy.refuse_loop(request)
            # 1. to 3.
            errand = self._direct(request, self._proxy, record)
            # 4.
            exchange.begin(errand)
        except Refused as refusal:
            exchange.refuse(refusal)

    # --- what the exchange says ---------------------------------------------------------------------------------------

    def expect_within(self, seconds: float) -> None:
        """Set the deadline anew."""
        self.deadline = self._loop.time() + seconds

    def exchange_needs_request(self) -> None:
        """Take up the request body, or the next request, again."""
        self._advance()
        if not self._reader.buffered or self._may_take_event():
            self.transport.resume_reading()

    def exchange_done(self, *, keep_alive: bool) -> None:
        """5. Go on to the next request, or close."""
        self._exchange = None
        if not keep_alive or self._proxy.is_draining:
            self._close_lingering()
            return
        self.expect_within(self._proxy.limits.keep_alive_seconds)
        if self._reader.has_more:
            self.exchange_needs_request()
        else:
            self.transport.resume_reading()

    def exchange_refused(self, refusal: Refused, *, is_response_begun: bool, must_cut: bool) -> None:
        """Answer with the refusal; where a response has begun, cut it short so that it looks cut."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if not is_response_begun and not isinstance(refusal, ClientClosed):
            request = exchange.request
            self._answer(refusal_bytes(refusal, exchange.record, minor=request.minor, head_only=request.method == b"HEAD"))
            return
        if must_cut:
            self.transport.cut()
        else:
            self.transport.close()
        self.expect_within(self._proxy.limits.half_closed_seconds)

    def exchange_switched(self, upstream: HttpUpstream) -> None:
        """Join the two sides after 101 (Switching Protocols): from here on it is bytes."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        self._has_ended = True
        self._proxy.deadlines.discard(self)
        switched = Switched(self._proxy, self._slot, exchange.record, upstream)
        switched.join(self.transport, self._reader.take_rest())

    # --- the end ------------------------------------------------------------------------------------------------------

    def _refuse_bytes(self, refusal: Refused) -> None:
        """Answer bytes that are no request, or the broken rest of one."""
        if self._exchange is not None:
            self._exchange.refuse(refusal)
            return
        record = Record(self._proxy, self._client, "none")
        record.finish(refusal)
        if isinstance(refusal, ClientClosed):
            self.transport.close()
        else:
            self._answer(refusal_bytes(refusal, record))

    def _answer(self, answer: bytes) -> None:
        self.transport.write(answer)
        self._close_lingering()

    def _close_lingering(self) -> None:
        self._has_ended = True
        self._proxy.deadlines.discard(self)
        LingeringClose(self._slot.release).take_over(self.transport)

    def _give_up(self, reason: Refused) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.give_up(reason)

    def expire(self) -> None:
        """End what took too long."""
        self.deadline = float("inf")
        if self.transport.is_closing():
            self.transport.abort()
        elif self._exchange is not None:
            self._exchange.expire()
        elif self._reader.buffered and not self._is_writing_paused:
            self._refuse_bytes(HeadTimeout(f"no whole request head within {self._proxy.limits.head_seconds:g} s"))
        elif self.transport.get_write_buffer_size():
            # The last response is out as far as the exchange knows; its reader gets as long as it had within the exchange.
            self.transport.close()
            self.expect_within(self._proxy.limits.idle_seconds)
        else:
            self.transport.close()

    # --- Carrying -----------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Close if idle; a request half received is refused, the response in flight is the last."""
        if self._exchange is not None or self._has_ended:
            return
        if self._reader.buffered and not self._is_writing_paused:
            self._refuse_bytes(Draining("the proxy is shutting down and takes no new request"))
        else:
            self.transport.close()

    def abort(self) -> None:
        """Cut both sides."""
        self._give_up(Draining("the proxy ended before the response was complete"))
        self.transport.abort()

    def review(self) -> None:
        """Nothing to do: the next request asks the table in force, and the one in flight was verified before it was sent."""
