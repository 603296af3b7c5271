"""Where the pins of `pin` come from: a server that is dialled and verified, or a file."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pinproxy.authority import Authority
from pinproxy.errors import PinproxyError
from pinproxy.limits import Limits
from pinproxy.net.dial import Dialler
from pinproxy.net.own_addresses import OwnAddresses
from pinproxy.net.survey import Outcome, survey
from pinproxy.net.system_roots import certificates_in
from pinproxy.net.unverified import unsafe_fetch_sent_chain
from pinproxy.net.upstream import Upstream, UpstreamOpener
from pinproxy.pins.chain import Certificate, Position, certificate
from pinproxy.pins.pin import Pin, spki_pin
from pinproxy.policy.pattern import HostPattern
from pinproxy.policy.rule import HostRule, TrustAnchors
from pinproxy.settings.key_files import key_pin, request_pin

_DER = b"\x30"
_ADDRESSES_AT_ONCE = 8
_MAX_BYTES = 16 * 1024 * 1024  # a system's store of roots has 250 KiB


class PinSourceError(PinproxyError):
    """A file that holds no key to pin; the text says what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Found:
    """A key that can be pinned.

    Attributes:
        pin: The SPKI pin.
        what: What carries the key: `leaf` or `ca` of a chain, `certificate`, `key` or `request`.
        name: Common name, where there is one.
        not_after: End of the certificate, UTC; None: no certificate.
    """

    pin: Pin
    what: Position | Literal["certificate", "key", "request"]
    name: str = ""
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What a server showed.

    Attributes:
        authority: Whom it was asked for.
        address: Where it was, `host:port`.
        found: The keys of its chain, leaf first.
        is_verified: Whether this is the verified chain, the anchor included, or what was sent and nobody verified.
        others: Leaf and issuer of each further chain: shown at another address, or to who asks for another kind of key.
        problems: Which other addresses or certificates of it are not valid, and why.
    """

    authority: Authority
    address: str
    found: tuple[Found, ...]
    is_verified: bool
    others: tuple[Found, ...] = ()
    problems: tuple[str, ...] = ()


class _Silent:
    """Nobody logs what a person asked to see."""

    via = ()

    def dialled(self, address: str) -> None:
        """Do nothing."""

    def verified(self, upstream: Upstream) -> None:
        """Do nothing."""


async def ask_server(authority: Authority, trust: TrustAnchors) -> ServerAnswer:
    """Verify a server as the proxy would a host that is listed and not pinned.

    Args:
        authority: The server.
        trust: Roots its chain must end in.

    Raises:
        Refused: It cannot be reached, or its chain, name or dates are not valid.
    """
    limits = Limits()
    opener = UpstreamOpener(Dialler(limits, OwnAddresses()), limits, _now)
    rule = HostRule(HostPattern("exact", authority.host), "disabled", None, trust)
    upstream = await opener.open(authority, rule, (), _Silent())
    upstream.sock.close()
    chain = upstream.verified.chain
    found = tuple(_of_certificate(item, position) for position, item in chain.positioned()) if chain else ()
    others = await survey(opener, authority, rule, _now, asyncio.Semaphore(_ADDRESSES_AT_ONCE))
    pins = {item.pin for item in found}
    further = [_of_certificate(item, position) for chain in others.chains for position, item in chain.positioned()[:2]]
    invalid = (f"{item.address}: {item.error}" for item in others.handshakes if item.outcome is Outcome.MISMATCH)
    return ServerAnswer(
        authority,
        upstream.address,
        found,
        is_verified=True,
        others=tuple(dict.fromkeys(item for item in further if item.pin not in pins)),
        problems=tuple(dict.fromkeys(invalid)),
    )


async def unsafe_ask_server(authority: Authority) -> ServerAnswer:
    """Look at what a server sends, without verifying anything.

    Raises:
        Refused: It cannot be reached, or ends the handshake.
    """
    limits = Limits()
    sent = await unsafe_fetch_sent_chain(Dialler(limits, OwnAddresses()), authority, limits.handshake_seconds)
    found = tuple(_of_certificate(item, "ca" if index else "leaf") for index, item in enumerate(sent.certificates))
    return ServerAnswer(authority, str(authority), found, is_verified=False)


def _now() -> datetime:
    return datetime.now(UTC)


def read_certificates(path: Path) -> tuple[Found, ...]:
    """Read the certificates of a file, in its order.

    Raises:
        PinSourceError: There is none, or one cannot be decoded.
    """
    content = _read(path)
    ders = [content] if content.startswith(_DER) else certificates_in(content)
    if not ders:
        raise PinSourceError(f"{path} holds no certificate; expected PEM with BEGIN CERTIFICATE lines, or DER")
    found = []
    for number, der in enumerate(ders, start=1):
        try:
            found.append(_of_certificate(certificate(der or b""), "certificate"))
        except ValueError as error:
            raise PinSourceError(f"{path}: certificate {number} of {len(ders)} cannot be decoded") from error
    return tuple(found)


def read_key(path: Path, what: Literal["key", "request"]) -> tuple[Found, ...]:
    """Read a public key, a private key (of which only the public half is looked at) or a signing request.

    By the reader of `key_file` in the configuration, so that both ways of naming a key give one pin.

    Raises:
        PinSourceError: There is no key, one that asks for a password, or no request where one was asked for.
    """
    try:
        pin = (request_pin if what == "request" else key_pin)(str(path), _read(path))
    except ValueError as error:
        raise PinSourceError(str(error)) from error
    return (Found(pin, what),)


def _of_certificate(item: Certificate, what: Position | Literal["certificate"]) -> Found:
    return Found(spki_pin(item), what, item.common_name, item.not_after)


def _read(path: Path) -> bytes:
    """Read what the user named, a pipe of the shell included."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise PinSourceError(f"{path} cannot be read ({error.strerror})") from error
    if len(content) > _MAX_BYTES:
        raise PinSourceError(f"{path} is larger than {_MAX_BYTES // 1024**2} MiB; expected certificates or a key")
    return content
