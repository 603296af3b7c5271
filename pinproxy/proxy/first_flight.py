"""What a client's ClientHello must say before anything of it goes on."""

from __future__ import annotations

from pinproxy.authority import Authority
from pinproxy.errors import HeadTimeout, SniMismatch, SniMissing
from pinproxy.net.peek import PeekedHello, peek_client_hello
from pinproxy.net.time_limit import time_limit
from pinproxy.proxy.connect import ConnectRequest
from pinproxy.tls.client_hello import ClientHello


async def read_client_hello(request: ConnectRequest) -> PeekedHello:
    """Read the ClientHello within `limits.head_seconds`, and leave it in the socket.

    Raises:
        NotTls: Something else.
        ClientHelloInvalid: Two readers could read it differently.
        HeadTimeout: It did not come, or not all of it.
        ClientClosed: The client is gone.
    """
    seconds = request.proxy.limits.head_seconds
    try:
        with time_limit(seconds):
            return await peek_client_hello(request.client)
    except TimeoutError as error:
        raise HeadTimeout(f"no whole ClientHello for {request.authority} within {seconds:g} s") from error


def require_sni(hello: ClientHello, authority: Authority) -> None:
    """Refuse a ClientHello that names another host than the one asked for, or none where a name was asked for.

    Raises:
        SniMismatch: Another name: domain fronting, or a client that is confused.
        SniMissing: No name: the server would choose a certificate for itself, and we could not tell for whom.
    """
    if hello.server_name is None:
        # > RFC 6066 §3: Literal IPv4 and IPv6 addresses are not permitted in "HostName".
        if authority.is_ip_address:
            return
        raise SniMissing(f"the ClientHello names no server; expected {authority.host}")
    if hello.server_name != authority.host:
        raise SniMismatch(f"the ClientHello names {hello.server_name}, the client asked for {authority.host}")
