"""The presentation language of TLS: numbers and vectors with a length in front (RFC 8446 §3).

Every read is bounds-checked, and `end` proves that nothing is left over: a length that two readers could take
differently is a refusal, never a guess.
"""

from __future__ import annotations

import struct

from pinproxy.errors import TlsSyntaxError

_EXTENSION_HEADER = struct.Struct("!HH")  # its type, and its length


class Fields:
    """A cursor over one structure; `what` names it in every message."""

    __slots__ = ("_at", "_data", "what")

    def __init__(self, data: bytes, what: str) -> None:
        """Start at the first byte of `data`."""
        self._data = data
        self._at = 0
        self.what = what

    @property
    def is_empty(self) -> bool:
        """Whether every byte has been read."""
        return self._at == len(self._data)

    def number(self, size: int) -> int:
        """Read an unsigned big-endian number of `size` bytes."""
        return int.from_bytes(self.opaque(size), "big")

    def opaque(self, size: int) -> bytes:
        """Read exactly `size` bytes.

        Raises:
            TlsSyntaxError: Fewer are left.
        """
        start = self._at
        end = start + size
        if end > len(self._data):
            raise TlsSyntaxError(f"{self.what}: {size} bytes announced, {len(self._data) - start} left")
        self._at = end
        return self._data[start:end]

    def vector(self, length_size: int, minimum: int = 0, maximum: int | None = None) -> bytes:
        """Read `opaque v<minimum..maximum>`: a length of `length_size` bytes, then that many bytes.

        Args:
            length_size: Bytes of the length field: 1, 2 or 3.
            minimum: Smallest length allowed.
            maximum: Largest length allowed; None is whatever the length field can say.

        Raises:
            TlsSyntaxError: The length is out of bounds, or points past the end.
        """
        size = int.from_bytes(self.opaque(length_size), "big")
        if size < minimum or (maximum is not None and size > maximum):
            bounds = f"at least {minimum}" if maximum is None else f"{minimum} to {maximum}"
            raise TlsSyntaxError(f"{self.what}: a vector of {size} bytes, expected {bounds}")
        return self.opaque(size)

    def end(self) -> None:
        """Refuse bytes behind the last field.

        Raises:
            TlsSyntaxError: Some are left.
        """
        if not self.is_empty:
            raise TlsSyntaxError(f"{self.what}: {len(self._data) - self._at} bytes behind its end")


def numbers(data: bytes, what: str) -> tuple[int, ...]:
    """Split a vector of 16-bit numbers.

    Raises:
        TlsSyntaxError: Its length is odd.
    """
    if len(data) % 2:
        raise TlsSyntaxError(f"{what}: {len(data)} bytes, expected 16-bit numbers")
    return struct.unpack(f"!{len(data) // 2}H", data)


def extensions(fields: Fields) -> dict[int, bytes]:
    """Read an extension block that ends its message, in the order of the wire (RFC 8446 §4.2).

    Raises:
        TlsSyntaxError: A bad length, bytes behind the block, or a type that occurs twice.
    """
    block = fields.vector(2)
    fields.end()
    found: dict[int, bytes] = {}
    at = 0
    block_bytes = len(block)
    # The hottest loop of a tunnel's start: it costs a fifth of what a cursor does.
    while at < block_bytes:
        start = at + _EXTENSION_HEADER.size
        if start > block_bytes:
            raise TlsSyntaxError(f"{fields.what}: {block_bytes - at} bytes behind the last extension")
        kind, size = _EXTENSION_HEADER.unpack_from(block, at)
        at = start + size
        if at > block_bytes:
            raise TlsSyntaxError(f"{fields.what}: extension {kind} reaches past the end of the block")
        # > There MUST NOT be more than one extension of the same type in a given extension block.
        if kind in found:
            raise TlsSyntaxError(f"{fields.what}: extension {kind} occurs twice")
        found[kind] = block[start:at]
    return found
