"""Logins that tie an identity to a connection, and who gets that connection next."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.origin import read_request
from tests.harness.originating import URL, ok, originating


async def remember_login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak as a server that authenticates connections: whoever logged in once is known until it ends."""
    who = b"anonymous"
    while (found := await read_request(reader)) is not None:
        if b"\r\nauthorization: " in found[0].lower():
            who = b"alice"
        writer.write(ok(who))


@pytest.mark.parametrize(
    ("scheme", "connections"), [("NTLM", 2), ("Negotiate", 2), ("negotiate", 2), ("Basic", 1), ("Bearer", 1)]
)
async def test_a_connection_somebody_logged_in_on_serves_nobody_else(scheme: str, connections: int) -> None:
    """NTLM and Negotiate authenticate the connection (RFC 4559); schemes that authenticate each request leave it to be shared."""
    async with originating(remember_login) as stage:
        alice, other = await stage.client(), await stage.client()
        alice.get(f"{URL}/", f"Authorization: {scheme} c2VjcmV0")
        assert (await alice.response()).body == b"alice"
        other.get()
        expected = b"anonymous" if connections == 2 else b"alice"
        assert (await other.response()).body == expected
        assert stage.origin.handshakes == connections
