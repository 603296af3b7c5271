"""The ClientHello: what a client says in plaintext before anything is protected (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2).

Rules of this file:
- A decision about the server name is only as good as the certainty that the server reads the same name. Whatever two
  readers could take differently (a type twice, bytes left over, two names) is refused.
- Two refusals, never mixed up: `NotTls` means the first bytes are some other protocol, which a blind tunnel may carry;
  `ClientHelloInvalid` means it is TLS and must not pass, for it may name a pinned host to a more forgiving reader.
- GREASE (RFC 8701) is dropped everywhere: it is noise on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import filterfalse

from pinproxy.authority import canonical_host, is_ip_address
from pinproxy.errors import BadRequest, ClientHelloInvalid, NotTls, TlsSyntaxError
from pinproxy.tls.presentation import Fields, extensions, numbers
from pinproxy.tls.records import ContentType, HandshakeType, MessageReader, RecordReader

# Post-quantum key shares make real hellos about 2 KiB and a resumption ticket may add some more; OpenSSL's own bound is
# 128 KiB. With this one, 10,000 clients that never finish theirs can hold 640 MiB at the worst.
MAX_CLIENT_HELLO_BYTES = 64 * 1024
# What a client offers is remembered for its host, and kept with its connection; as text, 64 KiB of short names are a megabyte.
# Real clients offer two or three.
_MAX_PROTOCOLS = 32

_SERVER_NAME = 0
_ALPN = 16
_SESSION_TICKET = 35
_PRE_SHARED_KEY = 41
_EARLY_DATA = 42
_SUPPORTED_VERSIONS = 43
_ENCRYPTED_CLIENT_HELLO = 0xFE0D
_HOST_NAME = 0

# > RFC 8701 §2: {0x0A,0x0A}, {0x1A,0x1A}, … {0xFA,0xFA} are reserved.
_GREASE = frozenset(value << 8 | value for value in range(0x0A, 0x100, 0x10))
_GREASE_PROTOCOLS = frozenset(value.to_bytes(2, "big") for value in _GREASE)

_OTHER_PROTOCOLS = (
    (b"SSH-", "SSH"),
    (b"PRI * HTTP/2", "HTTP/2 without TLS"),
    *((f"{method} ".encode(), "HTTP") for method in ("GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT")),
)


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a ClientHello says.

    Attributes:
        server_name: The one host_name of the SNI extension in canonical form (see `Authority.host`); None: no SNI.
        alpn: Protocol names in the client's order of preference, without GREASE; empty: no ALPN extension.
        versions: TLS versions offered (0x0303 is 1.2, 0x0304 is 1.3) in the order offered, without GREASE; from
            supported_versions, else the single legacy version, which is the highest the client speaks.
        session_id: Legacy session id, 0 to 32 bytes; under TLS 1.2 a session the client wants to resume.
        session_ticket: The TLS 1.2 session ticket offered (RFC 5077 §3.2); empty: none, or one is merely asked for.
        has_psk: Whether a TLS 1.3 session or external key is offered (RFC 8446 §4.2.11).
        has_early_data: Whether application data follows before the server has answered (RFC 8446 §4.2.10).
        has_ech: Whether there is an encrypted inner hello, or GREASE that looks like one: nobody else can tell.
        random: The 32 client random bytes, which TLS 1.2 servers sign.
    """

    server_name: str | None
    alpn: tuple[str, ...]
    versions: tuple[int, ...]
    session_id: bytes
    session_ticket: bytes = field(repr=False)
    has_psk: bool
    has_early_data: bool
    has_ech: bool
    random: bytes = field(repr=False)

    @property
    def has_session_ticket(self) -> bool:
        """Whether a TLS 1.2 session ticket is offered."""
        return bool(self.session_ticket)


class ClientHelloReader:
    """Read a ClientHello out of the first bytes of a connection, over any segmentation.

    Bytes behind the ClientHello (early data, say) are ignored. A caller that peeks feeds only what it has not fed yet.
    """

    __slots__ = ("_messages", "_opening", "_records")

    def __init__(self, max_bytes: int = MAX_CLIENT_HELLO_BYTES) -> None:
        """Allow `max_bytes` until the ClientHello is complete, record headers included."""
        self._opening = b""
        self._records = RecordReader(max_bytes)
        self._messages = MessageReader(max_bytes)

    def feed(self, data: bytes) -> ClientHello | None:
        """Add what arrived.

        Args:
            data: The next bytes of the connection, in any portion.

        Returns:
            The ClientHello once it is complete; None while more is needed.

        Raises:
            NotTls: The first bytes are another protocol.
            ClientHelloInvalid: A TLS connection that does not begin with one well-formed ClientHello within the bound.
        """
        if len(self._opening) < 3:
            self._opening += data[:16]
            _refuse_other_protocols(self._opening)
        self._records.feed(data)
        try:
            return self._next_client_hello()
        except TlsSyntaxError as error:
            raise ClientHelloInvalid(str(error)) from error

    @property
    def consumed_bytes(self) -> int:
        """Bytes of the records taken so far: once the ClientHello is complete, where it ends and early data may begin."""
        return self._records.taken_bytes

    def _next_client_hello(self) -> ClientHello | None:
        while record := self._records.next_record():
            if record.content_type != ContentType.HANDSHAKE:
                raise TlsSyntaxError(f"a record of type {record.content_type:d}, expected the ClientHello (22)")
            self._messages.feed(record.fragment)
            if message := self._messages.next_message():
                if message.kind != HandshakeType.CLIENT_HELLO:
                    raise TlsSyntaxError(f"a handshake message of type {message.kind}, expected a ClientHello (1)")
                # Stricter than the RFCs: no client sends more before the server has answered.
                if not self._messages.is_between_messages:
                    raise TlsSyntaxError("bytes behind the ClientHello in the same record")
                return _parse_body(message.body)
        return None


def parse_client_hello(data: bytes) -> ClientHello | None:
    """Read the ClientHello from all the bytes a connection has sent so far.

    Returns:
        The ClientHello; None while it is incomplete.

    Raises:
        NotTls: The first bytes are another protocol.
        ClientHelloInvalid: As `ClientHelloReader.feed`.
    """
    return ClientHelloReader().feed(data)


def _refuse_other_protocols(opening: bytes) -> None:
    """Refuse what does not begin as a TLS record does: a type of 20 to 23, then major version 3."""
    if not opening or (opening[0] in _RECORD_TYPES and (len(opening) < 2 or opening[1] == 3)):
        return
    for prefix, name in _OTHER_PROTOCOLS:
        if opening.startswith(prefix):
            raise NotTls(f"the client speaks {name}; expected a TLS ClientHello")
    # > RFC 5246 E.2: the high bit of a version 2 record header is set; a version 2.0 ClientHello has message type 1.
    if opening[0] & 0x80 and opening[2:3] == b"\x01":
        raise NotTls("the client sent an SSLv2 hello (RFC 6176 forbids it); expected a TLS ClientHello")
    raise NotTls(f"the first bytes are {opening[:8].hex(' ')}; expected a TLS handshake record (16 03)")


_RECORD_TYPES = frozenset(ContentType)


def _parse_body(body: bytes) -> ClientHello:
    fields = Fields(body, "ClientHello")
    legacy_version = fields.number(2)
    random = fields.opaque(32)
    session_id = fields.vector(1, 0, 32)
    # For their form: which they are is the server's business.
    numbers(fields.vector(2, 2, 2**16 - 2), "ClientHello cipher_suites")
    fields.vector(1, 1)  # compression methods: OpenSSL and we ourselves know only "none"
    # > RFC 5246 §7.4.1.2: a client hello without extensions ends after compression_methods.
    found = {} if fields.is_empty else extensions(fields)
    # > RFC 8446 §4.2.11: the "pre_shared_key" extension MUST be the last extension in the ClientHello.
    if _PRE_SHARED_KEY in found and next(reversed(found)) != _PRE_SHARED_KEY:
        raise TlsSyntaxError("ClientHello: pre_shared_key is not the last extension")
    return ClientHello(
        server_name=_server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else None,
        alpn=_protocols(found[_ALPN]) if _ALPN in found else (),
        versions=_versions(found[_SUPPORTED_VERSIONS]) if _SUPPORTED_VERSIONS in found else (legacy_version,),
        session_id=session_id,
        session_ticket=found.get(_SESSION_TICKET, b""),
        has_psk=_PRE_SHARED_KEY in found,
        has_early_data=_EARLY_DATA in found,
        has_ech=_ENCRYPTED_CLIENT_HELLO in found,
        random=random,
    )


# What is well-formed has at most 258 bytes, and clients ask for the same few hosts again and again, likewise for versions.
@lru_cache(maxsize=1024)
def _server_name(extension: bytes) -> str:
    fields = Fields(extension, "server_name extension")
    entry = Fields(fields.vector(2, 1), "server_name entry")
    fields.end()
    if (kind := entry.number(1)) != _HOST_NAME:
        raise TlsSyntaxError(f"server_name: an entry of type {kind}, expected host_name (0)")
    name = entry.vector(2, 1)
    # > RFC 6066 §3: the ServerNameList MUST NOT contain more than one name of the same name_type.
    if not entry.is_empty:
        raise TlsSyntaxError("server_name: more than one entry")
    # > RFC 6066 §3: the hostname is represented as a byte string using ASCII encoding without a trailing dot.
    if not name.isascii() or name.endswith(b"."):
        raise TlsSyntaxError(f"server_name: {name[:80]!r} is not ASCII without a trailing dot")
    try:
        host = canonical_host(name.decode("ascii"))
    except BadRequest as error:
        raise TlsSyntaxError(f"server_name: {error.detail}") from error
    # > RFC 6066 §3: literal IPv4 and IPv6 addresses are not permitted in "HostName".
    if is_ip_address(host):
        raise TlsSyntaxError(f"server_name: {host} is an IP address")
    return host


def _protocols(extension: bytes) -> tuple[str, ...]:
    fields = Fields(extension, "ALPN extension")
    names = Fields(fields.vector(2, 2), "ALPN protocol_name_list")
    fields.end()
    found = []
    while not names.is_empty:
        # > RFC 7301 §3.1: empty strings MUST NOT be included.
        name = names.vector(1, 1)
        if name in _GREASE_PROTOCOLS:
            continue
        # Stricter than RFC 7301, which allows any bytes: registered names are visible ASCII; `ssl` can mirror no other.
        if not name.isascii() or not name.decode("ascii").isprintable():
            raise TlsSyntaxError(f"ALPN: the protocol name {name[:80]!r} is not visible ASCII")
        found.append(name.decode("ascii"))
        if len(found) > _MAX_PROTOCOLS:
            raise TlsSyntaxError(f"ALPN: more than {_MAX_PROTOCOLS} protocol names")
    return tuple(found)


@lru_cache(maxsize=256)
def _versions(extension: bytes) -> tuple[int, ...]:
    fields = Fields(extension, "supported_versions extension")
    versions = numbers(fields.vector(1, 2, 254), fields.what)
    fields.end()
    found = tuple(filterfalse(_GREASE.__contains__, versions))
    if not found:
        raise TlsSyntaxError("supported_versions: nothing but GREASE")
    return found
