"""The plaintext messages of a TLS server, as values (RFC 5246 §7.4, RFC 8446 §4.1.3). For their order see `server_flight.py`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pinproxy.errors import ChainUnavailable, TlsSyntaxError
from pinproxy.tls.presentation import Fields, extensions
from pinproxy.tls.records import TLS12, TLS13

_ALPN = 16
_SESSION_TICKET = 35
_SUPPORTED_VERSIONS = 43
# > RFC 8446 §4.1.3: the Random value of a HelloRetryRequest is the SHA-256 of "HelloRetryRequest".
_RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
# > RFC 8446 §4.1.3: 44 4F 57 4E 47 52 44 01 (TLS 1.2) and … 00 (TLS 1.1 or below).
_DOWNGRADE_SENTINELS = (b"DOWNGRD\x01", b"DOWNGRD\x00")


@dataclass(frozen=True, slots=True)
class ServerHello:
    """What the server chose.

    Attributes:
        version: TLS version (0x0303 is 1.2, 0x0304 is 1.3), supported_versions considered.
        random: The 32 server random bytes.
        session_id: Session id, 0 to 32 bytes; under TLS 1.2 equal to the client's where that session is resumed.
        cipher_suite: The suite.
        alpn: The protocol selected; None: none, or hidden from us by TLS 1.3.
        has_session_ticket: Whether a TLS 1.2 ticket will follow (RFC 5077 §3.2).
        is_hello_retry_request: Whether this asks for another ClientHello (RFC 8446 §4.1.4) and is no answer yet.
    """

    version: int
    random: bytes = field(repr=False)
    session_id: bytes
    cipher_suite: int
    alpn: str | None
    has_session_ticket: bool
    is_hello_retry_request: bool

    @property
    def signals_downgrade(self) -> bool:
        """Whether a server that can do better says that it was not asked to; wrong if the client asked."""
        return self.version < TLS13 and self.random.endswith(_DOWNGRADE_SENTINELS)


@dataclass(frozen=True, slots=True)
class CertificateMessage:
    """The certificates as sent: DER, leaf first, at least one; not a verified chain."""

    chain: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerHelloDone:
    """The end of a full TLS 1.2 flight: everything there is to verify has been seen."""


@dataclass(frozen=True, slots=True)
class NewSessionTicket:
    """A TLS 1.2 session ticket (RFC 5077 §3.3), with which the client may resume this very session."""

    lifetime_seconds: int
    ticket: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChangeCipherSpec:
    """The beginning of encryption; `is_abbreviated` where no certificate came before it (RFC 5246 §7.3)."""

    is_abbreviated: bool


def parse_server_hello(body: bytes) -> ServerHello:
    """Read a ServerHello or HelloRetryRequest, without the message header.

    Raises:
        TlsSyntaxError: Malformed, or of a version that does not exist.
    """
    fields = Fields(body, "ServerHello")
    version = fields.number(2)
    random = fields.opaque(32)
    session_id = fields.vector(1, 0, 32)
    cipher_suite = fields.number(2)
    fields.opaque(1)  # compression method
    found = {} if fields.is_empty else extensions(fields)
    if version >> 8 != 3 or version > TLS12:
        raise TlsSyntaxError(f"ServerHello: version 0x{version:04X}, expected at most 0x0303")
    if _SUPPORTED_VERSIONS in found:
        # > RFC 8446 §4.2.1: a server which negotiates TLS 1.3 MUST set legacy_version to 0x0303 and supported_versions to 0x0304.
        if version != TLS12 or found[_SUPPORTED_VERSIONS] != TLS13.to_bytes(2, "big"):
            raise TlsSyntaxError(f"ServerHello: supported_versions {found[_SUPPORTED_VERSIONS][:8].hex()}, expected 0304")
        version = TLS13
    return ServerHello(
        version=version,
        random=random,
        session_id=session_id,
        cipher_suite=cipher_suite,
        alpn=_parse_alpn(found[_ALPN]) if _ALPN in found else None,
        has_session_ticket=_SESSION_TICKET in found,
        is_hello_retry_request=random == _RETRY_RANDOM,
    )


def _parse_alpn(extension: bytes) -> str:
    fields = Fields(extension, "ALPN extension")
    names = Fields(fields.vector(2), "ALPN protocol_name_list")
    fields.end()
    name = names.vector(1, 1)
    # > RFC 7301 §3.1: the "ProtocolNameList" MUST contain exactly one "ProtocolName".
    names.end()
    if not name.isascii():
        raise TlsSyntaxError(f"ALPN: the protocol name {name[:80]!r} is not ASCII")
    return name.decode("ascii")


def parse_certificates(body: bytes) -> CertificateMessage:
    """Read a TLS 1.2 Certificate message, without the message header.

    Raises:
        TlsSyntaxError: Malformed.
        ChainUnavailable: It holds no certificate.
    """
    fields = Fields(body, "Certificate")
    certificates = Fields(fields.vector(3), "Certificate list")
    fields.end()
    chain = []
    while not certificates.is_empty:
        chain.append(certificates.vector(3, 1))
    if not chain:
        raise ChainUnavailable("the server's Certificate message holds no certificate")
    return CertificateMessage(tuple(chain))


def parse_new_session_ticket(body: bytes) -> NewSessionTicket:
    """Read a TLS 1.2 NewSessionTicket message, without the message header.

    Raises:
        TlsSyntaxError: Malformed.
    """
    fields = Fields(body, "NewSessionTicket")
    ticket = NewSessionTicket(lifetime_seconds=fields.number(4), ticket=fields.vector(2))
    fields.end()
    return ticket
