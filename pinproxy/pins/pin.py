"""One pin: its spellings in, its canonical spelling out, and whether a certificate meets it.

Rules of this file:
- A digest that does not decode to exactly the length of its hash is an error that names both lengths; never "no pin".
- Comparison is on bytes of equal length; hashes weaker than SHA-256 do not exist here.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pinproxy.errors import PinSyntaxError
from pinproxy.pins.chain import Certificate, Position

Subject = Literal["spki", "cert"]
Where = Literal["leaf", "ca", "any"]

_LENGTHS = {"sha256": 32, "sha384": 48, "sha512": 64}
_SPKI = re.compile(r"(sha[0-9]+)/(.*)", re.DOTALL)
# > RFC 7469 §2.1: pin-directive = "pin-" token "=" quoted-string
_RFC7469 = re.compile(r'pin-(sha[0-9]+)\s*=\s*"([^"]*)"')
_CERT = re.compile(r"cert-(sha[0-9]+):(.*)", re.DOTALL)
# > RFC 6698 §2.2: certificate usage, selector, matching type, certificate association data (hex, white space allowed)
_TLSA = re.compile(r"([0-9]{1,3})\s+([0-9]{1,3})\s+([0-9]{1,3})\s+([0-9A-Fa-f\s]+)")
_HEX = re.compile(r"[0-9A-Fa-f]{2}(?::?[0-9A-Fa-f]{2})*")
_TLSA_MATCHING = {"1": "sha256", "2": "sha512"}  # RFC 6698 §2.1.3
_SPELLINGS = (
    'sha256/<base64>, sha256//<base64>, pin-sha256="<base64>", cert-sha256:<hex or base64>, or a TLSA record such as 3 1 1 <hex>'
)


@dataclass(frozen=True, slots=True)
class Pin:
    """A digest that a certificate of the verified chain may meet.

    Attributes:
        subject: What is hashed: the SubjectPublicKeyInfo (`spki`) or the whole certificate (`cert`).
        algorithm: `sha256`, `sha384` or `sha512`.
        digest: The hash, of exactly the algorithm's length.
        position: Where in the verified chain it counts: `leaf`, `ca` (everything above the leaf) or `any`.
        note: The operator's own words, shown in failure texts.
        not_before: Before this instant the pin matches nothing; None: from ever.
        not_after: After this instant the pin matches nothing; None: for ever.
    """

    subject: Subject
    algorithm: str
    digest: bytes
    position: Where = "any"
    note: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    _text: str = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Write the canonical spelling once, and hash once: every log line has the one, and the status page's book the other."""
        if self.subject == "spki":
            text = f"{self.algorithm}/{base64.b64encode(self.digest).decode('ascii')}"
        else:
            text = f"cert-{self.algorithm}:{self.digest.hex()}"
        object.__setattr__(self, "_text", text)
        object.__setattr__(self, "_hash", hash((self.identity, self.position, self.not_before, self.not_after)))

    def __hash__(self) -> int:
        """Return the hash taken at the start."""
        return self._hash

    def __str__(self) -> str:
        """Format in the canonical spelling: OkHttp's for keys, `cert-sha256:<hex>` for certificates."""
        return self._text

    @property
    def identity(self) -> tuple[str, str, bytes]:
        """What makes two pins the same pin, whatever their notes say."""
        return (self.subject, self.algorithm, self.digest)

    def is_current(self, now: datetime) -> bool:
        """Tell whether the pin counts at `now` (both ends included)."""
        return (self.not_before is None or self.not_before <= now) and (self.not_after is None or now <= self.not_after)

    def is_met_by(self, item: Certificate, position: Position) -> bool:
        """Tell whether a certificate of the verified chain, at its position there, meets this pin (RFC 7469 §2.6)."""
        if self.position not in ("any", position):
            return False
        return hmac.compare_digest(item.digest(self.subject, self.algorithm), self.digest)


def spki_pin(item: Certificate, algorithm: str = "sha256") -> Pin:
    """Make the SPKI pin of a certificate (RFC 7469 §2.4)."""
    return Pin("spki", algorithm, item.digest("spki", algorithm))


def parse_pin(text: str) -> Pin:
    """Read a pin in any of its textual spellings.

    Args:
        text: `sha256/<base64>` (OkHttp), `sha256//<base64>` (curl), `pin-sha256="<base64>"` (RFC 7469), the same with
            sha384 and sha512, `cert-sha256:<hex, colons allowed, or base64>`, TLSA `3 1 1 <hex>`, `3 0 1`, `2 1 1`,
            `2 0 1` (RFC 6698).

    Raises:
        PinSyntaxError: What was found and what was expected; for a digest, both lengths.
    """
    text = text.strip()
    if match := _TLSA.fullmatch(text):
        return _parse_tlsa(text, *match.groups())
    if match := _CERT.fullmatch(text):
        algorithm, value = match.groups()
        # A digest's base64 may happen to hold hexadecimal digits alone; its length tells.
        if _HEX.fullmatch(value) and len(value) != _base64_length(algorithm):
            return Pin("cert", algorithm, _checked(text, algorithm, bytes.fromhex(value.replace(":", ""))))
        return Pin("cert", algorithm, _checked(text, algorithm, _decode_base64(text, algorithm, value)))
    if match := _RFC7469.fullmatch(text):
        algorithm, value = match.groups()
        return Pin("spki", algorithm, _checked(text, algorithm, _decode_base64(text, algorithm, value)))
    if match := _SPKI.fullmatch(text):
        algorithm, value = match.groups()
        value = _without_curls_slash(algorithm, value)
        return Pin("spki", algorithm, _checked(text, algorithm, _decode_base64(text, algorithm, value)))
    raise PinSyntaxError(f"{_short(text)} is not a pin; expected {_SPELLINGS}")


def _parse_tlsa(text: str, usage: str, selector: str, matching: str, data: str) -> Pin:
    # > RFC 6698 §2.1.1: 2 -- Trust anchor assertion, 3 -- Domain-issued certificate.
    # 0 and 1 ask for public-CA validation besides; pins always do, so they would only be second names for the same thing.
    if usage not in ("2", "3"):
        raise PinSyntaxError(f"TLSA usage {usage} in {_short(text)}; expected 3 (leaf) or 2 (ca)")
    if selector not in ("0", "1"):
        raise PinSyntaxError(f"TLSA selector {selector} in {_short(text)}; expected 1 (public key) or 0 (certificate)")
    algorithm = _TLSA_MATCHING.get(matching)
    if algorithm is None:
        raise PinSyntaxError(f"TLSA matching type {matching} in {_short(text)}; expected 1 (SHA-256) or 2 (SHA-512)")
    hexadecimal = "".join(data.split())
    if len(hexadecimal) % 2:
        raise PinSyntaxError(f"{_short(text)} has {len(hexadecimal)} hex digits; expected {2 * _LENGTHS[algorithm]}")
    digest = _checked(text, algorithm, bytes.fromhex(hexadecimal))
    return Pin("spki" if selector == "1" else "cert", algorithm, digest, "leaf" if usage == "3" else "ca")


def _without_curls_slash(algorithm: str, value: str) -> str:
    """Drop the second slash of `sha256//…`, but not a slash that is the digest's own: one in 64 begins with it."""
    digits = -(-_LENGTHS.get(algorithm, 0) * 4 // 3)  # padding aside, which may have been lost
    is_digests_own = len(value.rstrip("=")) == digits and len(value) <= _base64_length(algorithm)
    return value[1:] if value.startswith("/") and not is_digests_own else value


def _base64_length(algorithm: str) -> int:
    return -(-_LENGTHS.get(algorithm, 0) // 3) * 4


def _decode_base64(text: str, algorithm: str, value: str) -> bytes:
    expected = _LENGTHS.get(algorithm)
    if expected and len(value) == 2 * expected and _HEX.fullmatch(value):
        meant = base64.b64encode(bytes.fromhex(value)).decode("ascii")
        found = f"{_short(text)} holds {len(value)} hexadecimal digits"
        raise PinSyntaxError(f"{found}; expected the base64 of {expected} bytes: {algorithm}/{meant}")
    if (digest := _strictly_decoded(value)) is not None:
        return digest
    bare = value.rstrip("=")
    padded = bare + "=" * (-len(bare) % 4)
    if expected and len(_strictly_decoded(padded) or b"") == expected:
        found = f"{_short(text)} has the wrong number of `=` at its end"
        raise PinSyntaxError(f"{found}; expected the base64 of {expected} bytes: {text.replace(value, padded)}")
    length = f" of {expected} bytes, which is {_base64_length(algorithm)} characters" if expected else " of a digest"
    raise PinSyntaxError(f"{_short(text)} is not base64 ({len(value)} characters); expected the base64{length}")


def _strictly_decoded(value: str) -> bytes | None:
    """Decode base64 with neither more nor less padding than it needs, which Python alone would let pass; None: it is not."""
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if len(value) == -(-len(decoded) // 3) * 4 else None


def _checked(text: str, algorithm: str, digest: bytes) -> bytes:
    expected = _LENGTHS.get(algorithm)
    if expected is None:
        raise PinSyntaxError(f"{_short(text)} names the hash {algorithm!r}; expected sha256, sha384 or sha512")
    if len(digest) != expected:
        raise PinSyntaxError(f"{_short(text)} decodes to {len(digest)} bytes; expected {expected} for {algorithm}")
    return digest


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:97] + "…")
