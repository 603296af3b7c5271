"""Mismatch classes: how far a chain is from the last good one, decided from the leaf up."""

from __future__ import annotations

import pytest

from pinproxy.pins.chain import VerifiedChain, certificate
from pinproxy.policy.known_chain import KnownChain, remember_chain
from pinproxy.policy.mismatch import MismatchClass, advise, classify, explain
from tests.harness.pki import Issued, make_intermediate, make_leaf, make_root, reissue
from tests.harness.running import HOST

ROOT, OTHER_ROOT = make_root("Example Root"), make_root("Another Root")
ISSUER, SECOND = make_intermediate(ROOT, "Example CA R13"), make_intermediate(ROOT, "Example CA R14")
LEAF = make_leaf(ISSUER, HOST)
SAME_KEY, SAME_NAME = make_leaf(SECOND, HOST, key=LEAF.key), make_intermediate(ROOT, "Example CA R13")
CROSS_SIGNED = reissue(ISSUER, OTHER_ROOT)
RENAMED = reissue(ISSUER, ROOT, name="Example CA R99")


def known(*path: Issued) -> KnownChain:
    """Remember a chain, leaf first."""
    return remember_chain(VerifiedChain(tuple(certificate(item.der) for item in path)))


GOOD = known(LEAF, ISSUER, ROOT)


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        # The same certificate, and the leaf's key under whatever stands above it.
        (GOOD, "same_key_renewed"),
        (known(make_leaf(ISSUER, HOST, key=LEAF.key), ISSUER, ROOT), "same_key_renewed"),
        (known(SAME_KEY, SECOND, ROOT), "same_key_renewed"),
        (known(make_leaf(OTHER_ROOT, HOST, key=LEAF.key), OTHER_ROOT), "same_key_renewed"),
        # Another leaf key; the issuer is its key and its name, whatever root that was cross-signed by.
        (known(make_leaf(ISSUER, HOST), ISSUER, ROOT), "new_key_same_issuer"),
        (known(make_leaf(ISSUER, HOST), CROSS_SIGNED, OTHER_ROOT), "new_key_same_issuer"),
        # Another issuing key, under a new name or the old one; the old key under a new name; the root itself.
        (known(make_leaf(SECOND, HOST), SECOND, ROOT), "new_issuer_same_anchor"),
        (known(make_leaf(SAME_NAME, HOST), SAME_NAME, ROOT), "new_issuer_same_anchor"),
        (known(make_leaf(RENAMED, HOST), RENAMED, ROOT), "new_issuer_same_anchor"),
        (known(make_leaf(ROOT, HOST), ROOT), "new_issuer_same_anchor"),
        # Another root, and one of the same name with another key.
        (known(make_leaf(OTHER_ROOT, HOST), OTHER_ROOT), "new_anchor"),
        (known(make_leaf(twin := make_root("Example Root"), HOST), twin), "new_anchor"),
        (known(OTHER_ROOT), "new_anchor"),
    ],
)
def test_the_table_of_classes(present: KnownChain, expected: str) -> None:
    """The first that holds, from the leaf up, is the class; keys decide, and a name alone never does."""
    assert classify(present, GOOD) == expected


def test_without_a_good_chain_the_class_is_never_seen() -> None:
    """There is nothing to compare with; with the chain itself there is."""
    assert classify(GOOD, None) is MismatchClass.NEVER_SEEN
    assert classify(GOOD, GOOD) is MismatchClass.SAME_KEY_RENEWED


def test_the_very_same_certificate_is_told_from_a_renewal() -> None:
    """Then the pins have changed and not the server, and the text says so."""
    renewed = known(make_leaf(ISSUER, HOST, key=LEAF.key), ISSUER, ROOT)
    assert "same certificate" in explain(MismatchClass.SAME_KEY_RENEWED, GOOD, GOOD)
    assert "renewed certificate" in explain(MismatchClass.SAME_KEY_RENEWED, renewed, GOOD)


def test_a_leaf_that_stands_alone_is_not_called_the_work_of_another_root() -> None:
    """Under `trust: pins-only` there is no root."""
    alone = known(make_leaf(ISSUER, HOST))
    assert classify(alone, known(LEAF)) is MismatchClass.NEW_ANCHOR
    assert "nothing above it" in explain(MismatchClass.NEW_ANCHOR, alone, known(LEAF))
    assert "new root" in explain(MismatchClass.NEW_ANCHOR, known(make_leaf(OTHER_ROOT, HOST), OTHER_ROOT), GOOD)


@pytest.mark.parametrize("mismatch", MismatchClass)
def test_every_class_is_explained_and_advised_on_one_line_each(mismatch: MismatchClass) -> None:
    """The advice names the place the leaf line would go to; a new root is asked about before anything else."""
    texts = explain(mismatch, known(make_leaf(ISSUER, HOST), ISSUER, ROOT), GOOD), advise(mismatch, "pin_sets.payments.pins")
    assert all(text and "\n" not in text for text in texts)
    assert "pin_sets.payments.pins" in texts[1]
    assert texts[1].startswith("do not add pins before asking") is (mismatch is MismatchClass.NEW_ANCHOR)


def test_what_is_remembered_of_a_chain_is_its_keys_names_and_dates() -> None:
    """Enough to class, to show and to paste."""
    leaf, issuer, anchor = GOOD.leaf, GOOD.issuer, GOOD.anchor
    assert [item.spki for item in (leaf, issuer, anchor)] == [str(item.pin) for item in (LEAF, ISSUER, ROOT)]
    assert (leaf.subject, leaf.issuer, anchor.issuer) == (f"CN={HOST}", "CN=Example CA R13", "CN=Example Root")
    assert leaf.not_after == LEAF.certificate.not_valid_after_utc
    assert known(ROOT).issuer == known(ROOT).anchor == known(ROOT).leaf


def test_an_empty_chain_cannot_be_remembered() -> None:
    """Nothing to compare is never a class."""
    with pytest.raises(ValueError, match="at least the leaf"):
        KnownChain(())
