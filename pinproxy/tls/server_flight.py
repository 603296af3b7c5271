"""What a server says in plaintext, read in passing: the TLS 1.2 flight, the TLS 1.3 ServerHello (RFC 5246 §7.3).

Rules of this file:
- The order of messages is a table, and what is not in it is refused: two certificates, or a key exchange missing where the
  cipher suite needs one, would let one reader verify what another does not use.
- The reader tells what it saw. It verifies nothing and holds nothing back: the caller keeps a flight's bytes until
  ServerHelloDone, verifies chain, pins and `verify_server_key_exchange`, and only then lets them go.
- A ChangeCipherSpec without a Certificate before it is an abbreviated handshake: nothing was proved on this wire.
- Where encryption begins the reader is finished and ignores what follows.
"""

from __future__ import annotations

from enum import Enum, auto

from pinproxy.errors import TlsHandshakeFailed, TlsSyntaxError
from pinproxy.tls.alert import Alert, parse_alert
from pinproxy.tls.key_exchange import KeyExchange, ServerKeyExchange, key_exchange_of, parse_server_key_exchange
from pinproxy.tls.presentation import Fields
from pinproxy.tls.records import TLS13, ContentType, HandshakeMessage, HandshakeType, MessageReader, Record, RecordReader
from pinproxy.tls.server_messages import (
    CertificateMessage,
    ChangeCipherSpec,
    NewSessionTicket,
    ServerHello,
    ServerHelloDone,
    parse_certificates,
    parse_new_session_ticket,
    parse_server_hello,
)

# What a flight may weigh besides its certificates: record headers, a key exchange of 16,384-bit DH (6 KiB), an OCSP response
# (2 KiB), the names of the CAs a server accepts client certificates from (20 KiB in public administrations).
FLIGHT_SLACK_BYTES = 32 * 1024

FlightEvent = ServerHello | CertificateMessage | ServerKeyExchange | ServerHelloDone | NewSessionTicket | ChangeCipherSpec | Alert


class _State(Enum):
    """What came last."""

    START = auto()
    RETRY = auto()  # HelloRetryRequest: a second ServerHello comes
    HELLO = auto()
    CERTIFICATE = auto()
    STATUS = auto()
    KEY_EXCHANGE = auto()
    CERTIFICATE_REQUEST = auto()
    DONE = auto()
    TICKET = auto()
    ABBREVIATED_TICKET = auto()
    FINISHED = auto()


# > RFC 5246 §7.3, figures 1 and 2; RFC 5077 §3.1 for tickets; RFC 6066 §8 for CertificateStatus.
_NEXT: dict[_State, dict[int, _State]] = {
    _State.START: {HandshakeType.SERVER_HELLO: _State.HELLO},
    _State.RETRY: {HandshakeType.SERVER_HELLO: _State.HELLO},
    _State.HELLO: {
        HandshakeType.CERTIFICATE: _State.CERTIFICATE,
        HandshakeType.NEW_SESSION_TICKET: _State.ABBREVIATED_TICKET,
    },
    _State.CERTIFICATE: {
        HandshakeType.CERTIFICATE_STATUS: _State.STATUS,
        HandshakeType.SERVER_KEY_EXCHANGE: _State.KEY_EXCHANGE,
        HandshakeType.CERTIFICATE_REQUEST: _State.CERTIFICATE_REQUEST,
        HandshakeType.SERVER_HELLO_DONE: _State.DONE,
    },
    _State.STATUS: {
        HandshakeType.SERVER_KEY_EXCHANGE: _State.KEY_EXCHANGE,
        HandshakeType.CERTIFICATE_REQUEST: _State.CERTIFICATE_REQUEST,
        HandshakeType.SERVER_HELLO_DONE: _State.DONE,
    },
    _State.KEY_EXCHANGE: {
        HandshakeType.CERTIFICATE_REQUEST: _State.CERTIFICATE_REQUEST,
        HandshakeType.SERVER_HELLO_DONE: _State.DONE,
    },
    _State.CERTIFICATE_REQUEST: {HandshakeType.SERVER_HELLO_DONE: _State.DONE},
    _State.DONE: {HandshakeType.NEW_SESSION_TICKET: _State.TICKET},
    _State.TICKET: {},
    _State.ABBREVIATED_TICKET: {},
    _State.FINISHED: {},
}
_CIPHER_MAY_CHANGE = {
    _State.HELLO: True,
    _State.ABBREVIATED_TICKET: True,
    _State.DONE: False,
    _State.TICKET: False,
}


class ServerFlightReader:
    """Read a server's handshake, over any segmentation, up to where encryption begins."""

    __slots__ = ("_cipher_suite", "_has_key_exchange", "_messages", "_records", "_state", "_version")

    def __init__(self, max_bytes: int) -> None:
        """Allow `max_bytes` of plaintext handshake, record headers included: `limits.chain_bytes + FLIGHT_SLACK_BYTES`."""
        self._records = RecordReader(max_bytes)
        self._messages = MessageReader(max_bytes)
        self._state = _State.START
        self._version = 0
        self._cipher_suite = 0  # TLS_NULL_WITH_NULL_NULL (RFC 5246 §A.5) until the ServerHello
        self._has_key_exchange = False

    @property
    def is_finished(self) -> bool:
        """Whether encryption has begun, or a fatal alert ended it all: nothing more can be read."""
        return self._state is _State.FINISHED

    def feed(self, data: bytes) -> tuple[FlightEvent, ...]:
        """Add what arrived.

        Args:
            data: The next bytes from the server, in any portion.

        Returns:
            What they completed, in order; empty once finished.

        Raises:
            TlsHandshakeFailed: No TLS handshake, one out of order or over the bound, or one that cannot be verified.
            ChainUnavailable: A Certificate message without a certificate.
        """
        if self.is_finished:
            return ()  # what follows is not ours to read, and must not gather here
        self._records.feed(data)
        events: list[FlightEvent] = []
        try:
            while self._state is not _State.FINISHED:
                record = self._records.next_record()
                if record is None:
                    break
                self._read_record(record, events)
        except TlsSyntaxError as error:
            raise TlsHandshakeFailed(f"the server's handshake is not valid: {error}") from error
        return tuple(events)

    def _read_record(self, record: Record, events: list[FlightEvent]) -> None:
        if record.content_type == ContentType.HANDSHAKE:
            self._read_messages(record.fragment, events)
        elif not self._messages.is_between_messages:
            # > RFC 8446 §5.1: handshake messages MUST NOT be interleaved with other record types.
            raise TlsSyntaxError(f"a record of type {record.content_type:d} within a handshake message")
        elif record.content_type == ContentType.CHANGE_CIPHER_SPEC:
            self._change_cipher(record.fragment, events)
        elif record.content_type == ContentType.ALERT:
            events.append(alert := parse_alert(record.fragment))
            if alert.is_fatal:
                self._state = _State.FINISHED
        else:
            raise TlsSyntaxError("application data before the end of the handshake")

    def _read_messages(self, fragment: bytes, events: list[FlightEvent]) -> None:
        self._messages.feed(fragment)
        while message := self._messages.next_message():
            if self.is_finished:
                raise TlsSyntaxError("a message in plaintext behind a ServerHello of TLS 1.3")
            following = _NEXT[self._state].get(message.kind)
            if following is None:
                raise TlsSyntaxError(f"handshake message {message.kind} after {self._state.name}")
            is_retried = self._state is _State.RETRY
            self._state = following
            if event := self._read_message(message):
                events.append(event)
            if is_retried and self._state is not _State.FINISHED:
                raise TlsSyntaxError("a HelloRetryRequest that TLS 1.3 does not follow")

    def _read_message(self, message: HandshakeMessage) -> FlightEvent | None:
        match message.kind:
            case HandshakeType.SERVER_HELLO:
                return self._read_hello(message.body)
            case HandshakeType.CERTIFICATE:
                key_exchange_of(self._cipher_suite)  # refuses a suite that no certificate covers
                return parse_certificates(message.body)
            case HandshakeType.SERVER_KEY_EXCHANGE:
                return self._read_key_exchange(message.body)
            case HandshakeType.SERVER_HELLO_DONE:
                Fields(message.body, "ServerHelloDone").end()
                if not self._has_key_exchange and key_exchange_of(self._cipher_suite) is not KeyExchange.RSA:
                    raise TlsSyntaxError("no ServerKeyExchange, which the cipher suite needs")
                return ServerHelloDone()
            case HandshakeType.NEW_SESSION_TICKET:
                return parse_new_session_ticket(message.body)
            case _:
                return None  # CertificateStatus and CertificateRequest are between the server and the client

    def _read_hello(self, body: bytes) -> ServerHello:
        hello = parse_server_hello(body)
        self._version, self._cipher_suite = hello.version, hello.cipher_suite
        if hello.is_hello_retry_request:
            if hello.version < TLS13:
                raise TlsSyntaxError("a HelloRetryRequest below TLS 1.3")
            self._state = _State.RETRY
        elif hello.version >= TLS13:
            self._state = _State.FINISHED
        return hello

    def _read_key_exchange(self, body: bytes) -> ServerKeyExchange:
        exchange = key_exchange_of(self._cipher_suite)
        if exchange is KeyExchange.RSA:
            raise TlsSyntaxError("a ServerKeyExchange, which the cipher suite does not have (export RSA)")
        self._has_key_exchange = True
        return parse_server_key_exchange(body, exchange, self._version)

    def _change_cipher(self, fragment: bytes, events: list[FlightEvent]) -> None:
        if fragment != b"\x01":
            raise TlsSyntaxError("a ChangeCipherSpec that is not a single 1")
        # > RFC 8446 §D.4: the server sends a dummy change_cipher_spec record immediately after … a HelloRetryRequest.
        if self._state is _State.RETRY:
            return
        is_abbreviated = _CIPHER_MAY_CHANGE.get(self._state)
        if is_abbreviated is None:
            raise TlsSyntaxError(f"ChangeCipherSpec after {self._state.name}")
        events.append(ChangeCipherSpec(is_abbreviated))
        self._state = _State.FINISHED
