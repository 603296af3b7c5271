"""Plain HTTP by CONNECT: a client that asks for a way to port 80 of a listed host, and speaks HTTP/1.1 on it.

CONNECT api.example.com:80             the client to us, as Node's `fetch` does for `http://`; or SOCKS5
  1. Port 80 means the host's TLS on 443, as it does in `http://`: find that rule. An entry that names port 80 itself means TLS
     on that port, and is carried like any other.
  2. Open and verify a connection to it, which then waits for the first request.
  3. Say 200, and look at the first byte: where it is TLS after all, the usual stories go on.
  4. Hand the client over to origination: each of its requests goes to that host over verified TLS, and never in clear; one
     that names another host is refused.
"""

from __future__ import annotations

from functools import partial

from pinproxy.authority import Authority, parse_authority
from pinproxy.errors import BadRequest
from pinproxy.http1.fields import host_field
from pinproxy.http1.head import RequestHead
from pinproxy.http1.target import TargetForm, request_target
from pinproxy.net.peek import peek_first_byte
from pinproxy.net.transport import SocketTransport
from pinproxy.policy.table import PolicyTable
from pinproxy.proxy.connect import ConnectRequest
from pinproxy.proxy.errand import Errand, asked_authority, secured_authority
from pinproxy.proxy.http_opening import open_http_upstream
from pinproxy.proxy.origination import OriginationClient
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record
from pinproxy.tls.records import ContentType

_HTTP_PORT, _HTTPS_PORT = 80, 443


def asks_for_http(authority: Authority, table: PolicyTable) -> bool:
    """Tell whether a way to this authority is one for plain HTTP to a listed host: step 1."""
    if authority.port != _HTTP_PORT:
        return False
    named = table.lookup(authority)
    return (named is None or _HTTP_PORT not in named.ports) and table.lookup(_secured(authority)) is not None


async def hand_over_http(request: ConnectRequest) -> bool:
    """Verify the host, then hand the client over to origination.

    Args:
        request: One that `asks_for_http`.

    Returns:
        Whether the client was handed over; else it was told that the way is open, and speaks TLS.

    Raises:
        Refused: What stands in the way.
    """
    proxy, asked, record = request.proxy, request.authority, request.record
    record.mode = "origination"
    # 2.
    record.rule = rule = proxy.policy.rule_still_for(_secured(asked))
    proxy.keep(await open_http_upstream(_secured(asked), rule, proxy, record))
    # 3.
    await request.establish()
    if await peek_first_byte(request.client, proxy.limits.head_seconds, f"request for {asked}") == ContentType.HANDSHAKE:
        return False
    # 4.
    direct = partial(_errand, asked, record.user)
    SocketTransport(request.client, OriginationClient(proxy, request.slot, record.client, direct), proxy.limits.buffer_bytes)
    return True


def _errand(asked: Authority, user: str | None, request: RequestHead, proxy: Proxy, record: Record) -> Errand:
    """Send a request to the host that CONNECT asked for, and to no other (`errand.Direct`)."""
    secured = record.authority = _secured(asked)
    record.user = user
    proxy.refuse_removed_user(user)
    target = request_target(request)
    if target.form is TargetForm.AUTHORITY:
        raise BadRequest("CONNECT comes first on a connection, or on one of its own")
    if target.form is TargetForm.ABSOLUTE:
        named = asked_authority(target) if secured_authority(target) != secured else asked
    else:
        host = request.get(b"host")
        named = parse_authority(host.decode("ascii"), _HTTP_PORT) if host is not None else asked
    if named != asked:
        raise BadRequest(f"the request names {named}, and CONNECT asked for {asked}")
    rule = record.rule = proxy.policy.rule_still_for(secured)
    return Errand(secured, rule, target.path, host_field(str(secured).encode("ascii"), b"https"))


def _secured(authority: Authority) -> Authority:
    return Authority(authority.host, _HTTPS_PORT)
