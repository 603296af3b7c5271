"""Who carries a client that asked for a way to an authority: interception, tunnel, or, for unlisted hosts, a blind tunnel."""

from __future__ import annotations

from pinproxy.errors import Refused
from pinproxy.proxy.blind import tunnel_blindly
from pinproxy.proxy.connect import AfterEstablished, ConnectRequest
from pinproxy.proxy.interception import intercept
from pinproxy.proxy.tunnel import tunnel


async def carry(request: ConnectRequest) -> None:
    """Have the story that the rule asks for carry a request; returns when it has ended.

    Raises:
        Refused: The client can still be answered in the protocol it asked in.
        AfterEstablished: The client was told that the way is open, and can be answered by a TLS alert.
    """
    request.record.rule = rule = request.proxy.policy.rule_for(request.authority)
    if rule is None:
        rule = await tunnel_blindly(request)
    if rule is None:
        return
    try:
        if rule.connect == "tunnel":
            await tunnel(request, rule)
        else:
            await intercept(request, rule)
    except Refused as refusal:
        if request.is_established:
            raise AfterEstablished(refusal) from refusal
        raise
