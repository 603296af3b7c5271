"""The record layer in plaintext: bytes to records, records to handshake messages (RFC 8446 §5.1, RFC 5246 §6.2.1).

Rules of this file:
- A peer may cut its messages anywhere: several in one record, one over many records, records of one byte.
- Both readers are incremental: each byte is looked at once, however it arrives.
- Everything is bounded before it is kept; a length field alone never makes us wait for more than the bound.
- Nothing is decrypted here: whoever drives a reader stops where encryption begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from pinproxy.errors import TlsSyntaxError

TLS12 = 0x0303
TLS13 = 0x0304

_HEADER_BYTES = 5
_MESSAGE_HEADER_BYTES = 4
# > The record layer fragments information blocks into TLSPlaintext records carrying data in chunks of 2^14 bytes or
# > less.
_FRAGMENT_BYTES = 2**14


class ContentType(IntEnum):
    """What a record carries (RFC 8446 §5.1)."""

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23


class HandshakeType(IntEnum):
    """The handshake messages that travel in plaintext (RFC 5246 §7.4, RFC 5077 §3.3, RFC 6066 §8)."""

    HELLO_REQUEST = 0
    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    NEW_SESSION_TICKET = 4
    CERTIFICATE = 11
    SERVER_KEY_EXCHANGE = 12
    CERTIFICATE_REQUEST = 13
    SERVER_HELLO_DONE = 14
    CERTIFICATE_STATUS = 22


@dataclass(frozen=True, slots=True)
class Record:
    """One TLSPlaintext record; `fragment` is without the header."""

    content_type: ContentType
    fragment: bytes


@dataclass(frozen=True, slots=True)
class HandshakeMessage:
    """One handshake message; `kind` is its type on the wire and `body` is without the header."""

    kind: int
    body: bytes


class RecordReader:
    """Cut a byte stream into records.

    Feed it, then take records until None. Bytes behind the last record taken are of no concern: they count towards the
    bound only when a further record is asked for.
    """

    __slots__ = ("_buffer", "_max_bytes", "_taken_bytes")

    def __init__(self, max_bytes: int) -> None:
        """Allow at most `max_bytes` of records, headers included."""
        self._buffer = bytearray()
        self._max_bytes = max_bytes
        self._taken_bytes = 0

    def feed(self, data: bytes) -> None:
        """Add what arrived, in any portion."""
        self._buffer += data

    @property
    def taken_bytes(self) -> int:
        """Bytes of the records taken so far, headers included."""
        return self._taken_bytes

    def next_record(self) -> Record | None:
        """Take the next record; None while it is incomplete.

        Raises:
            TlsSyntaxError: The bytes are no record of TLS in plaintext, or go over the bound.
        """
        buffer = self._buffer
        if buffer and buffer[0] not in _CONTENT_TYPES:
            raise TlsSyntaxError(f"a record of type {buffer[0]}, expected 20 to 23")
        # The minor version is ignored, as RFC 8446 §5.1 asks; a major version other than 3 is no TLS at all.
        if len(buffer) > 1 and buffer[1] != TLS12 >> 8:
            raise TlsSyntaxError(f"a record of version {buffer[1]}.x, expected 3.x")
        if len(buffer) < _HEADER_BYTES:
            self._refuse_over_bound(len(buffer))
            return None
        content_type = ContentType(buffer[0])
        size = buffer[3] << 8 | buffer[4]
        if size > _FRAGMENT_BYTES:
            raise TlsSyntaxError(f"a record of {size} bytes, expected {_FRAGMENT_BYTES} at most")
        # > Implementations MUST NOT send zero-length fragments of Handshake types, even if those fragments contain
        # > padding.
        if not size and content_type != ContentType.APPLICATION_DATA:
            raise TlsSyntaxError("a record without content")
        self._refuse_over_bound(_HEADER_BYTES + size)
        if len(buffer) < _HEADER_BYTES + size:
            return None
        fragment = bytes(buffer[_HEADER_BYTES : _HEADER_BYTES + size])
        del buffer[: _HEADER_BYTES + size]
        self._taken_bytes += _HEADER_BYTES + size
        return Record(content_type, fragment)

    def _refuse_over_bound(self, further_bytes: int) -> None:
        if self._taken_bytes + further_bytes > self._max_bytes:
            raise TlsSyntaxError(f"a handshake over {self._max_bytes} bytes")


_CONTENT_TYPES = frozenset(ContentType)


class MessageReader:
    """Join the fragments of handshake records into messages."""

    __slots__ = ("_buffer", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        """Allow at most `max_bytes` for one message."""
        self._buffer = bytearray()
        self._max_bytes = max_bytes

    @property
    def is_between_messages(self) -> bool:
        """Whether no part of a message is waiting for its rest."""
        return not self._buffer

    def feed(self, fragment: bytes) -> None:
        """Add the fragment of the next handshake record."""
        self._buffer += fragment

    def next_message(self) -> HandshakeMessage | None:
        """Take the next message; None while it is incomplete.

        Raises:
            TlsSyntaxError: Its length field goes over the bound.
        """
        buffer = self._buffer
        if len(buffer) < _MESSAGE_HEADER_BYTES:
            return None
        size = int.from_bytes(buffer[1:_MESSAGE_HEADER_BYTES], "big")
        if size > self._max_bytes:
            raise TlsSyntaxError(f"a handshake message of {size} bytes, expected {self._max_bytes} at most")
        end = _MESSAGE_HEADER_BYTES + size
        if len(buffer) < end:
            return None
        message = HandshakeMessage(buffer[0], bytes(buffer[_MESSAGE_HEADER_BYTES:end]))
        del buffer[:end]
        return message
