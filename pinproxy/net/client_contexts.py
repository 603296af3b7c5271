"""TLS contexts for upstream connections, cached under every setting that decides verification.

A context costs about 20 ms with the system's roots in it and 0.1 ms without, so they are shared. A setting that is forgotten in
such a key lets one host's policy decide for another's (a curl CVE was exactly that), so the key is the whole argument list.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import Literal

from pinproxy.net.own_chain import load_own_chain
from pinproxy.policy.rule import ClientCertificate, MinTls, PinsOnly, Trust

KeyKind = Literal["RSA", "ECDSA"]
"""What a server proves with: of its certificates, the one with such a key."""

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_AUTHENTICATION: dict[KeyKind, str] = {"RSA": "auth-rsa", "ECDSA": "auth-ecdsa"}  # as OpenSSL names it of a cipher suite


@lru_cache(maxsize=64)
def client_context(
    trust: Trust, min_tls: MinTls, alpn: tuple[str, ...], client_cert: ClientCertificate | None = None
) -> ssl.SSLContext:
    """Return the context for these settings.

    Args:
        trust: Roots a chain must end in; with `PinsOnly` OpenSSL validates nothing, and `policy.verify` judges the leaf alone.
        min_tls: Lowest version offered.
        alpn: Application protocols offered, in order of preference; empty: no ALPN extension.
        client_cert: Shown to a server that asks for one; None: none is. OpenSSL shows it once it has validated the server's
            chain and name, inside the handshake and therefore before the pins are compared: an impostor with a valid
            certificate learns who we are, and a signature it can use for nothing else. With `PinsOnly`, so does any impostor.
    """
    # CERT_REQUIRED and check_hostname are this protocol's defaults; nothing but `trust: pins-only` turns either off.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _VERSIONS[min_tls]
    # > RFC 9525 §6.3: … the Common Name … MUST NOT be used. On by default in Python, where it lets a CN escape name constraints.
    context.hostname_checks_common_name = False
    # Any certificate of the trust store is an anchor, an intermediate as well, as `cryptography`'s verifier has it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # > RFC 5746 allows it, nothing needs it: one connection has one verified chain from its first byte to its last.
    context.options |= ssl.OP_NO_RENEGOTIATION
    if isinstance(trust, PinsOnly):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=b"".join(trust.roots))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if client_cert is not None:
        load_own_chain(context, client_cert.chain_and_key)
    return context


@lru_cache(maxsize=64)
def context_for_version(
    trust: Trust, tls: MinTls, key: KeyKind | None, client_cert: ClientCertificate | None = None
) -> ssl.SSLContext | None:
    """Return a context that speaks one TLS version alone, to be shown the certificate that goes with one kind of key.

    Args:
        trust: Roots a chain must end in.
        tls: The version.
        key: With TLS 1.2, whose cipher suites name the kind of key; None: whichever the server prefers.
        client_cert: Shown to a server that asks for one; None: none is.

    Returns:
        The context; None: OpenSSL, as this system configures it, offers no suite for that kind of key.
    """
    context = client_context.__wrapped__(trust, tls, (), client_cert)
    context.maximum_version = _VERSIONS[tls]
    if key is not None:
        names = [suite["name"] for suite in context.get_ciphers() if suite["auth"] == _AUTHENTICATION[key]]
        if not names:
            return None
        context.set_ciphers(":".join(names))
    return context


@lru_cache(maxsize=64)
def context_for_suite(
    trust: Trust, cipher_suite: int, alpn: tuple[str, ...], client_cert: ClientCertificate | None = None
) -> ssl.SSLContext | None:
    """Return a context that speaks TLS 1.2 with one cipher suite alone, to be shown the certificate that goes with it.

    Args:
        trust: Roots a chain must end in.
        cipher_suite: Its number (RFC 5246 §A.5).
        alpn: Application protocols offered.
        client_cert: Shown to a server that asks for one; None: none is.

    Returns:
        The context; None: OpenSSL does not offer that suite.
    """
    context = client_context.__wrapped__(trust, "1.2", alpn, client_cert)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL's numbers carry the protocol in front: 0x0300 and the two bytes of the standard.
    names = [suite["name"] for suite in context.get_ciphers() if suite["id"] & 0xFFFF == cipher_suite]
    if not names:
        return None
    context.set_ciphers(":".join(names))
    return context
