from __future__ import annotations

import ssl
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from pinproxy.errors import TlsHandshakeFailed, TlsSyntaxError
from pinproxy.tls.client_hello import parse_client_hello
from pinproxy.tls.key_exchange import (
    KeyExchange,
    ServerKeyExchange,
    key_exchange_of,
    parse_server_key_exchange,
    verify_server_key_exchange,
)
from pinproxy.tls.server_flight import ServerFlightReader
from pinproxy.tls.server_messages import CertificateMessage, ServerHello
from tests.harness.tls_handshakes import Handshake, client_context, server_context, shake_hands

CLIENT_RANDOM, SERVER_RANDOM = bytes(range(32)), bytes(range(32, 64))
PARAMS = b"\x03\x00\x1d\x20" + bytes(32)
SIGNED = CLIENT_RANDOM + SERVER_RANDOM + PARAMS
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())

Proof = tuple[bytes, bytes, bytes, ServerKeyExchange]


def proof_of(handshake: Handshake) -> Proof:
    """The arguments of the verification, from what was on the wire."""
    client_hello = parse_client_hello(handshake.client_bytes)
    hello, certificate, exchange, *_ = ServerFlightReader(96 * 1024).feed(handshake.server_bytes)
    assert client_hello is not None
    assert isinstance(hello, ServerHello)
    assert isinstance(certificate, CertificateMessage)
    assert isinstance(exchange, ServerKeyExchange)
    return certificate.chain[0], client_hello.random, hello.random, exchange


def leaf(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey) -> bytes:
    """A certificate of this key, signed by whomever."""
    now, name = datetime.now(UTC), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(EC_KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def verify(leaf_der: bytes, algorithm: int | None, signature: bytes) -> None:
    """Verify a hand-made message."""
    verify_server_key_exchange(leaf_der, CLIENT_RANDOM, SERVER_RANDOM, ServerKeyExchange(PARAMS, algorithm, signature))


def flipped(data: bytes, at: int = -1) -> bytes:
    """One bit changed."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


@pytest.fixture(scope="module", params=["EC", "RSA"])
def proof(request: pytest.FixtureRequest) -> Proof:
    """What a real handshake proves, with either kind of key."""
    return proof_of(shake_hands(client_context(), server_context(request.param)))


def test_a_real_handshake_verifies(proof: Proof) -> None:
    """The twin of every refusal below."""
    verify_server_key_exchange(*proof)


@pytest.mark.attack(
    "TLS 1.2: the true certificate over a ServerKeyExchange that is missing, replayed, flipped, or signed by another key",
    expect="tls_handshake_failed",
    topic="tunnel",
    motive="RFC 5246 §7.4.3",
)
@pytest.mark.parametrize("what", ["client random", "server random", "params", "signature", "leaf"])
def test_a_change_anywhere_under_the_signature_is_refused(proof: Proof, what: str) -> None:
    """RFC 5246 §7.4.3: the signature binds randoms and parameters to the key of the certificate."""
    leaf_der, client_random, server_random, ske = proof
    match what:
        case "client random":
            client_random = flipped(client_random, 0)
        case "server random":
            server_random = flipped(server_random)
        case "params":
            ske = replace(ske, params=flipped(ske.params))
        case "signature":
            ske = replace(ske, signature=flipped(ske.signature))
        case _:
            leaf_der = leaf(RSA_KEY if ske.algorithm == 0x0804 else EC_KEY)
    with pytest.raises(TlsHandshakeFailed, match="not signed by the key"):
        verify_server_key_exchange(leaf_der, client_random, server_random, ske)


@pytest.mark.needs_tool("openssl")
@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (("ec", "ec_paramgen_curve:P-384"), 0x0403),
        (("ec", "ec_paramgen_curve:P-521"), 0x0403),
        (("ed25519", None), 0x0807),
        (("ed448", None), 0x0808),
        (("rsa-pss", "rsa_keygen_bits:2048"), 0x0809),
    ],
)
def test_every_kind_of_key_that_openssl_serves_verifies(tmp_path: Path, key: tuple[str, str | None], algorithm: int) -> None:
    """Real TLS 1.2 handshakes over keys beyond the usual two; a flipped signature is refused for each."""
    kind, option = key
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", kind, *(["-pkeyopt", option] if option else [])]
    command += ["-subj", "/CN=api.example.com", "-addext", "subjectAltName=DNS:api.example.com"]
    subprocess.run([*command, "-keyout", "key.pem", "-out", "cert.pem"], cwd=tmp_path, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(tmp_path / "cert.pem")
    leaf_der, client_random, server_random, ske = proof_of(shake_hands(client, server))
    assert ske.algorithm == algorithm
    verify_server_key_exchange(leaf_der, client_random, server_random, ske)
    with pytest.raises(TlsHandshakeFailed, match="not signed by the key"):
        verify_server_key_exchange(leaf_der, client_random, server_random, replace(ske, signature=flipped(ske.signature)))


@pytest.mark.needs_tool("openssl")
def test_finite_field_diffie_hellman_verifies(tmp_path: Path) -> None:
    """RFC 5246 §7.4.3: prime, generator and public value are under the signature as well."""
    parameters = tmp_path / "dh.pem"
    command = ["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", str(parameters)]
    subprocess.run(command, check=True, capture_output=True)
    server, client = server_context("RSA"), client_context()
    server.load_dh_params(str(parameters))
    server.set_ciphers("DHE-RSA-AES128-GCM-SHA256")
    proof = proof_of(shake_hands(client, server))
    assert len(proof[3].params) > 512
    verify_server_key_exchange(*proof)


@pytest.mark.parametrize(
    ("algorithm", "digest"), [(0x0401, hashes.SHA256()), (0x0501, hashes.SHA384()), (0x0601, hashes.SHA512())]
)
def test_rsa_pkcs1_signatures_verify(algorithm: int, digest: hashes.HashAlgorithm) -> None:
    """RFC 8446 §4.2.3 allows them under TLS 1.2."""
    signature = RSA_KEY.sign(SIGNED, padding.PKCS1v15(), digest)
    verify(leaf(RSA_KEY), algorithm, signature)
    with pytest.raises(TlsHandshakeFailed, match="not signed"):
        verify(leaf(RSA_KEY), algorithm, flipped(signature))


@pytest.mark.parametrize(
    ("algorithm", "digest"), [(0x0403, hashes.SHA256()), (0x0503, hashes.SHA384()), (0x0603, hashes.SHA512())]
)
def test_ecdsa_signatures_verify_with_any_hash_of_the_sha2_family(algorithm: int, digest: hashes.HashAlgorithm) -> None:
    """RFC 8422 §5.1.1: under TLS 1.2 the scheme names the hash and says nothing about the curve."""
    signature = EC_KEY.sign(SIGNED, ec.ECDSA(digest))
    verify(leaf(EC_KEY), algorithm, signature)
    with pytest.raises(TlsHandshakeFailed, match="not signed"):
        verify(leaf(EC_KEY), algorithm, flipped(signature))


@pytest.mark.parametrize("algorithm", [0x0201, None, 0x0301, 0x0101, 0x0809, 0x0403, 0x0807, 0xFFFF])
def test_sha1_older_tls_and_schemes_of_other_keys_are_refused(algorithm: int | None) -> None:
    """A signature that is right for an RSA key under SHA-1 is refused for its scheme, and so is any scheme of another key."""
    signature = RSA_KEY.sign(SIGNED, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - what must be refused
    with pytest.raises(TlsHandshakeFailed, match="signature scheme"):
        verify(leaf(RSA_KEY), algorithm, signature)


@pytest.mark.parametrize("algorithm", [0x0203, 0x0401, 0x0804, 0x0807])
def test_an_ec_key_signs_with_ecdsa_and_sha2_only(algorithm: int) -> None:
    """The same signature under its own scheme passes."""
    signature = EC_KEY.sign(SIGNED, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(TlsHandshakeFailed, match="signature scheme"):
        verify(leaf(EC_KEY), algorithm, signature)
    verify(leaf(EC_KEY), 0x0403, signature)


def test_a_pss_salt_of_another_length_is_refused() -> None:
    """RFC 8446 §4.2.3: the salt is as long as the digest."""
    digest = hashes.SHA256()
    for salt_length, is_right in ((32, True), (20, False)):
        signature = RSA_KEY.sign(SIGNED, padding.PSS(padding.MGF1(digest), salt_length), digest)
        if is_right:
            verify(leaf(RSA_KEY), 0x0804, signature)
        else:
            with pytest.raises(TlsHandshakeFailed, match="not signed"):
                verify(leaf(RSA_KEY), 0x0804, signature)


def test_a_dsa_key_or_no_certificate_at_all_is_refused() -> None:
    """DSA has no place in TLS any more (RFC 9155); bytes that are no certificate have no key."""
    with pytest.raises(TlsHandshakeFailed, match="signature scheme"):
        verify(leaf(dsa.generate_private_key(2048)), 0x0402, b"")
    with pytest.raises(TlsHandshakeFailed, match="cannot be read"):
        verify(b"0\x00", 0x0403, b"")


@pytest.mark.parametrize("signature", [b"", b"\x00", bytes(64)])
@pytest.mark.parametrize(
    ("key", "algorithm"), [(EC_KEY, 0x0403), (RSA_KEY, 0x0804), (ed25519.Ed25519PrivateKey.generate(), 0x0807)]
)
def test_bytes_that_are_no_signature_are_refused(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, algorithm: int, signature: bytes
) -> None:
    """Whatever their length."""
    with pytest.raises(TlsHandshakeFailed):
        verify(leaf(key), algorithm, signature)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01\x00\x1d\x01a" + b"\x04\x03\x00\x01s",  # explicit_prime
        b"\x03\x00\x1d\x00" + b"\x04\x03\x00\x01s",  # no point
        b"\x03\x00\x1d\x01a" + b"\x04\x03\x00\x00",  # no signature
        b"\x03\x00\x1d\x01a" + b"\x04\x03\x00\x01ss",
        b"\x03\x00\x1d\x01a",  # anonymous
    ],
)
def test_a_malformed_key_exchange_is_refused(body: bytes) -> None:
    """RFC 8422 §5.4; the well-formed twin keeps exactly the signed bytes."""
    with pytest.raises(TlsSyntaxError):
        parse_server_key_exchange(body, KeyExchange.ECDHE, 0x0303)
    good = parse_server_key_exchange(b"\x03\x00\x1d\x01a\x04\x03\x00\x01s", KeyExchange.ECDHE, 0x0303)
    assert good == ServerKeyExchange(b"\x03\x00\x1d\x01a", 0x0403, b"s")


def test_before_tls12_a_key_exchange_names_no_scheme() -> None:
    """RFC 4346 §7.4.3: hash and signature are implied, and not safe."""
    old = parse_server_key_exchange(b"\x03\x00\x1d\x01a\x00\x01s", KeyExchange.ECDHE, 0x0302)
    assert old == ServerKeyExchange(b"\x03\x00\x1d\x01a", None, b"s")


def test_the_suites_of_openssl_are_sorted_as_openssl_sorts_them() -> None:
    """Each suite that authenticates with a certificate is known by the key exchange that OpenSSL says it has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:!PSK:!SRP:!aNULL:!aDSS:@SECLEVEL=0")
    expected = {"kx-ecdhe": KeyExchange.ECDHE, "kx-dhe": KeyExchange.DHE, "kx-rsa": KeyExchange.RSA}
    suites = [cipher for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    wrong = [suite["name"] for suite in suites if key_exchange_of(suite["id"] & 0xFFFF) is not expected[suite["kea"]]]
    assert len(suites) > 50
    assert wrong == []
