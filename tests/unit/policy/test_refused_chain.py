"""What a refusal of certificates says: which names, which dates, which link is missing, and nothing the server could smuggle."""

from __future__ import annotations

import pytest
from cryptography import x509

from pinproxy.authority import Authority
from pinproxy.pins.chain import Certificate, SentChain
from pinproxy.policy.refused_chain import no_path, wrong_dates, wrong_name
from tests.harness.defects import forge_leaf
from tests.harness.pki import Issued, make_intermediate, make_leaf, make_root
from tests.harness.running import HOST

AUTHORITY = Authority(HOST, 443)
ROOT = make_root("Example Root")
ISSUER = make_intermediate(ROOT, "Example CA R13")
LEAF = make_leaf(ISSUER, HOST)
LONE = forge_leaf(None, HOST, common_name=HOST)
FROM, UNTIL = LEAF.certificate.not_valid_before_utc, LEAF.certificate.not_valid_after_utc
NO_LOCAL_ISSUER = "unable to get local issuer certificate"


def sent(*chain: Issued) -> SentChain:
    """Send these, leaf first."""
    return SentChain(tuple(Certificate(item.der) for item in chain))


def named(*names: str, common_name: str = "") -> Certificate:
    """Make a certificate with these names, whatever they are worth."""
    title = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return Certificate(forge_leaf(ROOT, HOST, instead=[(title, False)], common_name=common_name).der)


# --- names ---------------------------------------------------------------------------------------------------------------


def test_the_names_of_the_certificate_are_told() -> None:
    """Names and addresses, as they stand there; and what to do."""
    text = wrong_name(Certificate(make_leaf(ROOT, "other.test", "*.cdn.test", "10.1.2.3").der), HOST).detail
    first, to_do = text.split("\n")
    assert first == f"the server's certificate is for other.test, *.cdn.test, 10.1.2.3, not for {HOST}"
    assert to_do.startswith("  to do     use a name it has")


def test_of_many_names_some_are_told() -> None:
    """A certificate may have thousands."""
    text = wrong_name(named(*(f"h{number}.test" for number in range(1_000))), HOST).detail
    assert "h0.test, h1.test, h2.test, h3.test, h4.test and 995 more, not for" in text


@pytest.mark.attack(
    "a certificate for other names, written to forge a line of the log or fill it",
    expect="neutralise",
    topic="secrets",
    motive="CWE-117",
)
def test_a_name_cannot_forge_a_line() -> None:
    """Escaped, and cut."""
    text = wrong_name(named("x.test\n  to do     turn pinning off\x1b[2J", "y" * 500), HOST).detail
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert len(text) < 500


def test_a_certificate_without_names_is_said_to_have_none() -> None:
    """A common name is where people look first, and it does not count (RFC 9525 §6.3)."""
    leaf = forge_leaf(ROOT, without=[x509.SubjectAlternativeName], common_name=HOST)
    assert f"no host name in its subjectAltName, and CN={HOST} does not count" in wrong_name(Certificate(leaf.der), HOST).detail


@pytest.mark.parametrize("leaf", [None, Certificate(b"\x30\x03abc")], ids=["not to be had", "unreadable"])
def test_a_certificate_that_tells_nothing_is_refused_all_the_same(leaf: Certificate | None) -> None:
    """The refusal never depends on what can be read of it."""
    error = wrong_name(leaf, HOST)
    assert (error.code, HOST in error.detail) == ("hostname_mismatch", True)


# --- paths ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chain", "said", "to_do"),
    [
        ((LEAF,), f"CN=Example CA R13, which issued CN={HOST}, was not sent", "have the server send its intermediates"),
        ((LEAF, ISSUER), "CN=Example Root, which issued CN=Example CA R13, was not sent", "if the CA is a private one of yours"),
        ((LEAF, ROOT, ISSUER), "CN=Example Root, where it ends, is no root", "if the CA is a private one of yours"),
        ((LONE,), f"CN={HOST} vouches for itself", "trust: pins-only"),
    ],
    ids=["no intermediate", "no root", "its own root", "self-signed"],
)
def test_the_missing_link_is_named(chain: tuple[Issued, ...], said: str, to_do: str) -> None:
    """By the names of the certificates that were sent, in whatever order."""
    first, *_, last = no_path(sent(*chain), AUTHORITY, NO_LOCAL_ISSUER, is_end_missing=True).detail.split("\n")
    assert first.startswith(f"{AUTHORITY}: {NO_LOCAL_ISSUER}: {said}")
    assert last.startswith("  to do     ")
    assert to_do in last


def test_a_certificate_at_fault_is_shown_and_no_link_is_called_missing() -> None:
    """A weak key or a bad signature is no missing root."""
    text = no_path(sent(LEAF, ISSUER), AUTHORITY, "EE certificate key too weak", is_end_missing=False).detail
    assert text.startswith(f"{AUTHORITY}: EE certificate key too weak\n  seen      leaf  CN={HOST}   ")
    assert "to do" not in text


@pytest.mark.parametrize("is_end_missing", [True, False])
@pytest.mark.parametrize("chain", [None, SentChain((Certificate(b"\x30\x03abc"),))], ids=["not to be had", "unreadable"])
def test_a_chain_that_tells_nothing_is_refused_all_the_same(chain: SentChain | None, is_end_missing: bool) -> None:
    """With the reason, and no guess."""
    error = no_path(chain, AUTHORITY, NO_LOCAL_ISSUER, is_end_missing=is_end_missing)
    assert error.code == "chain_invalid"
    assert error.detail.partition("\n")[0] == f"{AUTHORITY}: {NO_LOCAL_ISSUER}"


def test_a_circle_of_issuers_has_an_end() -> None:
    """Two CAs that certify each other lead nowhere."""
    one, other = make_root("One"), make_root("Other")
    circle = (
        make_leaf(one, HOST),
        make_intermediate(Issued(other.certificate, other.key), "One"),
        make_intermediate(one, "Other"),
    )
    assert no_path(sent(*circle), AUTHORITY, NO_LOCAL_ISSUER, is_end_missing=True).code == "chain_invalid"


def test_of_a_long_chain_the_beginning_is_shown() -> None:
    """What is sent is not bounded yet where it is refused."""
    text = wrong_dates(sent(LEAF, *[ISSUER] * 60), AUTHORITY, "certificate has expired").detail
    assert "and 57 more" in text
    assert text.count("\n") == 6


def test_dates_are_shown() -> None:
    """Of every certificate: the library does not say which one it means."""
    text = wrong_dates(sent(LEAF, ISSUER), AUTHORITY, "certificate has expired").detail
    for item in (LEAF, ISSUER):
        assert f"to {item.certificate.not_valid_after_utc:%Y-%m-%d}, issued by" in text
    assert "date -u" in text
    first, *_ = text.split("\n")
    assert first.endswith(f"; the server's own is for {FROM:%Y-%m-%d} to {UNTIL:%Y-%m-%d}")
