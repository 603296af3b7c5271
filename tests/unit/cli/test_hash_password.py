"""`hash-password`: a password in, what the configuration keeps of it out."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pinproxy.cli.hash_password import hash_password
from pinproxy.policy.password_hash import parse_password_hash


@pytest.mark.parametrize("given", ["open sesame", "open sesame\n", "open sesame\r\n", "open sesame\nanother line\n"])
def test_the_first_line_of_standard_input_is_hashed(given: str) -> None:
    """What is printed can be pasted into `client_auth`."""
    outcome = CliRunner().invoke(hash_password, input=given)
    assert outcome.exit_code == 0
    assert parse_password_hash(outcome.stdout.rstrip("\n")).is_of(b"open sesame")


def test_each_hash_has_a_salt_of_its_own() -> None:
    """Two users with one password do not look alike."""
    printed = {CliRunner().invoke(hash_password, input="x\n").stdout for _ in range(2)}
    assert len(printed) == 2


def test_an_empty_password_is_refused() -> None:
    """An empty pipe is a mistake, and not a password."""
    outcome = CliRunner().invoke(hash_password, input="")
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
