"""A client's visit: taken in or turned away at the door, served by a story, given a last word where nobody carries it.

1. No room, or no longer: one answer, without reading a byte.
2. The story reads, decides and carries; or it hands the socket over to a relay or a protocol that lives on after it.
3. A refusal before the client was told that the way is open is said in the words of its protocol, one after it by a TLS alert
   (RFC 8446 §6.2). Where a protocol has no words, the connection is cut: an orderly end would look like an answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from pinproxy.errors import ClientClosed, DownstreamTlsFailed, Draining, InternalError, Overloaded, Refused
from pinproxy.net.lingering_close import LingeringClose
from pinproxy.net.transport import SocketTransport
from pinproxy.proxy.connect import AfterEstablished, ConnectRequest, Reply
from pinproxy.proxy.live import Slot
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record
from pinproxy.tls.alert import alert, alert_for

# Refusals in flight beyond the limit: enough to answer a burst, too few to matter.
_OVERLOAD_ANSWERS = 256


@dataclass(slots=True)
class Visit:
    """One accepted client, as its story sees it.

    Attributes:
        client: The accepted socket, non-blocking; or what stands for it, where TLS is ended in front (`proxy.tls_front`).
        proxy: What the stories share.
        slot: The client's place among the live connections.
        reply: How the client is refused: in the protocol it is known to speak by now.
        name: The client's address, for the log.
        record: Becomes the log line; None until the client asks for something.
        request: The way that the client asked for; None: it did not, or not yet.
    """

    client: socket.socket
    proxy: Proxy
    slot: Slot
    reply: Reply
    name: str
    record: Record | None = None
    request: ConnectRequest | None = None

    def story_ended(self, task: asyncio.Task[None]) -> None:
        """Hang up where the story was cancelled: before its first step it never gets as far as its own `except`."""
        self.slot.task = None  # a task that is over still takes a kilobyte
        self.proxy.forget(task)
        if task.cancelled():
            _hang_up(self)


Story = Callable[[Visit], Coroutine[Any, Any, None]]


def accept(client: socket.socket, name: str, proxy: Proxy, reply: Reply, story: Story) -> None:
    """Take an accepted socket: begin its story, or turn it away."""
    # 1.
    if proxy.is_draining or len(proxy.live) >= proxy.limits.connections:
        _turn_away(client, name, proxy, reply)
        return
    visit = Visit(client, proxy, proxy.live.add(), reply, name)
    visit.slot.task = proxy.spawn(_serve(visit, story), visit.story_ended)


def _turn_away(client: socket.socket, name: str, proxy: Proxy, reply: Reply) -> None:
    record = Record(proxy, name, "none")
    refusal: Refused
    if proxy.is_draining:
        refusal = Draining("the proxy is shutting down and takes no new connection")
    else:
        refusal = Overloaded(f"{proxy.limits.connections} clients are connected (limits.connections)")
    record.finish(refusal)
    if len(proxy.live) >= proxy.limits.connections + _OVERLOAD_ANSWERS:
        client.close()
        return
    _answer(client, reply.refusal(refusal, record), proxy, proxy.live.add())


async def _serve(visit: Visit, story: Story) -> None:
    """Let a story carry a client's connection to its end."""
    proxy, slot = visit.proxy, visit.slot
    try:
        # 2.
        await story(visit)
        if slot.carrying is not None:
            return
    # 3.
    except AfterEstablished as after:
        _finish(visit, after.refusal)
        if not isinstance(after.refusal, DownstreamTlsFailed | ClientClosed) and visit.client.fileno() >= 0:
            _answer(visit.client, alert(alert_for(after.refusal.code)), proxy, slot)
            return
    except Refused as refusal:
        visit.record = record = visit.record or Record(proxy, visit.name, "none")
        record.finish(refusal)
        if not isinstance(refusal, ClientClosed):
            _answer(visit.client, visit.reply.refusal(refusal, record), proxy, slot)
            return
    except asyncio.CancelledError:
        _finish(visit, Draining("the proxy ended before the connection did"))
        raise
    except Exception as error:  # noqa: BLE001 - the boundary of this task: log, refuse, close
        visit.record = record = visit.record or Record(proxy, visit.name, "none")
        proxy.report_defect("serving a client failed", error, record.id)
        defect = InternalError("serving the client failed; the log has the details")
        record.finish(defect)
        if _expects_answer(visit):
            _answer(visit.client, visit.reply.refusal(defect, record), proxy, slot)
            return
    _hang_up(visit)


def _expects_answer(visit: Visit) -> bool:
    """Tell whether the client still waits for an answer in its protocol, and nobody else has its socket."""
    is_open = visit.request is not None and visit.request.is_established
    return not is_open and visit.slot.carrying is None and visit.client.fileno() >= 0


def _finish(visit: Visit, refusal: Refused) -> None:
    if visit.record is not None:
        visit.record.finish(refusal)


def _hang_up(visit: Visit) -> None:
    visit.client.close()
    visit.slot.release()


class LastWord:
    """Carries nothing but our answer: a drain lets it linger, and its end ends it."""

    __slots__ = ("_transport",)

    def __init__(self, transport: SocketTransport) -> None:
        """Know what to end."""
        self._transport = transport

    def drain(self) -> None:
        """Go on: it is the last that this client hears."""

    def abort(self) -> None:
        """Wait no longer for the client to have read it."""
        self._transport.abort()

    def review(self) -> None:
        """No policy says otherwise."""


def _answer(client: socket.socket, answer: bytes, proxy: Proxy, slot: Slot) -> None:
    """Give a last word and close in stages, so that it is read: an unread ClientHello would turn the end into a reset."""
    farewell = LingeringClose(slot.release)
    transport = SocketTransport(client, farewell, proxy.limits.buffer_bytes)
    slot.carrying = LastWord(transport)
    if not answer:
        transport.abort()
        return
    transport.write(answer)
    farewell.take_over(transport)
