"""Chains made to be hard to build or to read: the verdict comes at once, and it is the right one.

What is sent, and what it costs to look at it, is the server's to choose before any pin is compared: CVE-2026-69249 hung
`cryptography` with a chain. Time is that of the thread that the loop runs in, for nobody else is served meanwhile.
"""

from __future__ import annotations

import time

import pytest
from cryptography import x509

from pinproxy.errors import ChainInvalid
from pinproxy.pins.chain import SentChain, certificate
from pinproxy.policy.path import build_verified_chain
from pinproxy.policy.rule import TrustAnchors
from tests.harness.bad_chains import CA, ROOT, TRUST
from tests.harness.clients import Way, every_way, on_one_loop
from tests.harness.defects import forge_ca, forge_leaf, with_serial_number
from tests.harness.outcome import Outcome, ask_once, assert_denied, assert_served
from tests.harness.pki import NOW, Issued, make_root, server_context
from tests.harness.running import HOST

ONE_SECOND = 1.0


async def ask_in_time(way: Way, leaf: Issued, *appended: Issued, pinned: Issued, trust: TrustAnchors = TRUST) -> Outcome:
    """Ask once, and check that the loop was busy with it for less than a second."""
    began = time.thread_time()
    outcome = await ask_once(way, server_context(leaf, *appended), [pinned.pin], trust)
    assert time.thread_time() - began < ONE_SECOND
    return outcome


def down_from(issuer: Issued, count: int) -> Issued:
    """Make a chain of that many intermediates; returns the last."""
    for number in range(count):
        issuer = forge_ca(issuer, f"CA {number}")
    return issuer


def alone(issued: Issued) -> Issued:
    """Leave out of what a server sends whatever is above: the test says what follows."""
    return Issued(issued.certificate, issued.key)


def cycle() -> tuple[Issued, Issued, Issued]:
    """Make two CAs that have signed each other and nobody above them: a leaf, its issuer by the other, and the other by it."""
    first, second = forge_ca(None, "First"), forge_ca(None, "Second")
    return forge_leaf(first, HOST), forge_ca(second, "First", key=first.key), forge_ca(first, "Second", key=second.key)


def twins(count: int, first: Issued) -> list[Issued]:
    """Make CAs of one name and one key: each could have been signed by each, and the paths are without number."""
    return [forge_ca(first, "Twin", key=first.key) for _ in range(count)]


def constrained(constraints: int, names: int) -> Issued:
    """Make a leaf of many names under a CA with many name constraints: each name is held against each of them."""
    permitted = [x509.DNSName(f"n{number}.test") for number in range(constraints - 1)]
    permitted.append(x509.DNSName("example.test"))
    issuer = forge_ca(ROOT, "Constrained", instead=[(x509.NameConstraints(permitted, None), True)])
    return forge_leaf(issuer, HOST, *(f"n{number}.example.test" for number in range(names - 1)))


# --- long, round and wide ------------------------------------------------------------------------------------------------

CYCLE = cycle()
TWIN = forge_ca(None, "Twin")
BELOW_TWINS = forge_leaf(TWIN, HOST)

UNBUILDABLE = {
    # leaf <- CA 99 <- … <- CA 0 <- ROOT
    "a hundred intermediates": (forge_leaf(down_from(ROOT, 100), HOST), []),
    # leaf <- CA 8 <- … <- CA 0 <- ROOT: within what may be sent, and still deeper than the validator goes
    "nine intermediates": (forge_leaf(down_from(ROOT, 9), HOST), []),
    # leaf <- First <- Second <- First <- …
    "a cycle": (alone(CYCLE[0]), list(CYCLE[1:])),
    # leaf <- any Twin <- any Twin <- …
    "nine of one name and key": (alone(BELOW_TWINS), twins(9, TWIN)),
    # 1,200 constraints and 900 names: more comparisons than OpenSSL makes
    "a million comparisons of names": (constrained(1200, 900), []),
}


@pytest.mark.attack(
    "a chain that is long, runs in a cycle, or has nine CAs of one name and key: the verdict comes within a second",
    expect=("chain_invalid", "bound"),
    topic="certificates",
    motive="CVE-2026-69249; rustls has a budget of 100 signatures",
)
@on_one_loop
@every_way
@pytest.mark.parametrize(("leaf", "appended"), UNBUILDABLE.values(), ids=UNBUILDABLE.keys())
async def test_a_chain_that_is_hard_to_build_is_denied_at_once(way: Way, leaf: Issued, appended: list[Issued]) -> None:
    """The pin is that of the leaf, so nothing but the path is against it."""
    outcome = await ask_in_time(way, leaf, *appended, pinned=leaf)
    assert_denied(outcome, "chain_invalid", status=502)


@pytest.mark.attack(
    "name constraints by the hundred, and names by the hundred to hold against them",
    expect="bound",
    topic="certificates",
    motive="CVE-2026-69249; BetterTLS",
)
@on_one_loop
@every_way
@pytest.mark.parametrize("leaf", [forge_leaf(down_from(ROOT, 8), HOST), constrained(500, 500)], ids=["long", "wide"])
async def test_a_chain_that_is_only_large_is_served_at_once(way: Way, leaf: Issued) -> None:
    """The twins."""
    assert_served(await ask_in_time(way, leaf, pinned=leaf))


def test_the_second_validator_is_not_led_round_in_circles_either() -> None:
    """In a handshake OpenSSL gives up first; here the chains go straight to the validator that CVE-2026-69249 was about."""
    began = time.thread_time()
    for leaf, *others in (CYCLE, [BELOW_TWINS, *twins(9, TWIN)]):
        with pytest.raises(ChainInvalid):
            build_verified_chain(SentChain(tuple(certificate(item.der) for item in (leaf, *others))), HOST, TRUST, NOW)
    assert time.thread_time() - began < ONE_SECOND
    # The twin: the same crowd, and the first of them is trusted.
    sent = SentChain(tuple(certificate(item.der) for item in (BELOW_TWINS, *twins(8, TWIN))))
    assert build_verified_chain(sent, HOST, TWIN.anchors, NOW).anchor.der == TWIN.der


# --- two roots above one CA ----------------------------------------------------------------------------------------------

#     ROOT      OTHER_ROOT
#      └─ CROSSED ─┘          one name and one key, signed by both
#          └─ BELOW_BOTH
OTHER_ROOT = make_root("Other Root")
CROSSED = forge_ca(ROOT, "Crossed")
CROSSED_BY_OTHER = forge_ca(OTHER_ROOT, "Crossed", key=CROSSED.key)
BELOW_BOTH = forge_leaf(CROSSED, HOST)


@pytest.mark.attack(
    "a cross-signed CA: the pinned root has signed it too, and the path that was validated ends in another",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2016-2402",
)
@on_one_loop
@every_way
async def test_a_root_above_a_cross_signed_ca_counts_only_if_the_path_ends_in_it(way: Way) -> None:
    """What is sent is the same each time; which root is trusted decides, and which is pinned follows."""
    for trusted, pinned, code in ((ROOT, ROOT, None), (ROOT, CROSSED, None), (ROOT, OTHER_ROOT, "pin_mismatch")):
        outcome = await ask_in_time(way, BELOW_BOTH, CROSSED_BY_OTHER, pinned=pinned, trust=trusted.anchors)
        if code is None:
            assert_served(outcome)
        else:
            assert_denied(outcome, code)


# --- serial numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "serial numbers that are negative or have more than 20 octets",
    expect="chain_invalid",
    topic="certificates",
    motive="RFC 5280 §4.1.2.2",
)
@on_one_loop
@every_way
@pytest.mark.parametrize("octets", [b"\xff", b"\x7f" * 40, b"\x7f" * 2000], ids=["negative", "40 octets", "2000 octets"])
async def test_a_serial_number_that_is_none_is_denied(way: Way, octets: bytes) -> None:
    """Readers differ in what they make of one; what they agree on is served."""
    outcome = await ask_in_time(way, with_serial_number(forge_leaf(CA, HOST), octets), pinned=ROOT)
    assert_denied(outcome, "chain_invalid", status=502)


@on_one_loop
@every_way
@pytest.mark.parametrize("octets", [b"\x00", b"\x01", b"\x7f" * 20], ids=["zero", "one", "20 octets"])
async def test_a_serial_number_of_20_octets_is_served(way: Way, octets: bytes) -> None:
    """The twins; zero is forbidden to CAs and used by old ones, and no reader takes it for another number."""
    assert_served(await ask_in_time(way, with_serial_number(forge_leaf(CA, HOST), octets), pinned=ROOT))
