"""Tunnel: CONNECT passed through, the client's TLS untouched, and checked as far as it can be seen.

CONNECT api.example.com:443            the client to us
  1. Preflight: a handshake of our own, verified like any other, to one address (`net.preflight`).
  2. Dial the tunnel to exactly that address.
  3. Say 200, and look at the ClientHello: its server name must be the host.
  4. Send the ClientHello on, and nothing behind it: early data waits for the verdict.
  5. Read the server's answer before the client does (`proxy.wire`): TLS 1.2 is verified on the wire; TLS 1.3 cannot be, and is
     refused, or passed with a verdict that is called advisory, as the rule says.
  6. Let the answer go; from here on the kernel moves the bytes.

What this is worth, and what not, stands in docs/guarantees.md.
"""

from __future__ import annotations

import socket

from pinproxy.authority import Authority
from pinproxy.errors import HandshakeTimeout, Refused, TlsHandshakeFailed
from pinproxy.net.client_words import take_from_client, tell_client
from pinproxy.net.peek import PeekedHello
from pinproxy.net.readiness import send_all, wait_readable
from pinproxy.net.socket_relay import SocketRelay
from pinproxy.net.time_limit import time_limit
from pinproxy.net.upstream import Upstream
from pinproxy.policy.rule import HostRule
from pinproxy.proxy.connect import AfterEstablished, ConnectRequest
from pinproxy.proxy.first_flight import read_client_hello, require_sni
from pinproxy.proxy.policy_in_force import verified_otherwise
from pinproxy.proxy.wire import Wire

_READ_BYTES = 16 * 1024


async def tunnel(request: ConnectRequest, rule: HostRule) -> None:
    """Carry a CONNECT to a listed host whose rule says `connect: tunnel`; returns once a relay carries it.

    Args:
        request: What the client asked for.
        rule: The rule of its authority.

    Raises:
        Refused: Before the 200; the client can still be answered in its protocol.
        AfterEstablished: After it; the client can be answered by a TLS alert.
    """
    proxy, record = request.proxy, request.record
    record.mode = "tunnel"
    # 1.
    preflight = await proxy.preflight(request.authority, rule, record, request.dial)
    if preflight.rule.connect != "tunnel":
        raise verified_otherwise(request.authority)
    # 2.
    server = await proxy.opener.connect_for_tunnel(preflight.destination, record)
    try:
        # 3.
        await request.establish()
        try:
            peeked = await read_client_hello(request)
            require_sni(peeked.hello, request.authority)
            # 4. and 5.
            wire = _wire(peeked, preflight, request)
            answer = await _verified_answer(wire, peeked, server, request)
        except Refused as refusal:
            raise AfterEstablished(refusal) from refusal
        # 6.
        await tell_client(request.client, answer)
    except BaseException:
        server.close()
        raise
    record.bytes_up, record.bytes_down = peeked.size_bytes, len(answer)
    relay = SocketRelay(
        request.client, server, proxy.limits, proxy.deadlines, proxy.pipes, tap_up=wire.tap_up, tap_down=wire.tap_down
    )
    relay.start()
    request.hand_over(relay, wire.verified)


def _wire(peeked: PeekedHello, preflight: Upstream, request: ConnectRequest) -> Wire:
    proxy = request.proxy
    return Wire(
        peeked.hello,
        preflight,
        preflights=proxy.preflights,
        sessions=proxy.sessions,
        limits=proxy.limits,
        clock=proxy.clock,
        observer=request.record,
        recall=proxy.reporter.last_good,
    )


async def _verified_answer(wire: Wire, peeked: PeekedHello, server: socket.socket, request: ConnectRequest) -> bytes:
    seconds = request.proxy.limits.handshake_seconds
    # All of it is there: it was peeked at.
    hello = take_from_client(request.client, peeked.size_bytes)
    try:
        with time_limit(seconds):
            await send_all(server, hello)
            return await _held_until_verdict(wire, server, request.authority)
    except TimeoutError as error:
        raise HandshakeTimeout(f"{request.authority} did not answer the ClientHello within {seconds:g} s") from error
    except OSError as error:
        raise TlsHandshakeFailed(f"{request.authority} reset the connection inside its TLS handshake") from error


async def _held_until_verdict(wire: Wire, server: socket.socket, authority: Authority) -> bytes:
    """Read the server's handshake until it is verified; returns all of it, for the client."""
    held = bytearray()
    while not wire.has_verdict:
        try:
            data = server.recv(_READ_BYTES)
        except BlockingIOError:
            await wait_readable(server)
            continue
        if not data:
            raise TlsHandshakeFailed(f"{authority} closed the connection inside its TLS handshake")
        await wire.see(data)
        held += data
    return bytes(held)
