"""What a SOCKS5 client says: the methods it can, its name and password, where it wants to go.

Rules of this file:
- Every message tells from its beginning how long it is. Asked for `*_bytes` again and again, it says how much may be taken out
  of the socket now: never a byte that could belong to what follows, as a ClientHello sent in the same segment does.
- Where a client wants to go leaves here as an `Authority`: one form, whatever the form it came in.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final

from pinproxy.authority import Authority, canonical_host
from pinproxy.errors import BadRequest

VERSION: Final = 0x05
NO_AUTHENTICATION: Final = 0x00
USERNAME_PASSWORD: Final = 0x02

_SUBNEGOTIATION_VERSION: Final = 0x01  # RFC 1929 §2
_CONNECT: Final = 0x01
_IPV4, _NAME, _IPV6 = 0x01, 0x03, 0x04
_ADDRESS_BYTES: Final = {_IPV4: 4, _IPV6: 16}
_PORT_BYTES: Final = 2


class CommandNotSupported(BadRequest):
    """BIND or UDP ASSOCIATE."""


class AddressTypeNotSupported(BadRequest):
    """An address that is neither IPv4, IPv6 nor a name."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client says of itself (RFC 1929).

    Attributes:
        username: As sent, UTF-8.
        password: The same; never shown.
    """

    username: str
    password: str = field(repr=False)


# > RFC 1928 §3: | VER | NMETHODS | METHODS  |
# >              |  1  |    1     | 1 to 255 |
def greeting_bytes(begun: bytes) -> int:
    """Return the length of a greeting, as far as its beginning tells: at least this, exactly this once it is reached.

    Args:
        begun: The first bytes of the message; none are fine.
    """
    return 2 if len(begun) < 2 else 2 + begun[1]


def parse_greeting(message: bytes) -> frozenset[int]:
    """Read a whole greeting; return the methods the client offers.

    Raises:
        BadRequest: Another version, or no method at all.
    """
    _require_version(message, VERSION)
    if len(message) == 2:
        raise BadRequest("a SOCKS5 greeting without a method; expected 1 to 255")
    return frozenset(message[2:])


# > RFC 1929 §2: | VER | ULEN |  UNAME   | PLEN |  PASSWD  |
# >              |  1  |  1   | 1 to 255 |  1   | 1 to 255 |
def credentials_bytes(begun: bytes) -> int:
    """Return the length of a username/password request, as far as its beginning tells (see `greeting_bytes`)."""
    if len(begun) < 2:
        return 2
    length_at = 2 + begun[1]
    return length_at + 1 if len(begun) <= length_at else length_at + 1 + begun[length_at]


def parse_credentials(message: bytes) -> Credentials:
    """Read a whole username/password request.

    Raises:
        BadRequest: Another version, or bytes that are no UTF-8. What they are is not said: it may be a password.
    """
    _require_version(message, _SUBNEGOTIATION_VERSION)
    length_at = 2 + message[1]
    try:
        return Credentials(message[2:length_at].decode("utf-8"), message[length_at + 1 :].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRequest("SOCKS5 username or password is not UTF-8") from error


# > RFC 1928 §4: | VER | CMD |  RSV  | ATYP | DST.ADDR | DST.PORT |
# >              |  1  |  1  | X'00' |  1   | Variable |    2     |
def request_bytes(begun: bytes) -> int:
    """Return the length of a request, as far as its beginning tells (see `greeting_bytes`).

    Raises:
        AddressTypeNotSupported: Nobody can tell how long such an address is.
    """
    if len(begun) < 5:
        # The shortest there are, a name of one letter and IPv4, have more; the fifth byte may be the length of a name.
        return 5
    kind = begun[3]
    if kind == _NAME:
        return 5 + begun[4] + _PORT_BYTES
    if kind not in _ADDRESS_BYTES:
        raise AddressTypeNotSupported(f"SOCKS5 address type {kind:#04x}; expected IPv4 (0x01), a name (0x03) or IPv6 (0x04)")
    return 4 + _ADDRESS_BYTES[kind] + _PORT_BYTES


def parse_request(message: bytes) -> Authority:
    """Read a whole request; return where the client wants to connect to.

    Raises:
        CommandNotSupported: Another command than CONNECT.
        BadRequest: Another version, or no destination that has exactly one form.
    """
    _require_version(message, VERSION)
    if message[1] != _CONNECT:
        raise CommandNotSupported(f"SOCKS5 command {message[1]:#04x}; expected CONNECT (0x01)")
    # > RFC 1928 §4: RSV RESERVED … Fields marked RESERVED (RSV) must be set to X'00'.
    if message[2] != 0:
        raise BadRequest("the reserved byte of a SOCKS5 request is not zero")
    port = int.from_bytes(message[-_PORT_BYTES:], "big")
    if port == 0:
        raise BadRequest("port 0 in a SOCKS5 request; expected 1 to 65535")
    if message[3] == _NAME:
        return Authority(_host_of_name(message[5:-_PORT_BYTES]), port)
    address = ipaddress.ip_address(message[4:-_PORT_BYTES])
    return Authority(canonical_host(f"[{address}]" if address.version == 6 else str(address)), port)


def _host_of_name(name: bytes) -> str:
    """Bring a name to its one form; one that is written as an address is that address, and meets the rules of one."""
    try:
        text = name.decode("ascii")
    except UnicodeDecodeError as error:
        raise BadRequest("the name in a SOCKS5 request is not ASCII; expected A-labels (xn--…)") from error
    return canonical_host(f"[{text}]" if ":" in text and not text.startswith("[") else text)


def _require_version(message: bytes, version: int) -> None:
    if message[0] != version:
        raise BadRequest(f"a SOCKS message of version {message[0]}; expected {version}")
