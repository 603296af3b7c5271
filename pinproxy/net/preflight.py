"""Preflights: handshakes of our own, to the very address a tunnel is about to lead to.

A tunnel's TLS belongs to the client. What we can do before it begins is to shake hands ourselves, verify as for any upstream,
and dial the tunnel to that same address. What that is worth depends on the TLS version (docs/guarantees.md): under TLS 1.2 the
certificate on the tunnel's own wire is held against this one; under TLS 1.3 it is encrypted, and this is all there is.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace

from pinproxy.authority import Authority
from pinproxy.errors import InternalError, Refused
from pinproxy.net.client_contexts import client_context, context_for_suite
from pinproxy.net.dial import Destination
from pinproxy.net.upstream import Upstream, UpstreamObserver, UpstreamOpener
from pinproxy.pins.chain import Certificate
from pinproxy.policy.rule import DialOverride, HostRule
from pinproxy.policy.verdict import Assurance

# What most clients offer; the answer is not used, but a server that sees no ALPN may be another one.
_ALPN = ("h2", "http/1.1")
_KEPT = 1024
# Behind one address there may be several servers, each with a certificate of its own.
_TRIES_FOR_A_LEAF = 3

_Key = tuple[Authority, DialOverride | None, HostRule]


@dataclass(slots=True)
class _Outcome:
    """How a preflight went, for everybody who waited for it."""

    via: tuple[bytes, ...] = ()
    address: str | None = None
    upstream: Upstream | None = None
    refusal: Refused | None = None
    until: float = 0.0

    def dialled(self, address: str) -> None:
        """Keep what an observer hears."""
        self.address = address

    def verified(self, upstream: Upstream) -> None:
        """Keep what an observer hears."""
        self.upstream = upstream

    def tell(self, observer: UpstreamObserver) -> Upstream:
        """Repeat it to an observer, and return or raise what came of it."""
        if self.address is not None:
            observer.dialled(self.address)
        if self.upstream is not None:
            observer.verified(_advisory(self.upstream))
        if self.refusal is not None:
            raise self.refusal
        if self.upstream is None:
            raise InternalError("a preflight that neither ended well nor was refused")
        return _advisory(self.upstream)


class Preflights:
    """Makes preflights and keeps the good ones for a while; tunnels that begin at once share one."""

    def __init__(self, opener: UpstreamOpener, keep_seconds: float) -> None:
        """Keep each for so many seconds (`preflight_ttl`)."""
        self._opener = opener
        self._keep_seconds = keep_seconds
        self._kept: OrderedDict[_Key, _Outcome] = OrderedDict()
        self._under_way: dict[_Key, asyncio.Task[_Outcome]] = {}

    async def get(
        self, authority: Authority, rule: HostRule, observer: UpstreamObserver, dial: DialOverride | None = None
    ) -> Upstream:
        """Return a preflight no older than `keep_seconds`, made under this rule, to an address the host has now.

        Args:
            authority: Host and port.
            rule: Its rule.
            observer: Hears of the steps, of a kept preflight's too.
            dial: Where the client wants to connect instead, as in CONNECT to an address.

        Returns:
            The verified connection, its socket closed; `destination` is the one address to dial the tunnel to.

        Raises:
            Refused: As `UpstreamOpener.open`.
        """
        destination = await self._opener.find(authority, rule, dial)
        # With the whole rule: what was found under replaced pins counts for nothing.
        key = (authority, dial, rule)
        kept = self._kept.get(key)
        if kept is not None and _is_good(kept, destination):
            return kept.tell(observer)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._make(key, destination, rule, observer.via))
            self._under_way[key] = task
            task.add_done_callback(lambda _done: self._under_way.pop(key, None))
        # Shielded: one client that goes away must not end what the others wait for.
        return (await asyncio.shield(task)).tell(observer)

    async def find_leaf(self, preflight: Upstream, leaf: Certificate, cipher_suite: int) -> Upstream | None:
        """Look for a server behind a preflight's address that shows a certain certificate.

        Args:
            preflight: What was found there before.
            leaf: The certificate to look for.
            cipher_suite: The TLS 1.2 suite it was shown under: a server with an RSA and an ECDSA certificate chooses by it.

        Returns:
            A preflight, verified like any other, whose leaf is that one; None: there is none.
        """
        rule = preflight.rule
        context = context_for_suite(rule.trust, cipher_suite, _ALPN, rule.client_cert)
        if context is None:
            return None
        for _ in range(_TRIES_FOR_A_LEAF):
            try:
                found = await self._opener.open_at(preflight.destination, rule, context, _ALPN, _Outcome())
            except Refused:
                return None
            found.sock.close()
            if found.leaf == leaf:
                return found
        return None

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, key: _Key, destination: Destination, rule: HostRule, via: tuple[bytes, ...]) -> _Outcome:
        outcome = _Outcome(via)
        try:
            context = client_context(rule.trust, rule.min_tls, _ALPN, rule.client_cert)
            upstream = await self._opener.open_at(destination, rule, context, _ALPN, outcome)
        except Refused as refusal:
            # Not kept: what was just repaired must work at once.
            outcome.refusal = refusal
            return outcome
        upstream.sock.close()
        outcome.until = asyncio.get_running_loop().time() + self._keep_seconds
        self._kept[key] = outcome
        self._kept.move_to_end(key)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return outcome


def _advisory(upstream: Upstream) -> Upstream:
    """Call a preflight's verdict what it is for the tunnel: it binds our handshake, and not the client's."""
    verified = upstream.verified
    return replace(upstream, verified=replace(verified, judgement=replace(verified.judgement, assurance=Assurance.ADVISORY)))


def _is_good(kept: _Outcome, destination: Destination) -> bool:
    upstream = kept.upstream
    return (
        upstream is not None
        and asyncio.get_running_loop().time() < kept.until
        and upstream.destination.addresses[0] in destination.addresses
        and upstream.destination.port == destination.port
    )
