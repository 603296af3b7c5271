"""What a pin mismatch probably is: the present chain held against the last good one of the same authority.

"Good" is the last verified chain that met a pin of the rule in force then. Where none ever did, the last verified chain of a
rule that compared no pins (`mode: disabled`) stands in: it validated, and nobody vouched for more.

The classes, decided from the leaf up; the first that holds is the class:

1. `never_seen`             There is no good chain to compare with.
2. `same_key_renewed`       The leaf has the key of the last good leaf (equal SubjectPublicKeyInfo), whoever issued it: whoever
                            answers holds the key that was good. The pins speak of something else (a certificate, a CA, a key that
                            is no longer pinned).
3. `new_key_same_issuer`    Another leaf key, signed by the same issuing key under the same name: the second certificate of both
                            paths has equal SubjectPublicKeyInfo, and both leaves name the same issuer.
4. `new_issuer_same_anchor` Another issuing key or name, and the trust anchor of both paths has equal SubjectPublicKeyInfo.
5. `new_anchor`             Another trust anchor.

A path of one certificate (`trust: pins-only` has no other) is its own issuer and its own anchor. A class is a likelihood and no
verdict: it softens nothing, and whoever gets a certificate from the issuer of a host looks like a renewal of it. What to do is
therefore always a question first.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from pinproxy.authority import Authority
from pinproxy.policy.known_chain import KnownChain


class MismatchClass(StrEnum):
    """How far from the last good chain the present one is."""

    SAME_KEY_RENEWED = "same_key_renewed"
    NEW_KEY_SAME_ISSUER = "new_key_same_issuer"
    NEW_ISSUER_SAME_ANCHOR = "new_issuer_same_anchor"
    NEW_ANCHOR = "new_anchor"
    NEVER_SEEN = "never_seen"


Recall = Callable[[Authority], KnownChain | None]
"""Find the last good chain of an authority; None: there was none."""


def recall_nothing(_authority: Authority) -> None:
    """Recall no chain: for whoever keeps no record, and calls every mismatch `never_seen`."""


_LIKELY = {
    MismatchClass.SAME_KEY_RENEWED: "same key, renewed certificate: the pins name something else than this key",
    MismatchClass.NEW_KEY_SAME_ISSUER: "new key, same issuer: a renewal without the pinned key",
    MismatchClass.NEW_ISSUER_SAME_ANCHOR: "new issuer, same root: another intermediate of the CA, or another of its customers",
    MismatchClass.NEW_ANCHOR: "new root: another CA altogether; a move to another provider, or an interception",
    MismatchClass.NEVER_SEEN: "never seen matching: the pins may be wrong, or somebody else has answered all along",
}
_SAME_CERTIFICATE = "same certificate as before: the server did not change, the pins did"
_LEAF_ALONE = "new key, and nothing above it to compare: a renewal without the pinned key, or somebody else"  # trust: pins-only
_TO_DO = {
    MismatchClass.SAME_KEY_RENEWED: "if the pins were not meant to leave this key out, add the leaf line to {where}",
    MismatchClass.NEW_KEY_SAME_ISSUER: "if the renewal is yours, add the leaf line to {where}",
    MismatchClass.NEW_ISSUER_SAME_ANCHOR: "if the server's owner names this key, add the leaf line to {where}",
    MismatchClass.NEW_ANCHOR: (
        "do not add pins before asking the server's owner who changed the CA; only then the leaf line to {where}"
    ),
    MismatchClass.NEVER_SEEN: "have the server's owner name the key; if it is the leaf line, add it to {where}",
}


def classify(present: KnownChain, last_good: KnownChain | None) -> MismatchClass:
    """Class a chain that met no pin, as the file's docstring defines it.

    Args:
        present: The verified chain that met no pin.
        last_good: The last good one of the same authority; None: there was none.
    """
    # 1.
    if last_good is None:
        return MismatchClass.NEVER_SEEN
    # 2.
    if present.leaf.spki == last_good.leaf.spki:
        return MismatchClass.SAME_KEY_RENEWED
    # 3.
    if (present.issuer.spki, present.leaf.issuer) == (last_good.issuer.spki, last_good.leaf.issuer):
        return MismatchClass.NEW_KEY_SAME_ISSUER
    # 4.
    if present.anchor.spki == last_good.anchor.spki:
        return MismatchClass.NEW_ISSUER_SAME_ANCHOR
    # 5.
    return MismatchClass.NEW_ANCHOR


def explain(mismatch: MismatchClass, present: KnownChain, last_good: KnownChain | None) -> str:
    """Say in a line what a class probably means."""
    if last_good is not None and present.leaf.fingerprint == last_good.leaf.fingerprint:
        return _SAME_CERTIFICATE
    if mismatch is MismatchClass.NEW_ANCHOR and len(present.certificates) == 1:
        return _LEAF_ALONE
    return _LIKELY[mismatch]


def advise(mismatch: MismatchClass, where: str) -> str:
    """Say in a line what to do about it.

    Args:
        mismatch: The class.
        where: Where in the configuration the pins of the rule stand.
    """
    return _TO_DO[mismatch].format(where=where)
