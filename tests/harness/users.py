"""Users of the proxy whose passwords are quick to check."""

from __future__ import annotations

import base64
import hashlib

from pinproxy.policy.password_hash import PasswordHash

_SALT = b"0123456789abcdef"


def quick_hash(password: str) -> PasswordHash:
    """Make a hash with parameters that the configuration would refuse as too weak."""
    return PasswordHash(4, 1, 1, _SALT, hashlib.scrypt(password.encode("utf-8"), salt=_SALT, n=16, r=1, p=1, dklen=32))


def basic(user: str, password: str) -> str:
    """Write a Proxy-Authorization line."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    return f"Proxy-Authorization: Basic {token}\r\n"
