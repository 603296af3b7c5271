"""From what was sent to the one chain that pins may meet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pinproxy.errors import CertificateExpired, ChainInvalid, HostnameMismatch, Refused
from pinproxy.pins.chain import Certificate, SentChain, certificate
from pinproxy.policy import path
from pinproxy.policy.path import build_verified_chain
from pinproxy.policy.rule import TrustAnchors
from tests.harness.bad_chains import INVALID, OUT_OF_TIME, TRUST, WRONG_NAME
from tests.harness.pki import NOW, Issued, make_intermediate, make_leaf, make_root

HOST = "api.example.test"

#     ROOT
#      └─ UPPER
#          └─ LOWER
#              └─ LEAF
ROOT = make_root()
UPPER = make_intermediate(ROOT, "Upper", path_length=1)
LOWER = make_intermediate(UPPER, "Lower")
LEAF = make_leaf(LOWER, HOST, "192.0.2.7", "2001:db8::7")
STRANGER = make_root("Stranger")


def built(*items: Issued, host: str = HOST, anchors: TrustAnchors = ROOT.anchors, now: datetime = NOW) -> list[bytes]:
    """Build a chain from what is sent, and list its certificates."""
    chain = build_verified_chain(SentChain(tuple(certificate(item.der) for item in items)), host, anchors, now)
    return [item.der for item in chain.certificates]


WHOLE = [LEAF.der, LOWER.der, UPPER.der, ROOT.der]


@pytest.mark.parametrize(
    "sent",
    [(LEAF, LOWER, UPPER), (LEAF, UPPER, LOWER), (LEAF, LOWER, UPPER, ROOT), (LEAF, STRANGER, LOWER, LOWER, UPPER)],
    ids=["in order", "out of order", "with the root", "with strangers and doubles"],
)
def test_the_path_is_leaf_first_and_ends_in_the_anchor_however_it_was_sent(sent: tuple[Issued, ...]) -> None:
    """RFC 8446 §4.4.2 lets servers send in any order; what is not on the path is not in the chain."""
    assert built(*sent) == WHOLE


@pytest.mark.parametrize("sent", [(LEAF, LOWER), (LEAF, UPPER), (LEAF,)], ids=["no upper", "no lower", "leaf alone"])
def test_a_gap_in_the_path_is_refused(sent: tuple[Issued, ...]) -> None:
    """Nothing is fetched to fill it."""
    with pytest.raises(ChainInvalid, match="no valid path"):
        built(*sent)


def test_the_leaf_is_what_was_sent_first() -> None:
    """A server that sends an intermediate first has no certificate for the host."""
    with pytest.raises((ChainInvalid, HostnameMismatch)):
        built(LOWER, LEAF, UPPER)


def test_a_trusted_intermediate_is_an_anchor() -> None:
    """The path ends in the first certificate that is trusted; the pins above it are then not met."""
    assert built(LEAF, LOWER, UPPER, anchors=LOWER.anchors) == [LEAF.der, LOWER.der]


@pytest.mark.attack(
    "a root that was sent along and is not trusted",
    expect="chain_invalid",
    topic="certificates",
    motive="RFC 5280 §6.1",
)
def test_an_untrusted_root_that_was_sent_is_no_anchor() -> None:
    """Sending it does not make it trusted."""
    with pytest.raises(ChainInvalid):
        built(LEAF, LOWER, UPPER, ROOT, anchors=STRANGER.anchors)


@pytest.mark.parametrize("host", [HOST, "192.0.2.7", "2001:db8::7"])
def test_a_name_and_an_address_of_the_certificate_are_named(host: str) -> None:
    """A dNSName for names, iPAddress for addresses (RFC 9525 §6)."""
    assert built(LEAF, LOWER, UPPER, host=host) == WHOLE


@pytest.mark.parametrize("host", ["example.test", "x.api.example.test", "192.0.2.8", "2001:db8::8"])
def test_another_name_or_address_is_a_hostname_mismatch(host: str) -> None:
    """The twin; it has a code of its own."""
    with pytest.raises(HostnameMismatch, match=host):
        built(LEAF, LOWER, UPPER, host=host)


def test_now_is_an_instant_in_whatever_zone_it_is_given() -> None:
    """The verifier wants naive UTC; a zone that is dropped would move the end of every certificate by hours."""
    end = LEAF.certificate.not_valid_after_utc
    for zone in (UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))):
        assert built(LEAF, LOWER, UPPER, now=end.astimezone(zone)) == WHOLE
        with pytest.raises(CertificateExpired):
            built(LEAF, LOWER, UPPER, now=(end + timedelta(seconds=1)).astimezone(zone))


CODES = {"hostname_mismatch": WRONG_NAME, "certificate_expired": OUT_OF_TIME, "chain_invalid": INVALID}
# What only the handshake can judge: this key is too weak for OpenSSL, and a leaf's key signs nothing on the path.
OF_THE_HANDSHAKE = {"RSA-1024"}
OF_EVERY_KIND = {
    f"{code}, {name}": (leaf, code)
    for code, chains in CODES.items()
    for name, leaf in chains.items()
    if name not in OF_THE_HANDSHAKE
}


@pytest.mark.attack(
    "words that a server put into its certificate, or a key of many bytes, quoted in the text of a refusal",
    expect="neutralise",
    topic="secrets",
    motive="CWE-117",
)
@pytest.mark.parametrize(("leaf", "code"), OF_EVERY_KIND.values(), ids=OF_EVERY_KIND.keys())
def test_a_refusal_has_the_code_of_its_cause_and_quotes_little_of_a_certificate(leaf: Issued, code: str) -> None:
    """What is wrong with a name or a date has its own code; of what the server chose to write, a few names in few words."""
    with pytest.raises(Refused) as refused:
        built(*leaf.sent_chain(), anchors=TRUST)
    assert refused.value.code == code
    assert "Certificate(" not in refused.value.detail
    assert len(refused.value.detail) < 300


def test_bytes_that_are_no_certificate_are_refused() -> None:
    """Whatever the TLS library made of them."""
    garbage = Certificate(b"\x30\x03\x02\x01\x01")
    for sent in ((garbage,), (certificate(LEAF.der), garbage)):
        with pytest.raises(ChainInvalid, match="cannot be parsed"):
            build_verified_chain(SentChain(sent), HOST, ROOT.anchors, NOW)


def test_an_empty_chain_is_refused() -> None:
    """Nothing sent, nothing built."""
    with pytest.raises(ChainInvalid):
        build_verified_chain(SentChain(()), HOST, ROOT.anchors, NOW)


def test_roots_that_cannot_be_read_are_no_anchors_and_no_failure() -> None:
    """Old stores hold a few; the others still count."""
    mixed = TrustAnchors("mixed", (b"\x30\x00", ROOT.der))
    assert built(LEAF, LOWER, UPPER, anchors=mixed) == WHOLE
    with pytest.raises(ChainInvalid):
        built(LEAF, LOWER, UPPER, anchors=TrustAnchors("nothing readable", (b"\x30\x00",)))


@pytest.mark.attack(
    "hosts, ports and ALPN offers without end, to fill what is remembered of each of them", expect="bound", topic="resources"
)
def test_paths_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a wildcard there are as many hosts as a client likes."""
    monkeypatch.setattr(path, "_REMEMBERED_PATHS", 2)
    leaf = make_leaf(ROOT, "*.example.test")
    for host in ("a.example.test", "b.example.test", "c.example.test", "d.example.test"):
        assert built(leaf, host=host) == [leaf.der, ROOT.der]
        assert len(path._REMEMBERED) <= 2
