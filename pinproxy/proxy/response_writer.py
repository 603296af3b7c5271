"""A response on its way to a client: re-framed where the client's version asks for it, what one read brought in one write."""

from __future__ import annotations

import dataclasses

from pinproxy.http1.fields import add_field, downstream_framing, encode_chunk, encode_last_chunk, forward_response_head
from pinproxy.http1.framing import CHUNKED, NO_BODY, BodyKind, Framing
from pinproxy.http1.head import Fields, ResponseHead
from pinproxy.net.transport import SocketTransport

# What we say of ourselves; an origin that says it, too, would be taken for us.
_OUR_FIELDS = (b"x-pinproxy-id", b"x-pinproxy-error")
_PROXY_STATUS = b"proxy-status"


def _not_ours(fields: Fields) -> Fields:
    """Leave out what only we may say: our own fields, and Proxy-Status members in our name (RFC 9209 §2)."""
    return tuple(
        (name, value)
        for name, value in fields
        if name.lower() not in _OUR_FIELDS and not (name.lower() == _PROXY_STATUS and b"pinproxy" in value.lower())
    )


def _rewrite(head: ResponseHead, framing: Framing, minor: int, keep_alive: bool) -> tuple[Framing, bool, bytes]:
    """Turn an origin's head into what the client gets: how its body goes on, whether the connection lives on, and the bytes.

    Pure, so that it is done once for a head that comes again.
    """
    if any(map(head.get_all, (*_OUR_FIELDS, _PROXY_STATUS))):
        head = dataclasses.replace(head, fields=_not_ours(head.fields))
    framing = downstream_framing(framing, minor)
    keep_alive = keep_alive and framing.kind is not BodyKind.UNTIL_CLOSE
    return framing, keep_alive, forward_response_head(head, framing, client_minor=minor, keep_alive=keep_alive)


class ResponseWriter:
    """Writes the interim heads and the final response of one request.

    Attributes:
        status: Of the final response; None: its head has not come yet.
        keep_alive: Whether the client was told that its connection lives on.
    """

    __slots__ = ("_framing", "_id", "_is_chunked", "_minor", "_pieces", "_transport", "keep_alive", "status")

    def __init__(self, transport: SocketTransport, minor: int, connection_id: str) -> None:
        """Begin before the first head.

        Args:
            transport: The client's.
            minor: The client's HTTP version, 0 or 1.
            connection_id: What X-Pinproxy-Id will say.
        """
        self.status: int | None = None
        self.keep_alive = False
        self._transport = transport
        self._minor = minor
        self._id = connection_id
        self._framing = NO_BODY
        self._is_chunked = False
        self._pieces: list[bytes] = []

    @property
    def ends_with_connection(self) -> bool:
        """Whether only a reset can tell the client that the body was cut."""
        return self._framing.kind is BodyKind.UNTIL_CLOSE

    def interim(self, head: ResponseHead) -> None:
        """Take a 1xx head."""
        self._pieces.append(_rewrite(head, NO_BODY, self._minor, keep_alive=True)[2])

    def head(self, head: ResponseHead, framing: Framing, *, keep_alive: bool) -> None:
        """Take the final head.

        Args:
            head: As the origin sent it.
            framing: Of the body as it comes from the origin.
            keep_alive: Whether the connection may live on, as far as the caller is concerned.
        """
        self.status = head.status
        self._framing, self.keep_alive, written = head.once(_rewrite, framing, self._minor, keep_alive)
        self._is_chunked = self._framing == CHUNKED
        self._pieces.append(add_field(written, b"X-Pinproxy-Id", self._id.encode("ascii")))

    def body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(encode_chunk(data) if self._is_chunked else data)

    def end(self, trailers: Fields) -> None:
        """Take the end of the body."""
        if self._is_chunked:
            self._pieces.append(encode_last_chunk(_not_ours(trailers)))

    def flush(self) -> None:
        """Write what has gathered."""
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._transport.write(data)
