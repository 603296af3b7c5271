"""Pins only meet the chain that path validation built, whatever the server sends (CVE-2016-2402)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pinproxy.pins.chain import Position, certificate
from pinproxy.pins.pin import Pin, parse_pin
from pinproxy.policy.rule import TrustAnchors
from tests.harness.clients import Way, every_way
from tests.harness.defects import forge_ca
from tests.harness.outcome import ask_once, assert_denied, assert_served
from tests.harness.pki import Issued, make_intermediate, make_leaf, make_root, server_context
from tests.harness.running import HOST

# The true one                     the attacker's: another CA that the client trusts as well
#
#     ROOT                              OTHER_ROOT
#      └─ INTERMEDIATE                   └─ OTHER_INTERMEDIATE
#          └─ LEAF  api.example.test         └─ IMPOSTOR  api.example.test
ROOT, OTHER_ROOT = make_root("True Root"), make_root("Other Root")
INTERMEDIATE, OTHER_INTERMEDIATE = make_intermediate(ROOT, "True CA"), make_intermediate(OTHER_ROOT, "Other CA")
LEAF, IMPOSTOR = make_leaf(INTERMEDIATE, HOST), make_leaf(OTHER_INTERMEDIATE, HOST)
BOTH = TrustAnchors("both roots", (ROOT.der, OTHER_ROOT.der))

OF_THE_CHAIN = {"leaf": LEAF, "intermediate": INTERMEDIATE, "root": ROOT}
each_place = pytest.mark.parametrize("pinned", OF_THE_CHAIN.values(), ids=OF_THE_CHAIN.keys())


def cert_pin(item: Issued) -> Pin:
    """Pin the whole certificate."""
    return Pin("cert", "sha256", certificate(item.der).digest("cert", "sha256"))


each_subject = pytest.mark.parametrize("pin_of", [lambda item: item.pin, cert_pin], ids=["spki", "cert"])


@pytest.mark.attack(
    "the pinned leaf, intermediate or root appended, unused, to a chain of another trusted CA",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2016-2402; OkHttp's CertificatePinnerChainValidationTest",
)
@every_way
@each_place
@each_subject
async def test_a_pinned_certificate_appended_to_another_chain_is_no_match(
    way: Way, pinned: Issued, pin_of: Callable[[Issued], Pin]
) -> None:
    """What is sent and not on the path counts for nothing.

    ::

        sent:      IMPOSTOR, OTHER_INTERMEDIATE, and the pinned one, appended
        verified:  IMPOSTOR <- OTHER_INTERMEDIATE <- OTHER_ROOT
    """
    outcome = await ask_once(way, server_context(IMPOSTOR, pinned), [pin_of(pinned)], BOTH)
    assert_denied(outcome, "pin_mismatch")
    seen = [str(item.pin) for item in (IMPOSTOR, OTHER_INTERMEDIATE, OTHER_ROOT)]
    assert outcome.answer.problem["seen"] == seen
    assert outcome.answer.problem["expected"] == [str(pin_of(pinned))]


@every_way
@each_place
@each_subject
async def test_a_pinned_certificate_of_the_verified_chain_is_a_match(
    way: Way, pinned: Issued, pin_of: Callable[[Issued], Pin]
) -> None:
    """The twin; the root is among the cases although the server does not send it.

    ::

        sent:      LEAF, INTERMEDIATE
        verified:  LEAF <- INTERMEDIATE <- ROOT
    """
    assert ROOT not in LEAF.sent_chain()
    outcome = await ask_once(way, server_context(LEAF), [pin_of(pinned)], BOTH)
    assert_served(outcome)
    assert (outcome.line["verdict"], outcome.line["matched_pin"]) == ("matched", str(pin_of(pinned)))


@pytest.mark.attack("the whole true chain appended to an impostor's", expect="pin_mismatch", topic="pins", motive="CVE-2016-2402")
@every_way
async def test_the_whole_true_chain_appended_to_an_impostor_is_no_match(way: Way) -> None:
    """Nor does quantity help.

    ::

        sent:      IMPOSTOR, OTHER_INTERMEDIATE, LEAF, INTERMEDIATE, ROOT
        verified:  IMPOSTOR <- OTHER_INTERMEDIATE <- OTHER_ROOT
    """
    pins = [item.pin for item in (LEAF, INTERMEDIATE, ROOT)]
    assert_denied(await ask_once(way, server_context(IMPOSTOR, LEAF, INTERMEDIATE, ROOT), pins, BOTH), "pin_mismatch")


@pytest.mark.attack(
    "a pinned key at another position of the chain than the pin names",
    expect="pin_mismatch",
    topic="pins",
    motive="RFC 7469 §2.6",
)
@every_way
@pytest.mark.parametrize("place", ["leaf", "ca"])
async def test_a_pin_counts_only_at_its_position(way: Way, place: Position) -> None:
    """`position: ca` on the key of the leaf, and `position: leaf` on that of an intermediate, match nothing."""
    elsewhere = INTERMEDIATE if place == "leaf" else LEAF
    pin = replace(elsewhere.pin, position=place)
    assert_denied(await ask_once(way, server_context(LEAF), [pin], BOTH), "pin_mismatch")


@every_way
@pytest.mark.parametrize("place", ["leaf", "ca"])
async def test_a_pin_at_its_position_matches(way: Way, place: Position) -> None:
    """The twin."""
    there = LEAF if place == "leaf" else INTERMEDIATE
    assert_served(await ask_once(way, server_context(LEAF), [replace(there.pin, position=place)], BOTH))


@pytest.mark.attack(
    "a renewal under the same key: the key's pin holds, the certificate's does not",
    expect=("serve", "pin_mismatch"),
    topic="pins",
    motive="RFC 7469 §2.4; OkHttp's sameKeypairSamePin",
)
@every_way
async def test_a_renewed_certificate_keeps_its_key_pin_and_loses_its_certificate_pin(way: Way) -> None:
    """One key, two certificates (RFC 7469 §2.4): that is what SPKI pins are for."""
    renewed = make_leaf(INTERMEDIATE, HOST, key=LEAF.key)
    assert_served(await ask_once(way, server_context(renewed), [LEAF.pin], BOTH))
    assert_denied(await ask_once(way, server_context(renewed), [cert_pin(LEAF)], BOTH), "pin_mismatch")


CROSS_SIGNED = forge_ca(OTHER_ROOT, "True CA", key=INTERMEDIATE.key)


@pytest.mark.attack(
    "the pinned root is trusted, and the path ends in another",
    expect="pin_mismatch",
    topic="pins",
    motive="CVE-2016-2402",
)
@every_way
async def test_a_root_that_the_path_does_not_end_in_is_no_match(way: Way) -> None:
    """An intermediate that two roots have signed leads to the one that is trusted; the other one's pin is not met.

    ::

        ROOT (trusted)       OTHER_ROOT (pinned)
          └─ INTERMEDIATE      └─ CROSS_SIGNED   the same name and key
               └─ LEAF ────────────┘
    """
    outcome = await ask_once(way, server_context(LEAF, CROSS_SIGNED), [OTHER_ROOT.pin], ROOT.anchors)
    assert_denied(outcome, "pin_mismatch")


@pytest.mark.attack(
    "the pinned root is not sent and found in the trust store",
    expect="serve",
    topic="pins",
    motive="OkHttp's CertificatePinnerChainValidationTest",
)
@every_way
async def test_a_root_that_the_path_ends_in_is_a_match(way: Way) -> None:
    """The twin: the other root is the one that is trusted."""
    leaf = replace(LEAF, issuer=CROSS_SIGNED)
    assert_served(await ask_once(way, server_context(leaf), [OTHER_ROOT.pin], OTHER_ROOT.anchors))


@every_way
async def test_a_mismatch_can_be_pasted_from_the_refusal(way: Way) -> None:
    """The problem document holds pins in a spelling that the configuration reads."""
    outcome = await ask_once(way, server_context(IMPOSTOR), [LEAF.pin], BOTH)
    assert_denied(outcome, "pin_mismatch")
    assert [parse_pin(text) for text in outcome.answer.problem["seen"]] == [
        item.pin for item in (IMPOSTOR, OTHER_INTERMEDIATE, OTHER_ROOT)
    ]
    assert f"{HOST}:443: no pin matched the verified chain (enforce)" in outcome.answer.problem["detail"]
