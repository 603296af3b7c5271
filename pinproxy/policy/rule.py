"""A host rule: everything that is decided about a host before it is dialled. Values only.

Rules are compared by value: a pooled connection may be used only while the table in force still gives the very rule it was
verified under, so every field that bears on a verdict belongs in here and takes part in the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.pattern import HostPattern

Mode = Literal["enforce", "report-only", "disabled"]
Connect = Literal["intercept", "tunnel"]
Tls13 = Literal["refuse", "preflight"]
ChainProfile = Literal["strict", "compatible"]
MinTls = Literal["1.2", "1.3"]


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """The roots a chain must end in.

    Attributes:
        name: `system`, or the path of the CA file, for messages.
        roots: DER certificates.
    """

    name: str
    roots: tuple[bytes, ...] = field(repr=False)
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        """Hash once: a rule is a dictionary key on the data path, and a root store is 200 KiB."""
        object.__setattr__(self, "_hash", hash((self.name, self.roots)))

    def __hash__(self) -> int:
        """Return the hash taken at the start."""
        return self._hash

    @property
    def owner(self) -> str:
        """Whose roots these are, inside a sentence: `a root of the system`."""
        return "the system" if self.name == "system" else self.name


@dataclass(frozen=True, slots=True)
class PinsOnly:
    """No roots at all: a pin on the leaf says who the server is, and nothing else does (`policy.pins_only`).

    Attributes:
        unsafe_skip_hostname: Whether a certificate for any name will do.
        unsafe_skip_dates: Whether a certificate outside its validity will do.
    """

    unsafe_skip_hostname: bool = False
    unsafe_skip_dates: bool = False

    @property
    def name(self) -> str:
        """The word of the configuration, for messages."""
        return "pins-only"

    @property
    def skipped(self) -> tuple[str, ...]:
        """The keys that switch a check off, as far as they are set."""
        return tuple(key for key in ("unsafe_skip_hostname", "unsafe_skip_dates") if getattr(self, key))


Trust = TrustAnchors | PinsOnly


@dataclass(frozen=True, slots=True)
class DialOverride:
    """Where to connect instead of to the host itself; name and pins stay those of the host."""

    address: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What we show to a server that asks who we are.

    Attributes:
        name: Path of the certificate file, for messages.
        chain_and_key: PEM: certificates, leaf first, and the key; never shown.
    """

    name: str
    chain_and_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HostRule:
    """The policy of the hosts that meet a pattern.

    Attributes:
        pattern: The hosts.
        ports: The ports; empty: every port.
        mode: `enforce`, `report-only`, or `disabled` (listed and not pinned; the chain is still verified).
        pin_set: The pins; None only under `disabled`.
        connect: How CONNECT is carried.
        tls13: What a tunnel does about TLS 1.3, whose certificates it cannot see: `refuse` it, or rest on a handshake of our
            own beforehand, which an attacker may tell from the client's (`preflight`). Set for tunnels, and for them alone.
        min_tls: Lowest version spoken upstream.
        trust: Roots a chain must end in; or `PinsOnly`, with `mode: enforce` alone.
        chain_profile: `strict`: OpenSSL and `cryptography` must both accept the chain; `compatible`: OpenSSL's rules alone.
        dial: Where to connect instead; None: to the host.
        client_cert: Shown to servers that ask for one; None: none. A tunnel's client brings its own, its preflight this.
        label: The configuration entry's own name, for logs and metrics: never the raw host a client asked for.
    """

    pattern: HostPattern
    mode: Mode
    pin_set: PinSet | None
    trust: Trust
    ports: frozenset[int] = frozenset()
    connect: Connect = "intercept"
    tls13: Tls13 | None = None
    min_tls: MinTls = "1.2"
    chain_profile: ChainProfile = "strict"
    dial: DialOverride | None = None
    client_cert: ClientCertificate | None = None
    label: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Name the rule, and refuse the silent unpinned one by construction."""
        ports = ",".join(map(str, sorted(self.ports)))
        object.__setattr__(self, "label", f"{self.pattern}:{ports}" if ports else str(self.pattern))
        if self.pin_set is None and self.mode != "disabled":
            raise ValueError(f"rule {self.label!r} has no pins and is not `mode: disabled`")
        if (self.connect == "tunnel") != (self.tls13 is not None):
            raise ValueError(f"rule {self.label!r}: `connect: tunnel` says what to do about TLS 1.3, and nothing else does")
        if self.is_pins_only and self.mode != "enforce":
            raise ValueError(
                f"rule {self.label!r}: with `trust: pins-only` a mismatch that passes is a server that nobody verified"
            )

    @property
    def is_pins_only(self) -> bool:
        """Whether the pins are all that authenticates the server, so that nothing may soften them."""
        return isinstance(self.trust, PinsOnly)

    def verifies_like(self, other: HostRule) -> bool:
        """Tell whether the two differ in nothing that bears on the chain: only the pins and what follows from them may differ."""

        def demands(rule: HostRule) -> tuple[object, ...]:
            return rule.trust, rule.chain_profile, rule.min_tls, rule.dial, rule.connect, rule.tls13, rule.client_cert

        return demands(self) == demands(other)
