"""A new HTTP/1.1 connection to an origin, ready for its first request: the only place in origination where one is made."""

from __future__ import annotations

from pinproxy.authority import Authority
from pinproxy.errors import HostNotListed
from pinproxy.net.transport import SocketTransport
from pinproxy.policy.rule import HostRule
from pinproxy.proxy.http_upstream import HttpUpstream
from pinproxy.proxy.proxy import Proxy
from pinproxy.proxy.record import Record

# > RFC 7301 §3.1: the protocols the client offers, in descending order of preference. Ours is the one we can carry a request in.
_ALPN = ("http/1.1",)


async def open_http_upstream(authority: Authority, rule: HostRule | None, proxy: Proxy, record: Record) -> HttpUpstream:
    """Dial, shake hands, verify; or only dial, for an unlisted host in clear.

    Args:
        authority: Where to.
        rule: Its rule; None: unlisted, forwarded as plain HTTP.
        proxy: What the stories share.
        record: Hears how far it came.

    Raises:
        Refused: Whatever stands in the way; nothing but a TLS handshake was sent.
    """
    if rule is None:
        sock = await proxy.opener.open_plain(authority, record)
        try:
            _check_still_unlisted(authority, proxy)
        except BaseException:
            sock.close()
            raise
        connection = HttpUpstream(authority, record.address or str(authority), None, proxy.limits.head_bytes, proxy.pool.remove)
    else:
        upstream = await proxy.open_upstream(authority, rule, _ALPN, record)
        sock = upstream.sock
        connection = HttpUpstream(authority, upstream.address, upstream, proxy.limits.head_bytes, proxy.pool.remove)
    transport = SocketTransport(sock, connection, proxy.limits.buffer_bytes)
    if connection.upstream is not None:
        transport.first_read = connection.upstream.keep_session
    return connection


def _check_still_unlisted(authority: Authority, proxy: Proxy) -> None:
    """Hold the host against the table in force now: a reload may have listed it while it was dialled."""
    if proxy.policy.rule_for(authority) is not None:
        raise HostNotListed(f"{authority} was listed while it was dialled in clear; ask again")
