"""The proof that a client accepted a TLS 1.2 handshake, read off the kinds of its records.

The name of a session (its id, its ticket) travels in plaintext, and no signature covers it: whoever sits between us and an
honest server can put the name of another session in its place. Both ends notice when they compare their transcripts in Finished
(RFC 5246 §7.4.9); we cannot, it is encrypted. So a name counts only once the client has gone on: it sends application data that
begins after it was given the server's Finished, where a client that was lied to sends an alert. A client that sends data ahead
of the server's Finished (RFC 7918) may have some more on its way at that moment; for it the proof is as good as its patience.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from pinproxy.tls.records import ContentType

_HEADER_BYTES = 5


class Edge(Enum):
    """A place in a record."""

    BEGINS = auto()
    ENDS = auto()


class RecordEdges:
    """Follows the records of one direction by their headers, which encryption leaves in plaintext (RFC 5246 §6.2.3)."""

    def __init__(self) -> None:
        """Begin at the beginning of a record."""
        self._header = bytearray()
        self._kind = 0
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[Edge, int]]:
        """Add what arrived; returns the records that began and ended in it, by content type."""
        edges: list[tuple[Edge, int]] = []
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
            else:
                step = min(_HEADER_BYTES - len(self._header), len(data) - at)
                self._header += data[at : at + step]
                if len(self._header) == _HEADER_BYTES:
                    self._kind, self._left = self._header[0], int.from_bytes(self._header[3:], "big")
                    self._header.clear()
                    edges.append((Edge.BEGINS, self._kind))
            at += step
            if not self._left and not self._header:
                edges.append((Edge.ENDS, self._kind))
        return edges


class SessionProof:
    """Watches both directions, from the ServerHello and from behind the ClientHello on, until the proof is there or cannot come.

    Attributes:
        has_server_finished: Whether the server's Finished has passed.
        is_settled: Whether there is nothing more to learn from the client.
    """

    def __init__(self, prove: Callable[[], None]) -> None:
        """Call `prove` once, when the client has accepted the handshake."""
        self._prove = prove
        self._down, self._up = RecordEdges(), RecordEdges()
        self._has_cipher_changed = False
        self.has_server_finished = False
        self.is_settled = False

    def see_down(self, data: bytes) -> None:
        """See what the server sends."""
        if self.has_server_finished:
            return
        for edge, kind in self._down.feed(data):
            if edge is Edge.ENDS and kind == ContentType.HANDSHAKE and self._has_cipher_changed:
                self.has_server_finished = True
                return
            self._has_cipher_changed |= kind == ContentType.CHANGE_CIPHER_SPEC

    def see_up(self, data: bytes) -> None:
        """See what the client sends."""
        for edge, kind in self._up.feed(data):
            if self.is_settled or edge is Edge.ENDS:
                continue
            if kind == ContentType.ALERT:
                self.is_settled = True
            elif kind == ContentType.APPLICATION_DATA and self.has_server_finished:
                self.is_settled = True
                self._prove()
