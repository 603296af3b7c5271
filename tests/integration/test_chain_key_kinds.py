"""Keys of every kind that a server may show: the pin is that of the very key, or the refusal is clean; at once either way."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from pinproxy.pins.chain import SentChain, certificate
from pinproxy.policy.path import build_verified_chain
from tests.harness.bad_chains import CA, ROOT, TRUST
from tests.harness.clients import Way, every_way, on_one_loop
from tests.harness.defects import forge_ca, forge_leaf, with_public_key
from tests.harness.outcome import ask_once, assert_denied, assert_served
from tests.harness.pki import NOW, Issued, Key, server_context
from tests.harness.running import HOST

KEYS = Path(__file__).parents[1] / "data/keys"


def of_file(name: str) -> Key:
    """Load a key that takes seconds to make; whether its numbers are primes is not checked, which would take as long again."""
    key = load_pem_private_key((KEYS / f"{name}.pem").read_bytes(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, Key)
    return key


def as_written(name: str, issued: Issued) -> Issued:
    """Give a certificate the public key of a file, in the very form that stands there, which our library does not write."""
    private, begin, public = (KEYS / f"{name}.pem").read_bytes().partition(b"-----BEGIN PUBLIC KEY-----")
    assert begin
    return with_public_key(issued, base64.b64decode(public.partition(b"-----END")[0]), private)


def signing(key: Key) -> Issued:
    """Make a leaf under an intermediate with this key."""
    return forge_leaf(forge_ca(ROOT, "CA of that kind", key=key), HOST)


SERVED = {
    "P-384": forge_leaf(CA, HOST, key=ec.generate_private_key(ec.SECP384R1())),
    "P-521": forge_leaf(CA, HOST, key=ec.generate_private_key(ec.SECP521R1())),
    "P-521, of the CA": signing(ec.generate_private_key(ec.SECP521R1())),
    "Ed25519": forge_leaf(CA, HOST, key=ed25519.Ed25519PrivateKey.generate()),
    "RSA-8192": forge_leaf(CA, HOST, key=of_file("rsa_8192")),
    "RSA-8192, of the CA": signing(of_file("rsa_8192")),
    "RSA-PSS": as_written("rsa_pss", forge_leaf(CA, HOST)),
}
EXPLICIT_CA = as_written("p256_explicit", forge_ca(ROOT, "CA of that kind", key=of_file("p256_explicit")))
REFUSED = {
    "DSA": (forge_leaf(CA, HOST, key=dsa.generate_private_key(1024)), "tls_handshake_failed"),  # noqa: S505 - the defect
    "a curve that TLS does not have": (forge_leaf(CA, HOST, key=ec.generate_private_key(ec.SECP256K1())), "tls_handshake_failed"),
    "explicit curve parameters": (as_written("p256_explicit", forge_leaf(CA, HOST)), "chain_invalid"),
    "explicit curve parameters, of the CA": (forge_leaf(EXPLICIT_CA, HOST), "chain_invalid"),
}


@pytest.mark.attack(
    "keys that few servers have: P-521, Ed25519, RSA-PSS, RSA-8192 and RSA-16384, ML-DSA",
    expect=("serve", "bound"),
    topic="certificates",
    motive="a large key is a server's way to burn time",
)
@on_one_loop
@every_way
@pytest.mark.parametrize("leaf", SERVED.values(), ids=SERVED.keys())
async def test_a_server_with_an_unusual_key_is_served_under_the_pin_of_that_key(way: Way, leaf: Issued) -> None:
    """RFC 7469 §2.4: the pin is that of the SubjectPublicKeyInfo as it was sent, of whatever kind."""
    began = time.thread_time()
    outcome = await ask_once(way, server_context(leaf), [leaf.pin], TRUST)
    assert time.thread_time() - began < 1.0  # the origin's own signature with RSA-8192 included
    assert_served(outcome)
    assert outcome.line["matched_pin"] == str(leaf.pin)


@pytest.mark.attack(
    "keys that nobody should have: DSA, curves outside TLS, explicit curve parameters",
    expect=("chain_invalid", "tls_handshake_failed"),
    topic="certificates",
    motive="CVE-2020-0601; limbo's forbidden-* cases",
)
@on_one_loop
@every_way
@pytest.mark.parametrize(("leaf", "code"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_key_that_nobody_should_have_is_denied(way: Way, leaf: Issued, code: str) -> None:
    """A base point of the attacker's own choosing makes any signature his; the twins are the keys above."""
    context = server_context(leaf, allows_weak_keys=True)
    assert_denied(await ask_once(way, context, [leaf.pin], TRUST), code, status=502)


RSA_16384 = rsa.RSAPublicNumbers(65537, 2**16383 + 1).public_key()
SPKIS = {
    "RSA-16384": RSA_16384.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
}


@pytest.mark.attack(
    "keys that few servers have: P-521, Ed25519, RSA-PSS, RSA-8192 and RSA-16384, ML-DSA",
    expect=("serve", "bound"),
    topic="certificates",
    motive="a large key is a server's way to burn time",
)
@pytest.mark.parametrize("spki", SPKIS.values(), ids=SPKIS.keys())
def test_a_key_that_no_handshake_here_can_use_is_read_as_it_was_sent(spki: bytes) -> None:
    """Nobody signs with them in time for a test, or at all with an older OpenSSL; path and pins need no signature of theirs."""
    leaf = certificate(with_public_key(forge_leaf(CA, HOST), spki, b"").der)
    began = time.thread_time()
    chain = build_verified_chain(SentChain((leaf, certificate(CA.der))), HOST, TRUST, NOW)
    assert chain.leaf.spki_der == spki
    assert time.thread_time() - began < 1.0
