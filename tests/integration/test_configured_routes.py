"""Routes and UNIX sockets of the whole program, as the operator writes them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pinproxy.authority import Authority
from pinproxy.net.unix_socket import UnixAddress
from tests.harness.clients import Answer, get_head, read_answer
from tests.harness.configured import configured_proxy
from tests.harness.origin import running_origin
from tests.harness.originating import certificates
from tests.harness.pki import Issued, make_leaf, server_context
from tests.harness.routes import connect_to
from tests.harness.running import HOST

ROOT, LEAF = certificates()
OTHER = make_leaf(ROOT, HOST)


def ask(address: Authority | UnixAddress, target: str = "/") -> Answer | None:
    """Send one GET; None: the connection was cut."""
    try:
        with connect_to(address) as sock:
            sock.sendall(get_head(target, further="Connection: close\r\n"))
            return read_answer(sock)
    except (EOFError, ConnectionResetError, BrokenPipeError):
        return None


@pytest.mark.parametrize(
    ("pinned", "statuses"), [(LEAF, [200, 200, 200]), (OTHER, [403, None, 403])], ids=["pinned", "other key"]
)
async def test_every_way_in_meets_the_pins_of_the_file(pinned: Issued, statuses: list[int | None], tmp_path: Path) -> None:
    """A route of each kind and a UNIX socket; none of them is a way around."""
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    socket_path = tmp_path / "proxy.sock"
    async with running_origin(server_context(LEAF)) as origin:
        text = f"""
hosts:
  - host: {HOST}
    trust: {{ca_file: root.pem}}
    upstream: {{address: 127.0.0.1, port: {origin.port}}}
    allow_single_pin: true
    pins: ["{pinned.pin}"]
routes:
  - {{listen: 127.0.0.1:0, to: "{HOST}:443", protocol: http}}
  - {{listen: 127.0.0.1:0, to: "{HOST}:443", protocol: tcp}}
"""
        preamble = f"version: 1\nlisten: [127.0.0.1:0, unix:{socket_path}]\nadmin: null\nlocal_ca: {{publish: null}}\n"
        async with configured_proxy(tmp_path, text, preamble=preamble) as running:
            http, tcp = running.app.server.route_addresses
            answers = [
                await asyncio.to_thread(ask, http),
                await asyncio.to_thread(ask, tcp),
                await asyncio.to_thread(ask, UnixAddress(socket_path), f"http://{HOST}/"),
            ]
        assert [answer and answer.status for answer in answers] == statuses
        assert not socket_path.exists()
        if pinned is OTHER:
            await origin.quiet()
            assert bytes(origin.received) == b""
