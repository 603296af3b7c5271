"""Every bound a peer can run into, with its default and the reason for it. Values only; nothing here enforces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of size, time and number. Times are seconds, sizes are bytes.

    Attributes:
        head_bytes: Request or response head. 64 KiB holds any real cookie jar; nginx allows 32 KiB, Envoy 60 KiB.
        head_seconds: Until a request head or a ClientHello is complete: a total, not per read, against slow senders.
        dns_seconds: Name resolution; glibc's own default is one try of 5 s.
        connect_seconds: TCP connect over all addresses; three SYNs (1 + 2 + 4 s) fit.
        handshake_seconds: A TLS handshake, either side; a few slow round trips and a slow key fit.
        response_head_seconds: From the end of the request to the response head; HAProxy's and nginx's habit is 60 s.
        idle_seconds: A connection on which nothing moves either way; long polls and quiet WebSockets live for an hour.
        keep_alive_seconds: An idle client connection between two requests; longer than the pool's, so we are not first.
        pool_idle_seconds: An idle pooled upstream connection; below the 60 s and more that most origins allow.
        pool_idle_connections: Idle upstream connections kept for each authority.
        session_seconds: How long an upstream's TLS session is resumed after its full handshake was verified; 0: never. A
            certificate that was renewed meanwhile is seen no later than this; nginx's tickets last 5 minutes, OpenSSL's 2 hours.
        half_closed_seconds: Silence on a connection of which one direction has ended; HAProxy's `timeout client-fin`.
        connections: Client connections at once; each costs up to four descriptors, and 503 beats running out of them.
        drain_seconds: Between SIGTERM and the end; Kubernetes' default grace period is 30 s.
        buffer_bytes: High-water mark of each write buffer: what a slow reader can make us hold for each direction.
        chain_certificates: Certificates a server may present; real chains have 2 to 4 (RFC 5280 sets no bound, and
            path building over adversarial chains is exponential: CVE-2026-69249).
        chain_bytes: DER bytes a server may present in all.
        allow_private: Whether hosts without an entry may lead to addresses that are not globally routable.
    """

    head_bytes: int = 64 * 1024
    head_seconds: float = 10.0
    dns_seconds: float = 5.0
    connect_seconds: float = 10.0
    handshake_seconds: float = 10.0
    response_head_seconds: float = 60.0
    idle_seconds: float = 3600.0
    keep_alive_seconds: float = 75.0
    pool_idle_seconds: float = 50.0
    pool_idle_connections: int = 64
    session_seconds: float = 600.0
    half_closed_seconds: float = 60.0
    connections: int = 10_000
    drain_seconds: float = 30.0
    buffer_bytes: int = 256 * 1024
    chain_certificates: int = 10
    chain_bytes: int = 64 * 1024
    allow_private: bool = False
