"""What a SOCKS5 server says: the method it chose, whether a password was right, whether the way is open, and if not, why."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from pinproxy import errors
from pinproxy.socks5.messages import VERSION, AddressTypeNotSupported, CommandNotSupported

NO_ACCEPTABLE_METHOD: Final = bytes((VERSION, 0xFF))
# > RFC 1929 §2: A STATUS field of X'00' indicates success. If the server returns a `failure' (STATUS value other than X'00')
# > status, it MUST close the connection.
CREDENTIALS_ACCEPTED: Final = b"\x01\x00"
CREDENTIALS_REFUSED: Final = b"\x01\x01"


class ReplyCode(IntEnum):
    """The REP field (RFC 1928 §6)."""

    SUCCEEDED = 0x00
    GENERAL_FAILURE = 0x01
    NOT_ALLOWED = 0x02
    NETWORK_UNREACHABLE = 0x03
    HOST_UNREACHABLE = 0x04
    CONNECTION_REFUSED = 0x05
    TTL_EXPIRED = 0x06
    COMMAND_NOT_SUPPORTED = 0x07
    ADDRESS_TYPE_NOT_SUPPORTED = 0x08


# The first class that fits. SOCKS5 has nine words for what HTTP says in thirty: the rest is for the log.
_BY_REFUSAL: Final[tuple[tuple[type[errors.Refused], ReplyCode], ...]] = (
    (CommandNotSupported, ReplyCode.COMMAND_NOT_SUPPORTED),
    (AddressTypeNotSupported, ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED),
    (errors.ChainUnavailable, ReplyCode.GENERAL_FAILURE),  # a pin error by what it means, the server's by whose fault it is
    (errors.PolicyError, ReplyCode.NOT_ALLOWED),
    (errors.PinError, ReplyCode.NOT_ALLOWED),
    (errors.AuthRequired, ReplyCode.NOT_ALLOWED),
    (errors.DnsFailed, ReplyCode.HOST_UNREACHABLE),
    (errors.DialRefused, ReplyCode.CONNECTION_REFUSED),
    # Nobody counts hops any more; clients show 0x06 as a time-out, and it is the only word that comes near.
    (errors.DialTimeout, ReplyCode.TTL_EXPIRED),
    (errors.HandshakeTimeout, ReplyCode.TTL_EXPIRED),
)


def reply_code(refusal: errors.Refused) -> ReplyCode:
    """Choose the reply that says best why the way is not open."""
    return next((code for kind, code in _BY_REFUSAL if isinstance(refusal, kind)), ReplyCode.GENERAL_FAILURE)


def method_selection(method: int) -> bytes:
    """Write the answer to a greeting (RFC 1928 §3)."""
    return bytes((VERSION, method))


# > RFC 1928 §6: | VER | REP |  RSV  | ATYP | BND.ADDR | BND.PORT |
def reply(code: ReplyCode) -> bytes:
    """Write the answer to a request.

    The bound address is 0.0.0.0:0, as most servers say: which of our addresses the origin sees is not a client's business.
    """
    return bytes((VERSION, code, 0x00, 0x01, 0, 0, 0, 0, 0, 0))
