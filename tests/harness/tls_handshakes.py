"""Real TLS handshakes in memory, with every byte kept, for tests that read the wire."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache

import trustme


@dataclass(frozen=True)
class Handshake:
    """What each side sent, up to and including the handshake's end and the server's tickets."""

    client_bytes: bytes
    server_bytes: bytes
    client_session: ssl.SSLSession | None
    leaf_der: bytes
    alpn: str | None
    version: str | None


@lru_cache
def authority() -> trustme.CA:
    """The test CA (EC), made once."""
    return trustme.CA()


@lru_cache
def server_certificate(kind: str) -> trustme.LeafCert:
    """A leaf for `api.example.com` with an `EC` or `RSA` key, made once."""
    return authority().issue_cert("api.example.com", key_type=trustme.KeyType[kind.replace("EC", "ECDSA")])


def server_context(kind: str = "EC", version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """A server that speaks up to `version`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    server_certificate(kind).configure_cert(context)
    return context


def client_context(*protocols: str) -> ssl.SSLContext:
    """A client that trusts the test CA and offers these ALPN protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def shake_hands(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
    server_hostname: str | None = "api.example.com",
) -> Handshake:
    """Complete a handshake, one flight after the other."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    from_client, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(to_client, from_client, server_hostname=server_hostname, session=session)
    server_side = server.wrap_bio(to_server, from_server, server_side=True)
    client_bytes, server_bytes = bytearray(), bytearray()
    waiting = {client_side, server_side}
    for _ in range(10):
        for side in (client_side, server_side):
            if side in waiting:
                try:
                    side.do_handshake()
                    waiting.discard(side)
                except ssl.SSLWantReadError:
                    pass
            client_flight, server_flight = from_client.read(), from_server.read()
            client_bytes += client_flight
            server_bytes += server_flight
            to_server.write(client_flight)
            to_client.write(server_flight)
    assert not waiting
    server_side.write(b"x")  # TLS 1.3 tickets come with the first data
    to_client.write(from_server.read())
    assert client_side.read(1) == b"x"
    return Handshake(
        client_bytes=bytes(client_bytes),
        server_bytes=bytes(server_bytes),
        client_session=client_side.session,
        leaf_der=client_side.getpeercert(binary_form=True) or b"",
        alpn=client_side.selected_alpn_protocol(),
        version=client_side.version(),
    )


def client_hello_bytes(context: ssl.SSLContext, server_hostname: str | None = "api.example.com") -> bytes:
    """What a client sends first."""
    sent = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=server_hostname).do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("a handshake without a server")


def refragment(flight: bytes, size: int) -> bytes:
    """Cut plaintext handshake records into records of at most `size` bytes of content; leave other records alone."""
    cut = bytearray()
    at = 0
    while at < len(flight):
        header, end = flight[at : at + 3], at + 5 + int.from_bytes(flight[at + 3 : at + 5], "big")
        content = flight[at + 5 : end]
        step = size if header[0] == 22 else max(len(content), 1)
        for start in range(0, len(content), step):
            piece = content[start : start + step]
            cut += header + len(piece).to_bytes(2, "big") + piece
        at = end
    return bytes(cut)


def with_extensions(hello: bytes, *further: tuple[int, bytes], without: int | None = None) -> bytes:
    """Rebuild a ClientHello of one record with extensions put in front, or one left out."""
    body = hello[9:]
    at = 34 + 1 + body[34]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    found, start = [*further], at + 2
    while start < len(body):
        kind, size = int.from_bytes(body[start : start + 2], "big"), int.from_bytes(body[start + 2 : start + 4], "big")
        if kind != without:
            found.append((kind, body[start + 4 : start + 4 + size]))
        start += 4 + size
    block = b"".join(kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for kind, data in found)
    message = body[:at] + len(block).to_bytes(2, "big") + block
    content = b"\x01" + len(message).to_bytes(3, "big") + message
    return b"\x16\x03\x01" + len(content).to_bytes(2, "big") + content
