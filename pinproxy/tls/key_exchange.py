"""The TLS 1.2 key exchange: the only proof that the server on this wire holds the key of the certificate it showed.

A certificate is public, anybody can send it. What binds it to the connection depends on the cipher suite:
- (EC)DHE: the server signs its parameters and both randoms; `verify_server_key_exchange` checks that signature. Without
  the check an attacker could show the pinned certificate and add parameters of his own (RFC 5246 §7.4.3).
- RSA: the client encrypts its secret to the certificate's key; an attacker without that key cannot finish the handshake,
  and there is nothing to verify in passing.
Every other key exchange (anonymous, pre-shared keys, static DH, export) is refused: it would bind nothing we understand.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from enum import Enum

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import PublicKeyAlgorithmOID

from pinproxy.errors import TlsHandshakeFailed, TlsSyntaxError
from pinproxy.tls.presentation import Fields
from pinproxy.tls.records import TLS12

_NAMED_CURVE = 3


class KeyExchange(Enum):
    """How a cipher suite ties the certificate to the connection."""

    ECDHE = "ECDHE"
    DHE = "DHE"
    RSA = "RSA"


# The suites of OpenSSL 3 that authenticate with a certificate; 3DES and RC4 are left out, no client that has them lacks better.
_SUITES: dict[KeyExchange, tuple[int, ...]] = {
    KeyExchange.ECDHE: (
        *(0xC009, 0xC00A, 0xC013, 0xC014),  # AES, SHA-1 MAC (RFC 8422)
        *(0xC023, 0xC024, 0xC027, 0xC028, 0xC02B, 0xC02C, 0xC02F, 0xC030),  # AES, SHA-2 MAC and GCM (RFC 5289)
        *(0xC05C, 0xC05D, 0xC060, 0xC061),  # ARIA (RFC 6209)
        *(0xC072, 0xC073, 0xC076, 0xC077),  # Camellia (RFC 6367)
        *(0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF),  # AES-CCM (RFC 7251)
        *(0xCCA8, 0xCCA9),  # ChaCha20-Poly1305 (RFC 7905)
    ),
    KeyExchange.DHE: (
        *(0x0033, 0x0039, 0x0067, 0x006B, 0x009E, 0x009F),  # AES (RFC 5246, RFC 5288)
        *(0x0045, 0x0088, 0x00BE, 0x00C4),  # Camellia (RFC 5932)
        *(0xC052, 0xC053),  # ARIA
        *(0xC09E, 0xC09F, 0xC0A2, 0xC0A3),  # AES-CCM (RFC 6655)
        0xCCAA,
    ),
    KeyExchange.RSA: (
        *(0x002F, 0x0035, 0x003C, 0x003D, 0x009C, 0x009D),  # AES
        *(0x0041, 0x0084, 0x00BA, 0x00C0),  # Camellia
        *(0xC050, 0xC051),  # ARIA
        *(0xC09C, 0xC09D, 0xC0A0, 0xC0A1),  # AES-CCM
    ),
}
_KEY_EXCHANGE = {suite: exchange for exchange, suites in _SUITES.items() for suite in suites}

# SignatureScheme (RFC 8446 §4.2.3); under TLS 1.2 the ECDSA ones say nothing about the curve (RFC 8422 §5.1.1).
_ECDSA: dict[int, hashes.HashAlgorithm] = {0x0403: hashes.SHA256(), 0x0503: hashes.SHA384(), 0x0603: hashes.SHA512()}
_RSA_PKCS1: dict[int, hashes.HashAlgorithm] = {0x0401: hashes.SHA256(), 0x0501: hashes.SHA384(), 0x0601: hashes.SHA512()}
_RSA_PSS_RSAE: dict[int, hashes.HashAlgorithm] = {0x0804: hashes.SHA256(), 0x0805: hashes.SHA384(), 0x0806: hashes.SHA512()}
_RSA_PSS_PSS: dict[int, hashes.HashAlgorithm] = {0x0809: hashes.SHA256(), 0x080A: hashes.SHA384(), 0x080B: hashes.SHA512()}
_ED25519, _ED448 = 0x0807, 0x0808


@dataclass(frozen=True, slots=True)
class ServerKeyExchange:
    """A signed key exchange message.

    Attributes:
        params: The parameters exactly as sent, which the signature covers.
        algorithm: SignatureScheme; None before TLS 1.2, where MD5 with SHA-1 or SHA-1 alone are implied.
        signature: The signature over client random, server random and parameters.
    """

    params: bytes
    algorithm: int | None
    signature: bytes


def key_exchange_of(cipher_suite: int) -> KeyExchange:
    """Tell how a cipher suite exchanges keys.

    Raises:
        TlsHandshakeFailed: It does so in no way that can be verified.
    """
    found = _KEY_EXCHANGE.get(cipher_suite)
    if found is None:
        raise TlsHandshakeFailed(f"the server chose cipher suite 0x{cipher_suite:04X}, which no certificate check can cover")
    return found


def parse_server_key_exchange(body: bytes, exchange: KeyExchange, version: int) -> ServerKeyExchange:
    """Read a ServerKeyExchange message.

    Args:
        body: The message without its header.
        exchange: ECDHE or DHE, from the cipher suite: the two look alike on the wire, and a signature over the one must
            never be taken for the other.
        version: The version negotiated.

    Raises:
        TlsSyntaxError: Malformed, or a curve that is spelled out instead of named.
    """
    fields = Fields(body, "ServerKeyExchange")
    if exchange is KeyExchange.ECDHE:
        params = fields.opaque(1)
        # > RFC 8422 §5.4: explicit_prime and explicit_char2 are deprecated: implementations MUST NOT use them (CVE-2020-0601).
        if params[0] != _NAMED_CURVE:
            raise TlsSyntaxError(f"ServerKeyExchange: curve type {params[0]}, expected named_curve (3)")
        group, point = fields.opaque(2), fields.vector(1, 1)
        params += group + bytes([len(point)]) + point
    else:
        # > RFC 5246 §7.4.3: struct { opaque dh_p<1..2^16-1>; opaque dh_g<1..2^16-1>; opaque dh_Ys<1..2^16-1>; }
        numbers = [fields.vector(2, 1) for _ in range(3)]
        params = b"".join(len(number).to_bytes(2, "big") + number for number in numbers)
    algorithm = fields.number(2) if version >= TLS12 else None
    signature = fields.vector(2, 1)
    fields.end()
    return ServerKeyExchange(params, algorithm, signature)


def verify_server_key_exchange(leaf_der: bytes, client_random: bytes, server_random: bytes, ske: ServerKeyExchange) -> None:
    """Verify that the key of a certificate signed this very key exchange (RFC 5246 §7.4.3, RFC 8422 §5.4).

    The caller must have verified the certificate itself, and must let nothing of this flight pass before.

    Args:
        leaf_der: The first certificate of the same flight.
        client_random: From the ClientHello, 32 bytes.
        server_random: From the ServerHello, 32 bytes.
        ske: The message.

    Raises:
        TlsHandshakeFailed: The signature is wrong, of another kind than the key, or of a kind that is not safe (SHA-1).
    """
    # > signed_params: opaque client_random[32]; opaque server_random[32]; ServerDHParams params;
    signed = client_random + server_random + ske.params
    try:
        with warnings.catch_warnings():
            # A serial number below 1 is for path validation to judge, and nothing to write to standard error.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            certificate = x509.load_der_x509_certificate(leaf_der)
        key = certificate.public_key()
        match key:
            case ec.EllipticCurvePublicKey() if ske.algorithm in _ECDSA:
                key.verify(ske.signature, signed, ec.ECDSA(_ECDSA[ske.algorithm]))
            case rsa.RSAPublicKey():
                digest, scheme = _rsa_scheme(ske.algorithm, certificate.public_key_algorithm_oid)
                key.verify(ske.signature, signed, scheme, digest)
            case ed25519.Ed25519PublicKey() if ske.algorithm == _ED25519:
                key.verify(ske.signature, signed)
            case ed448.Ed448PublicKey() if ske.algorithm == _ED448:
                key.verify(ske.signature, signed)
            case _:
                raise _unfit(ske.algorithm)
    except InvalidSignature as error:
        raise TlsHandshakeFailed("the key exchange is not signed by the key of the server's certificate") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsHandshakeFailed("the key of the server's certificate cannot be read") from error


def _rsa_scheme(algorithm: int | None, key_oid: x509.ObjectIdentifier) -> tuple[hashes.HashAlgorithm, padding.AsymmetricPadding]:
    """Choose hash and padding; a key made for PSS signs with PSS only, and under its own numbers (RFC 8446 §4.2.3)."""
    is_pss_key = key_oid == PublicKeyAlgorithmOID.RSASSA_PSS
    pss = _RSA_PSS_PSS if is_pss_key else _RSA_PSS_RSAE
    if algorithm in pss:
        digest = pss[algorithm]
        # > RFC 8446 §4.2.3: The length of the Salt MUST be equal to the length of the output of the digest algorithm.
        return digest, padding.PSS(padding.MGF1(digest), digest.digest_size)
    if algorithm in _RSA_PKCS1 and not is_pss_key:
        return _RSA_PKCS1[algorithm], padding.PKCS1v15()
    raise _unfit(algorithm)


def _unfit(algorithm: int | None) -> TlsHandshakeFailed:
    name = "of TLS before 1.2 (SHA-1)" if algorithm is None else f"0x{algorithm:04X}"
    return TlsHandshakeFailed(f"signature scheme {name} does not fit the key of the server's certificate, or is not safe")
