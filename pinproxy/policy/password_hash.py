"""Passwords as the configuration keeps them: scrypt (RFC 7914), in the PHC string form that other tools read too.

    $scrypt$ln=14,r=8,p=5$<salt>$<hash>         salt and hash in base64 without padding

The parameters are OWASP's for 16 MiB. Others are accepted as long as one check can neither exhaust the memory nor cost nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field

_PHC = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_LOG2_COST, _BLOCK_SIZE, _PARALLELISM = 14, 8, 5
_MIN_LOG2_COST = 13
_MAX_BYTES = 64 * 1024 * 1024
_SALT_BYTES, _DIGEST_BYTES = 16, 32
_EXPECTED = "a line that `pinproxy hash-password` prints, such as '$scrypt$ln=14,r=8,p=5$…$…'"


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """What is kept of a password.

    Attributes:
        log2_cost: Binary logarithm of the CPU and memory cost.
        block_size: r of RFC 7914.
        parallelism: p of RFC 7914.
        salt: Random, of its own for each password.
        digest: What the password becomes.
    """

    log2_cost: int
    block_size: int
    parallelism: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def __str__(self) -> str:
        """Format as the configuration has it."""
        parameters = f"ln={self.log2_cost},r={self.block_size},p={self.parallelism}"
        return f"$scrypt${parameters}${_encoded(self.salt)}${_encoded(self.digest)}"

    def is_of(self, password: bytes) -> bool:
        """Tell whether this is the hash of a password. Takes some 100 ms of a core, on purpose, and constant time otherwise."""
        derived = _derive(password, self.salt, self.log2_cost, self.block_size, self.parallelism, len(self.digest))
        return hmac.compare_digest(derived, self.digest)


def hash_password(password: bytes, salt: bytes) -> PasswordHash:
    """Make the hash of a password.

    Args:
        password: UTF-8.
        salt: 16 random bytes.
    """
    digest = _derive(password, salt, _LOG2_COST, _BLOCK_SIZE, _PARALLELISM, _DIGEST_BYTES)
    return PasswordHash(_LOG2_COST, _BLOCK_SIZE, _PARALLELISM, salt, digest)


def parse_password_hash(text: str) -> PasswordHash:
    """Read a hash as the configuration has it.

    Raises:
        ValueError: What was expected; the text itself may be a password, so it is not repeated.
    """
    match = _PHC.fullmatch(text)
    if match is None:
        raise ValueError(f"found something that is no scrypt hash; expected {_EXPECTED}")
    cost, block, parallel = int(match[1]), int(match[2]), int(match[3])
    try:
        salt, digest = _decoded(match[4]), _decoded(match[5])
    except binascii.Error as error:
        raise ValueError(f"the salt or the hash is not base64; expected {_EXPECTED}") from error
    if len(salt) < _SALT_BYTES or len(digest) < _DIGEST_BYTES:
        raise ValueError(f"the salt or the hash is too short; expected {_EXPECTED}")
    if cost < _MIN_LOG2_COST or block < 1 or parallel < 1 or 128 * block * (2**cost) > _MAX_BYTES:
        raise ValueError(f"the scrypt parameters are too weak, or need more than 64 MiB; expected {_EXPECTED}")
    return PasswordHash(cost, block, parallel, salt, digest)


def _derive(password: bytes, salt: bytes, log2_cost: int, block_size: int, parallelism: int, size: int) -> bytes:
    # OpenSSL counts a little more than the 128 * N * r of the standard.
    memory = 2 * _MAX_BYTES
    return hashlib.scrypt(password, salt=salt, n=2**log2_cost, r=block_size, p=parallelism, maxmem=memory, dklen=size)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
