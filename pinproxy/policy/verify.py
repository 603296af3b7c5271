"""The one procedure that every upstream connection of every mode goes through between handshake and first byte.

1. The negotiated TLS version is at least the rule's `min_tls`.
2. The handshake was a full one and gave a chain; or it resumed a session that such a one had made, whose facts were kept with
   it and are judged anew from here on. A session that nothing is known of gives no chain, never "nothing to compare".
3. What was sent is within the bounds, before anything expensive looks at it.
4. The platform's TLS library validated the chain in the handshake: chain, name and dates, by its own rules. It speaks of the
   leaf that was sent, and our own parser can read every certificate of it.
5. The leaf is inside its validity by our own clock; of a resumed session, so is the whole chain.
6. Under `chain_profile: strict`, `cryptography` validates the same certificates; its path is the verified chain.
   Under `compatible`, the platform's path is.
7. The pins meet the verified chain, and only that.
8. The rule's mode turns the verdict into a decision.

Under `trust: pins-only` nobody validates a path. `policy.pins_only` takes the place of steps 4 to 6: it checks key, dates and
name of the leaf, and gives step 7 nothing but the leaf.

Steps 1 to 6 raise, in report-only too: a chain that does not validate is no pin mismatch. Steps 7 and 8 return a judgement.
The caller must do what the decision says before it lets a byte through, and must not keep a denied connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from pinproxy.authority import Authority
from pinproxy.errors import ChainInvalid, TlsVersion
from pinproxy.limits import Limits
from pinproxy.pins.chain import SentChain, VerifiedChain
from pinproxy.policy.known_chain import KnownChain
from pinproxy.policy.path import build_verified_chain
from pinproxy.policy.pins_only import leaf_alone
from pinproxy.policy.rule import HostRule, PinsOnly, TrustAnchors
from pinproxy.policy.validity import require_current
from pinproxy.policy.verdict import Judgement, judge_pins

_TLS_VERSIONS = {"TLSv1": 0, "TLSv1.1": 1, "TLSv1.2": 2, "TLSv1.3": 3}
_MIN_TLS = {"1.2": 2, "1.3": 3}


class Session(Enum):
    """Where the session of a handshake comes from, and with it the proof of the certificates.

    Attributes:
        NEW: A full handshake: the server showed its certificates, and proved that it holds the leaf's key.
        KNOWN: Resumed; the full handshake that made it was verified here, and its certificates are these.
        UNKNOWN: Resumed, and nothing is known of how it was made.
    """

    NEW = auto()
    KNOWN = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class HandshakeFacts:
    """What a finished handshake says of itself.

    Attributes:
        tls_version: As OpenSSL spells it, `TLSv1.3`.
        session: Where its session comes from.
        sent: Certificates as sent.
        platform_chain: The path that the TLS library built and validated, name and dates included; None if it gave none, or was
            not asked to validate.
    """

    tls_version: str
    session: Session
    sent: SentChain
    platform_chain: VerifiedChain | None

    @property
    def is_resumed(self) -> bool:
        """Whether no certificate was proved anew."""
        return self.session is not Session.NEW


@dataclass(frozen=True, slots=True)
class Verified:
    """A chain that validated, and what the pins say of it; `chain` is None only with `chain_unavailable`."""

    chain: VerifiedChain | None
    judgement: Judgement


def verify_server(
    facts: HandshakeFacts,
    rule: HostRule,
    authority: Authority,
    now: datetime,
    limits: Limits,
    last_good: KnownChain | None = None,
) -> Verified:
    """Run the procedure of this file.

    Args:
        facts: What the handshake gave.
        rule: The host's rule.
        authority: The host and port asked for; its host is the name the certificate must carry.
        now: The wall clock, UTC.
        limits: Bounds on what a server may present.
        last_good: The last good chain of the authority, for the class of a mismatch; None: there was none.

    Returns:
        The verified chain with the judgement of the pins.

    Raises:
        TlsVersion: Step 1.
        ChainInvalid, HostnameMismatch, CertificateExpired: Steps 3 to 6.
    """
    # 1.
    if _TLS_VERSIONS.get(facts.tls_version, -1) < _MIN_TLS[rule.min_tls]:
        raise TlsVersion(f"{authority} negotiated {facts.tls_version}; expected TLS {rule.min_tls} or newer (`min_tls`)")
    # 2. Python returns [] or None for the verified chain of a resumed session, and still returns the leaf.
    if facts.session is Session.UNKNOWN or not facts.sent.certificates:
        return Verified(None, judge_pins(None, rule, authority, now))
    # 3.
    count, size = len(facts.sent.certificates), facts.sent.size_bytes
    if count > limits.chain_certificates or size > limits.chain_bytes:
        raise ChainInvalid(
            f"{authority} sent {count} certificates in {size} bytes; "
            f"expected at most {limits.chain_certificates} in {limits.chain_bytes} bytes"
        )
    # 4. to 6.
    chain: VerifiedChain | None
    if isinstance(rule.trust, PinsOnly):
        chain = leaf_alone(facts.sent, authority, rule.trust, now)
    else:
        chain = _validated(facts, rule, rule.trust, authority, now)
    # 7. and 8.
    return Verified(chain, judge_pins(chain, rule, authority, now, last_good))


def _validated(
    facts: HandshakeFacts, rule: HostRule, trust: TrustAnchors, authority: Authority, now: datetime
) -> VerifiedChain | None:
    sent, platform_chain = facts.sent, facts.platform_chain
    # 2. Nothing validated is nothing to compare, too.
    if platform_chain is None:
        return None
    # 4.
    leaf = platform_chain.leaf
    if leaf != sent.certificates[0]:
        raise ChainInvalid(f"{authority}: the validated leaf is not the certificate that was sent first")
    if not all(item.is_readable for item in platform_chain.certificates):
        raise ChainInvalid(f"{authority}: the TLS library could read a certificate of the chain, and our own parser cannot")
    # 5. Of a resumed session, the platform has not looked at the dates this time.
    require_current(platform_chain.certificates if facts.is_resumed else (leaf,), authority, now)
    # 6.
    if rule.chain_profile == "strict":
        return build_verified_chain(sent, authority.host, trust, now)
    return platform_chain
