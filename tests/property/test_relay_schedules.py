"""HTTP/1.1 through the proxy, both peers doing anything at any time: pieces, pipelines, half-closes, cuts, rubbish.

::

    requests of the client --- send some bytes | end | cut | stop reading ---> proxy ---> parsed by the origin
    parsed by the client <--- proxy <--- head | piece | chunk | end | interim | close | cut | rubbish --- the origin

Each request has a number in its path, and each answer is made of that number, so that whatever arrives says whose it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pinproxy.errors import UpstreamClosed
from pinproxy.http1.head import RequestHead
from pinproxy.http1.stream import End, RequestReader, ResponseReader, Signal
from pinproxy.limits import Limits
from tests.harness.running import RunningProxy, running_proxy
from tests.harness.socket_pairs import reset

LENGTH = 20
"""Of every body, of requests and answers."""

KINDS = ["GET", "GET", "POST", "CHUNKED", "OLD"]
State = Literal["open", "ended", "left", "over", "cut"]
FROM_CLIENT = ["send", "send", "send all", "send all", "end", "stop reading", "read on", "leave"]
FROM_ORIGIN = ["answer", "answer", "answer", "interim", "head", "piece", "piece", "chunked", "last", "close", "cut", "rubbish"]
REQUESTS = st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)
SCHEDULES = st.lists(st.sampled_from(FROM_CLIENT + FROM_ORIGIN), max_size=30)


def body_of(number: int) -> bytes:
    """Write the body that belongs to a request, either way."""
    return b"%d" % number * LENGTH


def request_of(kind: str, number: int, port: int) -> bytes:
    """Write a request; an `OLD` one is of HTTP/1.0, whose answer may end with the connection alone."""
    method, minor = (b"GET", kind == "GET") if kind in {"GET", "OLD"} else (b"POST", 1)
    head = b"%b http://127.0.0.1:%d/%d HTTP/1.%d\r\nHost: 127.0.0.1:%d\r\n" % (method, port, number, minor, port)
    if kind == "POST":
        return head + b"Content-Length: %d\r\n\r\n%b" % (LENGTH, body_of(number))
    if kind == "CHUNKED":
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (LENGTH, body_of(number))
    return head + b"\r\n"


@dataclass
class Received:
    """A message as far as it came: the number it is about, what came of its body, and whether its end came."""

    number: int
    body: bytes = b""
    is_whole: bool = False
    code: str = ""


def receive(sock: socket.socket) -> tuple[bytes, State]:
    """Read what has come by now, and how it stands."""
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except BlockingIOError:
        return data, "open"
    except OSError:
        return data, "cut"
    return data, "over"


class OriginConnection:
    """One connection that the origin has.

    Attributes:
        sock: Its socket; None once the origin has closed it.
        requests: What was asked on it.
        said: What was said in answer to each, without framing.
        finished: What was answered to the end.
        touched: What any byte was said to.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Listen; nothing was asked yet."""
        sock.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
        self.sock: socket.socket | None = sock
        self.requests: list[Received] = []
        self.said: dict[int, bytes] = {}
        self.finished: set[int] = set()
        self.touched: set[int] = set()
        self._reader = RequestReader(2**16)
        self._is_chunked = False

    def read(self) -> None:
        """Take what has come."""
        if self.sock is not None:
            self._reader.feed(receive(self.sock)[0])
        while not isinstance(event := self._reader.next_event(), Signal):
            if isinstance(event, RequestHead):
                self.requests.append(Received(int(event.target.removeprefix(b"/"))))
            elif isinstance(event, bytes):
                self.requests[-1].body += event
            else:
                self.requests[-1].is_whole = True

    def act(self, action: str) -> None:
        """Do one thing; what makes no sense now is left undone."""
        number = self.requests[-1].number if self.requests else -1
        is_begun = number in self.said and number not in self.finished
        if self.sock is None:
            return
        if action == "close":
            self.sock.close()
            self.sock = None
        elif action == "cut":
            reset(self.sock)
            self.sock = None
        elif action == "rubbish" and (self._is_chunked or not is_begun):
            self._send(b"\x16\x03\x01 no answer\r\n\r\n")
        elif is_begun:
            self._go_on(action, number)
        elif number >= 0 and number not in self.finished:
            self._begin(action, number)

    def _begin(self, action: str, number: int) -> None:
        if action == "interim":
            self._send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        elif action == "answer":
            self.said[number] = body_of(number)
            self.finished.add(number)
            self._send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (LENGTH, body_of(number)))
        elif action in {"head", "chunked"}:
            self.said[number] = b""
            self._is_chunked = action == "chunked"
            framing = b"Transfer-Encoding: chunked" if self._is_chunked else b"Content-Length: %d" % LENGTH
            self._send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)

    def _go_on(self, action: str, number: int) -> None:
        piece = body_of(number)[len(self.said[number]) :][:7]
        if action == "piece" and piece:
            self.said[number] += piece
            self._send(b"%x\r\n%b\r\n" % (len(piece), piece) if self._is_chunked else piece)
        elif action == "last" and self._is_chunked:
            self._send(b"0\r\n\r\n")
            self.finished.add(number)
        if not self._is_chunked and len(self.said[number]) == LENGTH:
            self.finished.add(number)

    def _send(self, data: bytes) -> None:
        assert self.sock is not None
        self.touched.update(request.number for request in self.requests[-1:])
        with contextlib.suppress(OSError):
            self.sock.sendall(data)


class Client:
    """The client's side: a row of requests, sent in whatever pieces.

    Attributes:
        received: Every byte of the answers.
        state: `open`; its direction is `ended`; it has `left`; the proxy has ended it in good order, `over`, or has `cut` it.
    """

    def __init__(self, sock: socket.socket, stream: bytes) -> None:
        """Begin to send a row of requests."""
        sock.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
        self.sent = 0
        self.received = b""
        self.state: State = "open"
        self._sock = sock
        self._stream = stream
        self._is_reading = True
        self._is_cut = False

    def act(self, action: str) -> None:
        """Do one thing."""
        if self.state in {"left", "over", "cut"}:
            return
        if action in {"send", "send all"} and self.state == "open":
            end = self.sent + 25 if action == "send" else len(self._stream)
            self._try(lambda: self._sock.sendall(self._stream[self.sent : end]))
            self.sent = min(end, len(self._stream))
        elif action == "end" and self.state == "open":
            self._try(lambda: self._sock.shutdown(socket.SHUT_WR))
            self.state = "ended"
        elif action == "leave":
            reset(self._sock)
            self.state = "left"
        elif action in {"stop reading", "read on"}:
            self._is_reading = action == "read on"

    def _try(self, step: Callable[[], None]) -> None:
        """Take a step; the kernel tells of a cut once, and here it may be."""
        try:
            step()
        except OSError:
            self._is_cut = True

    def read(self) -> None:
        """Take what has come."""
        if self._is_reading and self.state not in {"left", "over", "cut"}:
            data, state = receive(self._sock)
            self.received += data
            if state != "open":
                self.state = "cut" if self._is_cut else state
                self._sock.close()

    def answers(self, kinds: list[str]) -> list[Received]:
        """Read the answers by their framing; none may be malformed, and nothing may follow a refusal."""
        rest, found = self.received, []
        for number, kind in enumerate(kinds):
            reader = ResponseReader(2**16)
            reader.expect(b"POST" if kind in {"POST", "CHUNKED"} else b"GET")
            reader.feed(rest)
            answer = read_answer(reader, number)
            if self.state == "over" and not answer.is_whole:
                reader.feed_eof()
                with contextlib.suppress(UpstreamClosed):  # cut short
                    answer.is_whole = isinstance(reader.next_event(), End)
            rest = reader.take_rest()
            found.append(answer)
            if answer.code or not answer.is_whole:
                break
        assert not rest or not found[-1].is_whole
        return found


def read_answer(reader: ResponseReader, number: int) -> Received:
    """Read an answer as far as it came."""
    answer = Received(number)
    while not isinstance(event := reader.next_event(), Signal | End):
        if isinstance(event, bytes):
            answer.body += event
        else:
            answer.code = (event.get(b"x-pinproxy-error") or b"").decode()
    answer.is_whole = isinstance(event, End)
    return answer


@dataclass
class Stage:
    """A proxy, and a port where its upstreams are."""

    proxy: RunningProxy
    listener: socket.socket

    async def play(self, kinds: list[str], schedule: list[str]) -> None:
        """Let both peers do what the schedule says, then end whatever is open, and look at what came of it."""
        port = self.listener.getsockname()[1]
        stream = b"".join(request_of(kind, number, port) for number, kind in enumerate(kinds))
        origins: list[OriginConnection] = []
        with socket.create_connection(("127.0.0.1", self.proxy.port)) as sock:
            client = Client(sock, stream)
            for action in schedule:
                if action in FROM_CLIENT:
                    client.act(action)
                elif origins:
                    origins[-1].act(action)
                await self._settle(client, origins)
            client.act("read on")
            client.act("end")
            async with asyncio.timeout(10):
                while client.state in {"open", "ended"} or len(self.proxy.server._proxy.live):
                    for origin in origins:
                        origin.act("close")
                    await self._settle(client, origins)
        for origin in origins:
            origin.act("close")
        check(kinds, client, origins)

    async def _settle(self, client: Client, origins: list[OriginConnection]) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                origins.append(OriginConnection(self.listener.accept()[0]))
        for origin in origins:
            origin.read()
        client.read()


def check(kinds: list[str], client: Client, origins: list[OriginConnection]) -> None:
    """Hold what arrived on both sides against what was sent."""
    # 1. One request in is never two out, but for the one retry that RFC 9112 §9.3.1 allows; and nothing is added to it.
    for number, kind in enumerate(kinds):
        carried = [origin for origin in origins if any(request.number == number for request in origin.requests)]
        for earlier in carried[:-1]:
            assert kind in {"GET", "OLD"}
            assert earlier.requests[0].number != number
            assert number not in earlier.touched
        assert len(carried) <= 2
    for origin in origins:
        numbers = [request.number for request in origin.requests]
        assert numbers == sorted(set(numbers))
        for request in origin.requests:
            body = body_of(request.number) if kinds[request.number] in {"POST", "CHUNKED"} else b""
            assert body.startswith(request.body)
            assert request.body == body or not request.is_whole
    # 2. Every answer belongs to its request, is what the origin said, and is whole only if it was.
    for answer in client.answers(kinds):
        if answer.code or not (answer.body or answer.is_whole):
            continue
        said = next(origin for origin in origins if answer.number in origin.said)
        assert said.said[answer.number].startswith(answer.body)
        if answer.is_whole:
            assert answer.number in said.finished
            assert answer.body == said.said[answer.number]


class Theatre:
    """One proxy and one port for many plays, on an event loop of their own."""

    def __init__(self) -> None:
        self.defects: list[str] = []
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._stack = contextlib.AsyncExitStack()
        self._stage = self._runner.run(self._open())

    async def _open(self) -> Stage:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self.defects.append(str(context)))
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)  # noqa: FBT003 - the stdlib takes it by position only
        proxy = await self._stack.enter_async_context(running_proxy(unlisted="allow", limits=Limits(allow_private=True)))
        return Stage(proxy, listener)

    def play(self, kinds: list[str], schedule: list[str]) -> None:
        """Play one schedule."""
        self._runner.run(self._stage.play(kinds, schedule))

    def close(self) -> None:
        """End the proxy and the loop."""
        self._runner.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    """Open it for all the plays of a test: each takes some milliseconds that way."""
    opened = Theatre()
    yield opened
    opened.close()


@pytest.mark.attack(
    "pieces, pipelines, half-closes, cuts and rubbish from both peers in any order",
    expect=("neutralise", "cut"),
    topic="faults",
    motive="CVE-2026-111750",
)
@settings(deadline=None, max_examples=200)
@given(REQUESTS, SCHEDULES)
@example(["GET", "GET"], ["send all", "answer", "close"])
@example(["GET", "POST"], ["send all", "answer", "close"])
@example(["OLD"], ["send all", "chunked", "piece", "close"])
@example(["CHUNKED"], ["send", "send", "send", "send", "answer"])
def test_whatever_the_peers_do_each_answer_is_of_its_request_and_whole_only_if_it_was(
    theatre: Theatre, kinds: list[str], schedule: list[str]
) -> None:
    """No request goes out twice, none is answered with the answer of another, and what was cut short looks cut short."""
    theatre.play(kinds, schedule)
    assert theatre.defects == []
