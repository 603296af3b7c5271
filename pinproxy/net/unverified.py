"""What a server sends when nobody verifies it: for a person to look at, never for a connection that carries anything."""

from __future__ import annotations

import ssl

from pinproxy.authority import Authority
from pinproxy.net.dial import Dialler
from pinproxy.net.handshake import shake_hands_with_server
from pinproxy.pins.chain import SentChain


async def unsafe_fetch_sent_chain(dialler: Dialler, authority: Authority, seconds: float) -> SentChain:
    """Shake hands with whoever answers, and hang up.

    Args:
        dialler: Connects.
        authority: Whom to ask for.
        seconds: For the handshake.

    Returns:
        The certificates as sent; anybody on the way may have made them up.

    Raises:
        Refused: The connection or the handshake failed.
    """
    sock = await dialler.connect(await dialler.find(authority, None, is_listed=True))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    tls, facts = await shake_hands_with_server(sock, context, authority, seconds)
    tls.close()
    return facts.sent
