"""`trust: pins-only`: no path is validated, and the server's own certificate alone may meet the pins.

Everywhere else pins meet only what path validation built (`policy.path`), because whoever answers may append any certificate to
what he sends (CVE-2016-2402). One of the certificates sent is safe to hold against a pin all the same: the first. TLS itself
makes the server prove that it holds that key (RFC 8446 §4.4.3, RFC 5246 §7.4.3 and §7.4.7.1), so a match says: this is the holder
of the pinned key. Nothing proves anything about the others, and they are dropped here before a pin can see them.

Rules of this file:
- The name and the dates are checked, by our own reading and our own clock, unless each is switched off by its own name.
- What a CA would have to answer for is not asked: issuer, signature, usages, constraints.
- This is the only place where something that was merely sent becomes a `VerifiedChain`.
"""

from __future__ import annotations

from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from pinproxy.authority import Authority
from pinproxy.errors import ChainInvalid
from pinproxy.pins.chain import Certificate, SentChain, VerifiedChain
from pinproxy.policy.refused_chain import wrong_name
from pinproxy.policy.rule import PinsOnly
from pinproxy.policy.server_name import names_host
from pinproxy.policy.validity import require_current

# > CA/Browser Forum Baseline Requirements §6.1.5: … the modulus size … is at least 2048 bits … P-256, P-384 or P-521
_LEAST_RSA_BITS = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def leaf_alone(sent: SentChain, authority: Authority, trust: PinsOnly, now: datetime) -> VerifiedChain:
    """Check the first certificate that was sent, and make it the whole chain.

    Args:
        sent: The server's certificates, leaf first, at least one; the handshake that showed them proves the leaf's key.
        authority: Its host is the name the leaf must carry.
        trust: What of this is switched off.
        now: The wall clock, UTC.

    Returns:
        A chain of one: the leaf.

    Raises:
        ChainInvalid: The leaf cannot be read, or its key is too weak to prove anything.
        CertificateExpired: The leaf is outside its validity.
        HostnameMismatch: The leaf is for another name.
    """
    leaf = sent.certificates[0]
    if not leaf.is_readable:
        raise ChainInvalid(f"{authority}: the server's certificate cannot be parsed")
    try:
        _require_strong_key(leaf, authority)
        if not trust.unsafe_skip_dates:
            require_current((leaf,), authority, now)
        if not trust.unsafe_skip_hostname and not names_host(leaf, authority.host):
            raise wrong_name(leaf, authority.host)
    except ValueError as error:
        raise ChainInvalid(f"{authority}: the server's certificate cannot be parsed") from error
    return VerifiedChain((leaf,))


def _require_strong_key(leaf: Certificate, authority: Authority) -> None:
    """Refuse a key that somebody else may have worked out; path validation would have refused it."""
    try:
        key = leaf.x509.public_key()
    except UnsupportedAlgorithm as error:
        raise ChainInvalid(f"{authority}: the server's certificate has a key of a kind that is not known") from error
    match key:
        case rsa.RSAPublicKey(key_size=bits) if bits >= _LEAST_RSA_BITS:
            return
        case ec.EllipticCurvePublicKey(curve=curve) if isinstance(curve, _CURVES):
            return
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return
    raise ChainInvalid(f"{authority}: the server's key is too weak; expected RSA of 2048 bits, P-256, or stronger")
