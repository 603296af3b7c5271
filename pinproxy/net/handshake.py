"""TLS handshakes on non-blocking sockets, and what a finished one says of itself. ssl.SSLError is translated here, once."""

from __future__ import annotations

import _ssl
import socket
import ssl
from typing import Any, cast

from pinproxy.authority import Authority
from pinproxy.errors import DownstreamTlsFailed, HandshakeTimeout, TlsHandshakeFailed, TlsVersion
from pinproxy.net.readiness import wait_readable, wait_writable
from pinproxy.net.time_limit import time_limit
from pinproxy.net.upstream_sessions import KnownSession
from pinproxy.pins.chain import Certificate, SentChain, VerifiedChain, certificate
from pinproxy.policy.refused_chain import no_path, wrong_dates, wrong_name
from pinproxy.policy.verify import HandshakeFacts, Session

# X509_V_ERR_… of OpenSSL's x509_vfy.h
_DATES, _NAMES = (9, 10), (62, 64)
_END_MISSING = (2, 18, 19, 20, 21)  # no issuer, self-signed, self-signed in the chain, no local issuer, no first issuer
_VERSION_REASONS = frozenset({"UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION", "TLSV1_ALERT_PROTOCOL_VERSION"})
_NO_TLS = "answers with something that is no TLS; is this its TLS port?"
_MEANINGS = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "finds nothing in common, or asks for a client certificate (`client_cert`)",
    "TLSV1_UNRECOGNIZED_NAME": "says that it does not know this name",
}


async def shake_hands_with_server(
    sock: socket.socket, context: ssl.SSLContext, authority: Authority, seconds: float, known: KnownSession | None = None
) -> tuple[ssl.SSLSocket, HandshakeFacts]:
    """Do the client's side of a handshake; the platform validates chain, name and dates in it, if it is a full one.

    Args:
        sock: Connected; taken over, and closed on failure.
        context: From `net.client_contexts`.
        authority: Its host is the name asked for and checked.
        seconds: For the whole handshake.
        known: A session to offer, made with this context; None: there is none.

    Returns:
        The TLS socket, and the facts `policy.verify` judges. No byte has been sent on it beyond the handshake.

    Raises:
        ChainInvalid, HostnameMismatch, CertificateExpired: The platform refused the certificates.
        TlsVersion, TlsHandshakeFailed, HandshakeTimeout: Anything else.
    """
    tls: ssl.SSLSocket | None = None
    try:
        tls = _wrapped(sock, context, authority.host)
        if known is not None and known.session is not None:
            tls.session = known.session
        with time_limit(seconds):
            await _shake_hands(tls)
        return tls, facts_of(tls, known.facts if known is not None else None)
    except BaseException as error:
        refused = _refused_chain(tls) if isinstance(error, ssl.SSLCertVerificationError) else None
        (tls or sock).close()
        if isinstance(error, TimeoutError):
            raise HandshakeTimeout(f"{authority} did not finish the TLS handshake within {seconds:g} s") from error
        if isinstance(error, OSError):
            raise _translated(error, authority, refused) from error
        raise


async def shake_hands_with_client(
    sock: socket.socket, context: ssl.SSLContext, seconds: float, trusted: str = "the CA that pinproxy publishes"
) -> ssl.SSLSocket:
    """Do the server's side of a handshake with a client of ours.

    Args:
        sock: Accepted; taken over, and closed on failure.
        context: Ours.
        seconds: For the whole handshake.
        trusted: What the client has to trust, for the message where it does not.

    Raises:
        DownstreamTlsFailed: The client broke off, most often because it does not trust the local CA, or was too slow.
    """
    tls: ssl.SSLSocket | None = None
    try:
        tls = _wrapped(sock, context, None)
        with time_limit(seconds):
            await _shake_hands(tls)
    except BaseException as error:
        (tls or sock).close()
        if isinstance(error, TimeoutError):
            raise DownstreamTlsFailed(f"the client did not finish its TLS handshake within {seconds:g} s") from error
        if isinstance(error, OSError):
            reason = _reason(error)
            if isinstance(error, ssl.SSLCertVerificationError) or reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
                raise DownstreamTlsFailed(f"the client showed no certificate that is accepted here ({reason})") from error
            hint = f"; does it trust {trusted}?" if "ALERT" in reason else ""
            raise DownstreamTlsFailed(f"the client ended the TLS handshake ({reason}){hint}") from error
        raise
    return tls


def _wrapped(sock: socket.socket, context: ssl.SSLContext, server: str | None) -> ssl.SSLSocket:
    """Begin TLS on a socket; `server` is the name to ask for, None: we are the server."""
    try:
        sock.getpeername()
    except OSError as error:
        # Wrapping it would fail as well, and leave its descriptor to the garbage collector.
        raise ConnectionResetError("the peer is gone") from error
    return context.wrap_socket(
        sock,
        server_side=server is None,
        server_hostname=server,
        do_handshake_on_connect=False,
        suppress_ragged_eofs=False,
    )


async def _shake_hands(tls: ssl.SSLSocket) -> None:
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await wait_readable(tls)
        except ssl.SSLWantWriteError:
            await wait_writable(tls)
        else:
            return


def facts_of(tls: ssl.SSLSocket, known: HandshakeFacts | None = None) -> HandshakeFacts:
    """Read what a finished client handshake says of itself.

    Args:
        tls: Its socket.
        known: What the full handshake showed that made the session offered; None: none was offered.
    """
    if known is not None and tls.session_reused and tls.getpeercert(binary_form=True) == known.sent.certificates[0].der:
        return HandshakeFacts(tls.version() or "none", Session.KNOWN, known.sent, known.platform_chain)
    source = _chains_of(tls)
    # Without a demand to validate, OpenSSL tries all the same, and tells of the path it had in hand when it failed.
    validates = tls.context.verify_mode is ssl.CERT_REQUIRED and tls.context.check_hostname
    platform_chain = tuple(certificate(_der(item)) for item in source.get_verified_chain() or ()) if validates else ()
    return HandshakeFacts(
        tls_version=tls.version() or "none",
        session=Session.UNKNOWN if tls.session_reused else Session.NEW,
        sent=SentChain(tuple(certificate(_der(item)) for item in source.get_unverified_chain() or ())),
        platform_chain=VerifiedChain(platform_chain) if platform_chain else None,
    )


def _chains_of(tls: ssl.SSLSocket) -> Any:
    """Find who tells of chains; whoever it is gives [] or None for none, as on a resumed session."""
    # Public from Python 3.13 on the socket itself; before that on the object inside.
    return cast("Any", tls if hasattr(tls, "get_verified_chain") else tls._sslobj)  # type: ignore[attr-defined]  # noqa: SLF001


def _refused_chain(tls: ssl.SSLSocket | None) -> SentChain | None:
    """Read what the server sent before the platform refused it; None: OpenSSL before 3.0 does not keep it."""
    sent = (_chains_of(tls).get_unverified_chain() or ()) if tls is not None else ()
    # Not shared, as verified ones are: nobody is to fill that memory.
    return SentChain(tuple(Certificate(_der(item)) for item in sent)) if sent else None


def _der(item: Any) -> bytes:
    """Take the DER bytes: what Python 3.13 gives as such is a private type before."""
    return item if isinstance(item, bytes) else bytes(item.public_bytes(_ssl.ENCODING_DER))


def _translated(error: OSError, authority: Authority, refused: SentChain | None) -> Exception:
    if isinstance(error, ssl.SSLCertVerificationError):
        code, reason = error.verify_code, error.verify_message
        if code in _NAMES:
            return wrong_name(refused.certificates[0] if refused is not None else None, authority.host)
        if code in _DATES:
            return wrong_dates(refused, authority, reason)
        return no_path(refused, authority, reason, is_end_missing=code in _END_MISSING)
    reason = _reason(error)
    if reason in _VERSION_REASONS:
        return TlsVersion(f"{authority} speaks no TLS version that `min_tls` allows ({reason})")
    return TlsHandshakeFailed(f"{authority} {_MEANINGS.get(reason, 'ended the TLS handshake')} ({reason})")


def _reason(error: OSError) -> str:
    """Name the failure by OpenSSL's own constant, or the kind of the error: never by free text from a peer."""
    if isinstance(error, ssl.SSLEOFError):
        return "connection closed"
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS error"
    return "connection reset" if isinstance(error, ConnectionResetError) else "connection failed"
