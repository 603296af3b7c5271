"""Path validation: from what a server sent to the one verified chain that pins may meet. Pure: "now" and roots are arguments.

Every mode of carrying traffic gets its chain here, so that no path to a server has rules of its own. The platform's TLS
library has judged the same certificates in the handshake already (`policy.verify` asks for that first); two independent
implementations must agree, because each alone accepts known-bad chains of the public suites (limbo, BetterTLS).
"""

from __future__ import annotations

import contextlib
import ipaddress
import warnings
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from pinproxy.authority import is_ip_address
from pinproxy.errors import CertificateExpired, ChainInvalid
from pinproxy.pins.chain import SentChain, VerifiedChain, certificate
from pinproxy.policy.refused_chain import wrong_name
from pinproxy.policy.rule import TrustAnchors

# The verifier's own words for a name and for dates; it has no exception types of its own for them.
_NAME_MISMATCHES = ("leaf certificate has no matching subjectAltName", "leaf server certificate has no subjectAltName")
_OUTSIDE_VALIDITY = "cert is not valid at validation time"

# Validation costs 0.25 ms, and most connections of a host show the chain that the last one showed.
_REMEMBERED_PATHS = 1024
_REMEMBERED_BYTES = 16 * 1024  # of one chain; real ones have 2 to 6 KiB, and a hostile one is not kept for its size
_REMEMBERED: dict[tuple[SentChain, str, TrustAnchors], VerifiedChain] = {}


def build_verified_chain(sent: SentChain, host: str, anchors: TrustAnchors, now: datetime) -> VerifiedChain:
    """Build and validate a path from the leaf that was sent to a trust anchor (RFC 5280 §6, RFC 9525 §6).

    Args:
        sent: The server's certificates, leaf first.
        host: Canonical host that the leaf must name in its subjectAltName.
        anchors: The roots to end in.
        now: The wall clock, UTC.

    Returns:
        The chain, leaf first, anchor included. Certificates that were sent and are not on the path are not in it.

    Raises:
        HostnameMismatch: The leaf is for another name, or for none.
        CertificateExpired: A certificate that the path needs is outside its validity.
        ChainInvalid: No path, or a certificate that breaks the profile.
    """
    key = (sent, host, anchors)
    remembered = _REMEMBERED.get(key)
    # Of what validation looks at, only the clock can differ; and it only asks whether every certificate of the path is valid now.
    if remembered is not None and all(item.is_within_validity(now) for item in remembered.certificates):
        return remembered
    chain = _validate(sent, host, anchors, now)
    if sent.size_bytes > _REMEMBERED_BYTES:
        return chain
    if len(_REMEMBERED) >= _REMEMBERED_PATHS:
        _REMEMBERED.clear()
    _REMEMBERED[key] = chain
    return chain


def _validate(sent: SentChain, host: str, anchors: TrustAnchors, now: datetime) -> VerifiedChain:
    try:
        leaf, *others = (item.x509 for item in sent.certificates)
        subject = x509.IPAddress(ipaddress.ip_address(host)) if is_ip_address(host) else x509.DNSName(host)
        policy = PolicyBuilder().store(_store(anchors)).time(now.astimezone(UTC).replace(tzinfo=None))
        path = policy.build_server_verifier(subject).verify(leaf, others)
    except VerificationError as error:
        reason = _reason(error)
        if any(words in reason for words in _NAME_MISMATCHES):
            raise wrong_name(sent.certificates[0], host) from error
        if _OUTSIDE_VALIDITY in reason:
            raise CertificateExpired(f"a certificate in the chain of {host} is outside its validity") from error
        raise ChainInvalid(f"no valid path from the certificate of {host} to a root of {anchors.owner}: {reason}") from error
    except ValueError as error:
        # A certificate that only one of two parsers can read is not one to trust.
        raise ChainInvalid(f"a certificate sent by {host} cannot be parsed") from error
    return VerifiedChain(tuple(certificate(item.public_bytes(Encoding.DER)) for item in path))


def _reason(error: VerificationError) -> str:
    """Keep the verifier's words without what it quotes of a certificate, which the server can choose and make long."""
    return str(error).partition(" (encountered processing")[0].partition(": AlgorithmIdentifier")[0]


@lru_cache(maxsize=64)
def _store(anchors: TrustAnchors) -> Store:
    """Parse the roots once. One that this parser cannot read (old stores hold a few) cannot be an anchor, which is safe."""
    roots = []
    with warnings.catch_warnings():
        # A handful of well-known old roots have serial number 0, which RFC 5280 §4.1.2.2 forbids and nothing depends on.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for der in anchors.roots:
            with contextlib.suppress(ValueError):
                roots.append(x509.load_der_x509_certificate(der))
    return Store(roots)
