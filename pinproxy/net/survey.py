"""Asks a host for its certificates in every way it may be asked, at every address it has: for people who want to know beforehand.

Every handshake here is one of `net.upstream`, judged as the proxy judges it: what passes here passes there. The way of asking
is narrowed in order to see each certificate of a server that has several:

- TLS 1.2 with the cipher suites of RSA alone, and of ECDSA alone.
- TLS 1.3 as it is. Its cipher suites name no kind of key; `signature_algorithms` does (RFC 8446 §4.2.3), and no supported Python
  sets it on a client. So of two certificates one is seen there: the server's choice.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pinproxy.authority import Authority
from pinproxy.errors import (
    CertificateExpired,
    ChainInvalid,
    DialRefused,
    DialTimeout,
    HostnameMismatch,
    PinError,
    Refused,
    TlsHandshakeFailed,
    TlsVersion,
    UpstreamProxyRefused,
)
from pinproxy.net.client_contexts import KeyKind, context_for_version
from pinproxy.net.dial import Destination
from pinproxy.net.upstream import Upstream, UpstreamOpener, format_address
from pinproxy.pins.chain import VerifiedChain
from pinproxy.pins.pin import Pin
from pinproxy.policy.rule import HostRule, MinTls
from pinproxy.policy.verdict import Judgement, Verdict

_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_NOBODY_THERE = (DialRefused, DialTimeout, UpstreamProxyRefused)
_WRONG = (PinError, ChainInvalid, HostnameMismatch, CertificateExpired)
_MISMATCHES = frozenset({Verdict.NO_MATCH, Verdict.EXPIRED, Verdict.CHAIN_UNAVAILABLE})


class Way(NamedTuple):
    """One way of asking: a TLS version, and with TLS 1.2 the kind of key."""

    tls: MinTls
    key: KeyKind | None


WAYS = (Way("1.2", "RSA"), Way("1.2", "ECDSA"), Way("1.3", None))


class Outcome(StrEnum):
    """What a handshake, or all of a host's, came to; the worst stands first."""

    MISMATCH = "mismatch"
    UNREACHABLE = "unreachable"
    OK = "ok"
    NOT_OFFERED = "not_offered"
    NO_ROUTE = "no_route"


@dataclass(frozen=True, slots=True)
class Handshake:
    """One handshake.

    Attributes:
        address: Whom it was made with, `host:port`.
        way: How was asked; None: there was nobody to ask.
        outcome: `mismatch` whatever the mode of the rule: a fact, and no act. `not_offered`: the server has no certificate
            of this kind, or does not speak this version, and did finish another handshake. `no_route`: this machine has no way
            to the address, most often for want of IPv6; the proxy would take another, and nothing is known of the server.
        tls_version: As OpenSSL spells it; None: not finished.
        chain: The verified chain; None: there is none.
        judgement: What the pins say of it; None: it came to no pins.
        error: What stood in the way, or what the judgement denies with.
    """

    address: str
    way: Way | None
    outcome: Outcome
    tls_version: str | None = None
    chain: VerifiedChain | None = None
    judgement: Judgement | None = None
    error: Refused | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """All handshakes with one host and port.

    Attributes:
        authority: The host.
        rule: Its rule.
        at: When, UTC.
        handshakes: By address, then in the order of `WAYS`.
        is_behind_proxy: Whether the addresses are those of the upstream proxy, which alone knows the host's.
        error: Why there was not even an address; None: there was.
    """

    authority: Authority
    rule: HostRule
    at: datetime
    handshakes: tuple[Handshake, ...]
    is_behind_proxy: bool = False
    error: Refused | None = None

    @property
    def outcome(self) -> Outcome:
        """The worst of all; `unreachable` where there was no handshake at all."""
        found = {handshake.outcome for handshake in self.handshakes}
        return next((outcome for outcome in Outcome if outcome in found), Outcome.UNREACHABLE)

    @property
    def is_complete(self) -> bool:
        """Whether somebody was asked, and everybody there is a way to could be."""
        outcomes = {item.outcome for item in self.handshakes}
        return Outcome.UNREACHABLE not in outcomes and bool(outcomes & {Outcome.OK, Outcome.MISMATCH})

    @property
    def chains(self) -> tuple[VerifiedChain, ...]:
        """The different chains that were seen and verified."""
        return tuple(dict.fromkeys(handshake.chain for handshake in self.handshakes if handshake.chain is not None))

    @property
    def backup_pins(self) -> tuple[Pin, ...] | None:
        """The current pins that no chain meets; None: no chain matched, or the host is not pinned."""
        pin_set = self.rule.pin_set
        matched = any(item.judgement and item.judgement.verdict is Verdict.MATCHED for item in self.handshakes)
        if pin_set is None or not matched:
            return None
        met = {pin for chain in self.chains for pin in pin_set.met_by(chain, self.at)}
        return tuple(pin for pin in pin_set.current(self.at) if pin not in met)


@dataclass(slots=True)
class _Witness:
    """Keeps what an attempt came to, also where it is denied in the end."""

    via: tuple[bytes, ...] = ()
    address: str = ""
    upstream: Upstream | None = field(default=None)

    def dialled(self, address: str) -> None:
        self.address = address

    def verified(self, upstream: Upstream) -> None:
        self.upstream = upstream


async def survey(
    opener: UpstreamOpener,
    authority: Authority,
    rule: HostRule,
    clock: Callable[[], datetime],
    slots: asyncio.Semaphore,
) -> Survey:
    """Shake hands with every address of a host, in every way.

    Args:
        opener: The way to upstreams, with the bounds and the proxy of the configuration.
        authority: Host and port.
        rule: Its rule.
        clock: The UTC wall clock.
        slots: As many names are resolved or addresses asked at once, this host's and others'; one address is asked one thing
            at a time.

    Returns:
        What was found; nothing that a server does is raised.
    """
    now = clock()
    try:
        # In its turn as well: ten thousand look-ups at once would run into the bound of each.
        async with slots:
            destination = await opener.find(authority, rule)
    except Refused as error:
        return Survey(authority, rule, now, (), error=error)
    is_behind_proxy = destination.behind_proxy is not None
    places = [destination] if is_behind_proxy else [destination.at(address) for address in destination.addresses]
    found = await asyncio.gather(*(_ask_address(opener, place, rule, slots) for place in places))
    return Survey(authority, rule, now, tuple(handshake for group in found for handshake in group), is_behind_proxy)


async def _ask_address(
    opener: UpstreamOpener, destination: Destination, rule: HostRule, slots: asyncio.Semaphore
) -> tuple[Handshake, ...]:
    found: list[Handshake] = []
    async with slots:
        for way in WAYS:
            context = context_for_version(rule.trust, way.tls, way.key, rule.client_cert)
            # Nothing would ever be sent over what the rule, or OpenSSL here, does not speak.
            if way.tls < rule.min_tls or context is None:
                continue
            handshake = await _ask(opener, destination, rule, way, context)
            found.append(handshake)
            if handshake.way is None:
                break
    if not any(handshake.tls_version or isinstance(handshake.error, _WRONG) for handshake in found):
        return tuple(found)
    return tuple(_excused(handshake) for handshake in found)


async def _ask(opener: UpstreamOpener, destination: Destination, rule: HostRule, way: Way, context: ssl.SSLContext) -> Handshake:
    witness = _Witness()
    error: Refused | None = None
    try:
        upstream = await opener.open_at(destination, rule, context, (), witness)
        upstream.sock.close()
    except _NOBODY_THERE as refused:
        address = format_address((destination.addresses[0], destination.port))
        has_no_route = isinstance(refused.__cause__, OSError) and refused.__cause__.errno in _NO_ROUTE
        return Handshake(address, None, Outcome.NO_ROUTE if has_no_route else Outcome.UNREACHABLE, error=refused)
    except Refused as refused:
        error = refused
    seen = witness.upstream
    if seen is None:
        outcome = Outcome.MISMATCH if isinstance(error, _WRONG) else Outcome.UNREACHABLE
        return Handshake(witness.address, way, outcome, error=error)
    judgement = seen.verified.judgement
    outcome = Outcome.MISMATCH if judgement.verdict in _MISMATCHES else Outcome.OK
    return Handshake(witness.address, way, outcome, seen.tls_version, seen.verified.chain, judgement, error or judgement.refusal)


def _excused(handshake: Handshake) -> Handshake:
    """Take a failed handshake for "no such certificate" where the same server finished another one.

    A server that finds nothing acceptable in an offer ends with a handshake_failure alert (RFC 5246 §7.4.1.3, RFC 8446 §4.1.1);
    some only hang up.
    """
    if not isinstance(handshake.error, TlsHandshakeFailed | TlsVersion):
        return handshake
    return Handshake(handshake.address, handshake.way, Outcome.NOT_OFFERED, error=handshake.error)
