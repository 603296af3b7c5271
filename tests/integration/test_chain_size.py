"""What a server may present: ten certificates, 64 KiB; path building over more is a server's way to burn our time."""

from __future__ import annotations

import pytest
from cryptography import x509

from pinproxy.limits import Limits
from tests.harness.clients import Way, every_way
from tests.harness.defects import forge_ca, forge_leaf
from tests.harness.outcome import ask_once, assert_denied, assert_served
from tests.harness.pki import Issued, make_leaf, make_root, server_context
from tests.harness.running import HOST

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
OTHERS = [make_root(f"Unrelated {number}") for number in range(11)]


def padded(size_bytes: int) -> Issued:
    """Make a root of about that many bytes."""
    ballast = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.2"), b"\x00" * size_bytes)
    return forge_ca(None, "Ballast", instead=[(ballast, False)])


@pytest.mark.attack(
    "more certificates or more bytes than a server may present",
    expect="chain_invalid",
    topic="certificates",
    motive="CVE-2026-69249",
)
@every_way
@pytest.mark.parametrize("mode", ["enforce", "report-only"])
async def test_more_certificates_than_the_limit_are_denied(way: Way, mode: str) -> None:
    """`sent: LEAF, Unrelated 0, … Unrelated 9`: eleven; the path itself would be valid, and its pin matches."""
    outcome = await ask_once(way, server_context(LEAF, *OTHERS[:10]), [LEAF.pin], ROOT.anchors, mode=mode)
    assert_denied(outcome, "chain_invalid", status=502)


@every_way
async def test_as_many_certificates_as_the_limit_are_served(way: Way) -> None:
    """The twin: ten."""
    assert_served(await ask_once(way, server_context(LEAF, *OTHERS[:9]), [LEAF.pin], ROOT.anchors))


@pytest.mark.attack(
    "more certificates or more bytes than a server may present",
    expect="chain_invalid",
    topic="certificates",
    motive="CVE-2026-69249",
)
@every_way
@pytest.mark.parametrize("mode", ["enforce", "report-only"])
async def test_more_bytes_than_the_limit_are_denied(way: Way, mode: str) -> None:
    """`sent: LEAF, Ballast`: two certificates, more than 64 KiB."""
    context = server_context(LEAF, padded(40 * 1024), padded(25 * 1024))
    assert_denied(await ask_once(way, context, [LEAF.pin], ROOT.anchors, mode=mode), "chain_invalid", status=502)


@every_way
async def test_as_many_bytes_as_the_limit_are_served(way: Way) -> None:
    """The twin: less than 64 KiB."""
    context = server_context(LEAF, padded(40 * 1024), padded(20 * 1024))
    assert_served(await ask_once(way, context, [LEAF.pin], ROOT.anchors))


@pytest.mark.attack(
    "a Certificate message of 200 KiB",
    expect="tls_handshake_failed",
    topic="certificates",
    motive="CVE-2026-69249",
)
@every_way
async def test_a_chain_beyond_what_the_tls_library_takes_is_denied(way: Way) -> None:
    """OpenSSL stops reading a certificate message at 100 KiB, before anything of it is validated; this one has 210."""
    context = server_context(LEAF, *(padded(30 * 1024) for _ in range(7)))
    assert_denied(await ask_once(way, context, [LEAF.pin], ROOT.anchors), "tls_handshake_failed", status=502)


@every_way
async def test_the_limits_are_the_configured_ones(way: Way) -> None:
    """`limits.chain_certificates` and `limits.chain_bytes` are read where they are documented to count."""
    context = server_context(forge_leaf(forge_ca(ROOT, "CA"), HOST))
    pins = [ROOT.pin]
    assert_served(await ask_once(way, context, pins, ROOT.anchors, limits=Limits(chain_certificates=2)))
    few = await ask_once(way, context, pins, ROOT.anchors, limits=Limits(chain_certificates=1))
    assert_denied(few, "chain_invalid", status=502)
    small = await ask_once(way, context, pins, ROOT.anchors, limits=Limits(chain_bytes=100))
    assert_denied(small, "chain_invalid", status=502)
