"""Hashes of passwords: what is printed is read again, and nothing weaker."""

from __future__ import annotations

import hashlib

import pytest

from pinproxy.policy.password_hash import PasswordHash, hash_password, parse_password_hash

SALT = bytes(range(16))
GOOD = hash_password(b"open sesame", SALT)


def test_a_hash_is_of_its_password_and_of_no_other() -> None:
    """Also not of one that differs in case or length."""
    assert GOOD.is_of(b"open sesame")
    assert [GOOD.is_of(other) for other in (b"Open sesame", b"open sesame ", b"", SALT)] == [False] * 4


def test_a_printed_hash_is_read_again() -> None:
    """The PHC string form, without padding."""
    text = str(GOOD)
    assert text.startswith("$scrypt$ln=14,r=8,p=5$AAECAwQFBgcICQoLDA0ODw$")
    assert "=" not in text.rpartition("$")[2]
    assert parse_password_hash(text) == GOOD


def test_the_vector_of_rfc_7914_is_met() -> None:
    """§12: the third test vector, N = 16384, r = 8, p = 1."""
    digest = bytes.fromhex(
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
    )
    assert PasswordHash(14, 8, 1, b"SodiumChloride", digest).is_of(b"pleaseletmein")


def test_parameters_of_another_tool_are_accepted() -> None:
    """Such as passlib's default, ln=16, r=8, p=1: 64 MiB."""
    digest = hashlib.scrypt(b"x", salt=SALT, n=2**16, r=8, p=1, dklen=32, maxmem=2**27)
    assert parse_password_hash(str(PasswordHash(16, 8, 1, SALT, digest))).is_of(b"x")


def test_neither_salt_nor_digest_is_in_the_text_of_errors() -> None:
    """`repr` is what tracebacks show."""
    assert repr(GOOD) == "PasswordHash(log2_cost=14, block_size=8, parallelism=5)"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("open sesame", "no scrypt hash"),
        ("", "no scrypt hash"),
        (f"{GOOD}\n", "no scrypt hash"),
        (str(GOOD).replace("scrypt", "argon2id"), "no scrypt hash"),
        (str(PasswordHash(12, 8, 1, SALT, GOOD.digest)), "too weak"),
        (str(PasswordHash(14, 0, 1, SALT, GOOD.digest)), "too weak"),
        (str(PasswordHash(14, 8, 0, SALT, GOOD.digest)), "too weak"),
        (str(PasswordHash(17, 8, 1, SALT, GOOD.digest)), "more than 64 MiB"),
        (str(PasswordHash(14, 8, 1, SALT[:15], GOOD.digest)), "too short"),
        (str(PasswordHash(14, 8, 1, SALT, GOOD.digest[:31])), "too short"),
        ("$scrypt$ln=14,r=8,p=1$AAAAA$AAAA", "not base64"),
    ],
)
def test_what_is_no_good_hash_is_refused(text: str, reason: str) -> None:
    """The twin of every other test; the text may be a password, and is not repeated."""
    with pytest.raises(ValueError, match=reason) as refused:
        parse_password_hash(text)
    assert not text or text not in str(refused.value)
