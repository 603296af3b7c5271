"""A WebSocket through CONNECT: an upgrade inside the client's TLS, then frames both ways."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.clients.stage import BROKEN_PROMISES, ConnectMode, kept_promise, staged
from tests.clients.table import SCRIPTS
from tests.harness.origin import running_origin
from tests.harness.pki import server_context
from tests.harness.running import HOST

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

SIZES = (0, 125, 70_000, 2**20)
CLIENT = [sys.executable, str(SCRIPTS / "echo_websocket.py"), f"wss://{HOST}/echo", *map(str, SIZES)]


async def echo_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak for the origin: accept the upgrade, send each message back, answer the close."""
    protocol = ServerProtocol(max_size=None)
    while data := await reader.read(65_536):
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                protocol.send_text(bytes(event.data))
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                protocol.send_binary(bytes(event.data))
        for answer in protocol.data_to_send():
            writer.write(answer)
        await writer.drain()
        if protocol.close_expected():
            return


async def test_messages_of_every_frame_size_come_back(connect_mode: ConnectMode, tmp_path: Path) -> None:
    """Frames with 7, 16 and 64 bit lengths (RFC 6455 §5.2) pass both ways, and so does the closing handshake."""
    promise = kept_promise()
    async with (
        running_origin(server_context(promise.leaf, alpn=("http/1.1",)), echo_frames) as origin,
        staged(tmp_path, connect_mode, promise, origin.port) as stage,
    ):
        outcome = await stage.run(CLIENT)
        assert outcome.code == 0, outcome
        assert outcome.stdout.split() == ["5", *map(str, SIZES)]
        (line,) = await stage.assert_allowed(connect_mode.name)
        assert min(line["bytes_up"], line["bytes_down"]) > sum(SIZES)


@pytest.mark.parametrize("code", BROKEN_PROMISES)
async def test_no_upgrade_is_asked_of_an_origin_that_breaks_its_promise(
    code: str, connect_mode: ConnectMode, tmp_path: Path
) -> None:
    """The twin: the upgrade, which carries a session's cookies, is never sent."""
    promise = BROKEN_PROMISES[code]()
    async with (
        running_origin(server_context(promise.leaf, alpn=("http/1.1",)), echo_frames) as origin,
        staged(tmp_path, connect_mode, promise, origin.port) as stage,
    ):
        outcome = await stage.run(CLIENT)
        assert outcome.code != 0, outcome
        await stage.assert_denied(connect_mode.name, code)
        assert bytes(origin.received) == b""
