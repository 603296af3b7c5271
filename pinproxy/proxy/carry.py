"""Who carries a client that asked for a way to an authority.

A listed host is carried by interception or tunnel, or by origination where the client speaks plain HTTP on port 80; an unlisted
one by a blind tunnel.
"""

from __future__ import annotations

from pinproxy.errors import Refused
from pinproxy.proxy.blind import tunnel_blindly
from pinproxy.proxy.connect import AfterEstablished, ConnectRequest
from pinproxy.proxy.http_by_connect import asks_for_http, hand_over_http
from pinproxy.proxy.interception import intercept
from pinproxy.proxy.tunnel import tunnel


async def carry(request: ConnectRequest) -> None:
    """Have the story that the rule asks for carry a request; returns once a relay or a protocol does, which outlives it.

    Raises:
        Refused: The client can still be answered in the protocol it asked in.
        AfterEstablished: The client was told that the way is open, and can be answered by a TLS alert.
    """
    proxy = request.proxy
    try:
        if asks_for_http(request.authority, proxy.policy.table) and await hand_over_http(request):
            return
        request.record.rule = rule = proxy.policy.rule_for(request.authority)
        if rule is None:
            rule = await tunnel_blindly(request)
        if rule is None:
            return
        if rule.connect == "tunnel":
            await tunnel(request, rule)
        else:
            await intercept(request, rule)
    except Refused as refusal:
        if request.is_established:
            raise AfterEstablished(refusal) from refusal
        raise
