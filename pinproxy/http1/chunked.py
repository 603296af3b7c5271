"""The chunked transfer coding (RFC 9112 §7.1), read strictly and without overrunning its end.

llhttp reads it too, but does not say where it stopped, and what stands behind is the next message or another protocol.
"""

from __future__ import annotations

import re
from typing import Final

from pinproxy.errors import Refused
from pinproxy.http1.diagnosis import why_section
from pinproxy.http1.grammar import MAX_FIELDS, MAX_LENGTH, TOKEN, Side
from pinproxy.http1.head import Fields

MAX_EXTENSION_BYTES: Final = 4096
"""Chunk extensions of a whole message. Nobody uses them; unbounded, they are an endless head (CVE-2023-39326)."""

# > chunk-size = 1*HEXDIG
# > chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
# > chunk-ext-val = token / quoted-string
# Stricter: 16 digits hold any size there is, and a quoted string is ASCII.
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t\x20-\x7e])*+"'
_EXTENSION: Final = rb"[ \t]*+;[ \t]*+" + TOKEN + rb"(?:[ \t]*+=[ \t]*+(?:" + TOKEN + rb"|" + _QUOTED + rb"))?+"
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16}+)((?:" + _EXTENSION + rb")*+)")
_MAX_CHUNK_LINE: Final = 16 + MAX_EXTENSION_BYTES

# > a sender MUST NOT generate a trailer field unless the sender knows the corresponding header field name's definition
# > permits it […] fields that are used for message framing, routing, request modifiers, authentication, response
# > control data, or determining how to process the content (RFC 9110 §6.5.1)
_NOT_IN_TRAILERS: Final = frozenset(
    # framing, routing and hop-by-hop
    b"connection content-length host keep-alive proxy-authenticate proxy-authentication-info proxy-authorization "
    b"proxy-connection te trailer transfer-encoding upgrade via forwarded "
    b"x-forwarded-for x-forwarded-host x-forwarded-proto "
    # request modifiers
    b"cache-control expect if-match if-modified-since if-none-match if-range if-unmodified-since "
    b"max-forwards pragma range "
    # authentication
    b"authorization cookie set-cookie www-authenticate "
    # response control data
    b"age date expires location retry-after vary warning "
    # how to process the content
    b"content-encoding content-range content-type".split()
)


class ChunkedDecoder:
    """Decode one chunked body, however it is cut into pieces.

    Attributes:
        is_done: Whether the body and its trailer section are complete.
        trailers: The trailer fields, once done, without those that may not stand there.
    """

    __slots__ = (
        "_awaits_crlf",
        "_dropped",
        "_extension_bytes",
        "_in_trailers",
        "_left",
        "_side",
        "_trailer_bytes",
        "is_done",
        "trailers",
    )

    def __init__(self, side: Side, trailer_bytes: int, hop_by_hop: frozenset[bytes] = frozenset()) -> None:
        """Start before the first chunk.

        Args:
            side: Which refusals to raise: `grammar.REQUESTS` or `grammar.RESPONSES`.
            trailer_bytes: Bound of the trailer section, its empty line included.
            hop_by_hop: Further names, in lower case, to drop from the trailers: what the Connection field names.
        """
        self._side = side
        self._dropped = _NOT_IN_TRAILERS | hop_by_hop
        self._trailer_bytes = trailer_bytes
        self._left = 0
        self._awaits_crlf = False
        self._in_trailers = False
        self._extension_bytes = 0
        self.is_done = False
        self.trailers: Fields = ()

    def feed(self, data: bytes, start: int = 0) -> tuple[bytes, int]:
        """Decode from `start` on, as far as whole elements go.

        Args:
            data: What has arrived; what an earlier call left over stands at `start`.
            start: Offset of the first byte not yet consumed.

        Returns:
            The decoded bytes, and the offset of the first byte not consumed: the beginning of an incomplete line, or,
            once `is_done`, exactly what follows the message.

        Raises:
            Refused: A byte is not as the grammar says or a bound is exceeded; which class is the side's business. Bytes
                decoded before the fault are returned first, and the next call raises.
        """
        parts: list[bytes] = []
        at = start
        while not self.is_done:
            try:
                end = self._take(data, at, parts)
            except Refused:
                if parts:
                    break
                raise
            if end == at:
                break
            at = end
        return parts[0] if len(parts) == 1 else b"".join(parts), at

    def _take(self, data: bytes, at: int, parts: list[bytes]) -> int:
        """Take one element (data, its CRLF, a chunk line, the trailers) and return its end; `at` if it is incomplete."""
        if self._left:
            piece = data[at : at + self._left]
            if piece:
                parts.append(piece)
                self._left -= len(piece)
                self._awaits_crlf = not self._left
            return at + len(piece)
        if self._awaits_crlf:
            return self._take_crlf(data, at)
        if self._in_trailers:
            return self._take_trailers(data, at)
        return self._take_chunk_line(data, at)

    def _take_crlf(self, data: bytes, at: int) -> int:
        # > chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
        if len(data) - at < 2:
            return at
        if data[at : at + 2] != b"\r\n":
            raise self._side.malformed("chunk data is not followed by CRLF")
        self._awaits_crlf = False
        return at + 2

    def _take_chunk_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at, at + _MAX_CHUNK_LINE + 2)
        if end < 0:
            if len(data) - at >= _MAX_CHUNK_LINE + 2:
                raise self._side.malformed(f"a chunk line is over {_MAX_CHUNK_LINE} bytes")
            return at
        match = _CHUNK_LINE.fullmatch(data, at, end)
        if match is None:
            raise self._side.malformed("a chunk line is not a hexadecimal size with optional extensions")
        size = int(match[1], 16)
        # > Recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to integer
        # > conversion overflows or precision loss due to integer representation.
        if size > MAX_LENGTH:
            raise self._side.malformed("a chunk is over 2^63-1 bytes")
        # > A server ought to limit the total length of chunk extensions received in a request to an amount reasonable
        # > for the services provided
        extension_bytes = self._extension_bytes + len(match[2])
        if extension_bytes > MAX_EXTENSION_BYTES:
            raise self._side.malformed(f"the chunk extensions of the message are over {MAX_EXTENSION_BYTES} bytes")
        self._extension_bytes = extension_bytes
        self._left = size
        self._in_trailers = not size
        return end + 2

    def _take_trailers(self, data: bytes, at: int) -> int:
        # > trailer-section = *( field-line CRLF )
        if data.startswith(b"\r\n", at):
            self.is_done = True
            return at + 2
        end = data.find(b"\r\n\r\n", at, at + self._trailer_bytes) + 4
        if end < 4:
            if len(data) - at >= self._trailer_bytes:
                raise self._side.too_large(f"the trailer section is over {self._trailer_bytes} bytes")
            return at
        section = data[at:end]
        self.trailers = self._parse_trailers(section)
        self.is_done = True
        return end

    def _parse_trailers(self, section: bytes) -> Fields:
        if not self._side.field_section.fullmatch(section):
            raise self._side.malformed("in the trailer section, " + why_section(section, self._side))
        lines = section[:-4].split(b"\r\n")
        if len(lines) > MAX_FIELDS:
            raise self._side.too_large(f"the trailers have {len(lines)} field lines; at most {MAX_FIELDS} are read")
        pairs = (line.partition(b":") for line in lines)
        return tuple((name, value.strip(b" \t")) for name, _, value in pairs if name.lower() not in self._dropped)
