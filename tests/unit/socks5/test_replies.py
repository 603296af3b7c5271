from __future__ import annotations

import pytest

from pinproxy.errors import BadRequest, PinError, PolicyError, Refused, refusal_codes
from pinproxy.socks5.messages import AddressTypeNotSupported, CommandNotSupported
from pinproxy.socks5.replies import ReplyCode, method_selection, reply, reply_code

TOLD = {
    ReplyCode.NOT_ALLOWED: {
        "host_not_listed",
        "address_denied",
        "loop_detected",
        "tls13_unverifiable",
        "pin_mismatch",
        "pin_forbidden",
        "pin_set_expired",
        "auth_required",
    },
    ReplyCode.HOST_UNREACHABLE: {"dns_failed"},
    ReplyCode.CONNECTION_REFUSED: {"dial_refused"},
    ReplyCode.TTL_EXPIRED: {"dial_timeout", "handshake_timeout"},
}


@pytest.mark.parametrize("code", sorted(refusal_codes()))
def test_every_reason_has_its_reply(code: str) -> None:
    """RFC 1928 §6: a policy is told from a server that is not there; what SOCKS5 has no word for is a general failure."""
    expected = next((told for told, codes in TOLD.items() if code in codes), ReplyCode.GENERAL_FAILURE)
    assert reply_code(refusal_codes()[code]("why")) is expected


def test_every_decision_of_the_policy_is_not_allowed() -> None:
    """A new reason of that family must not read as a fault of the network."""
    family = [kind for kind in refusal_codes().values() if issubclass(kind, PolicyError | PinError) and kind.status == 403]
    assert {reply_code(kind("why")) for kind in family} == {ReplyCode.NOT_ALLOWED}
    assert len(family) >= 7


@pytest.mark.parametrize(
    ("refusal", "code"),
    [(CommandNotSupported("why"), 0x07), (AddressTypeNotSupported("why"), 0x08), (BadRequest("why"), 0x01)],
)
def test_what_is_not_supported_is_said_so(refusal: Refused, code: int) -> None:
    """RFC 1928 §6: 7 and 8; the twin is any other bad request."""
    assert reply_code(refusal) == code


def test_a_reply_is_ten_bytes_and_names_no_address_of_ours() -> None:
    """RFC 1928 §6: VER, REP, RSV, ATYP IPv4, BND.ADDR, BND.PORT."""
    assert reply(ReplyCode.SUCCEEDED) == bytes.fromhex("05 00 00 01 00000000 0000")
    assert reply(ReplyCode.NOT_ALLOWED) == bytes.fromhex("05 02 00 01 00000000 0000")
    assert method_selection(0x02) == b"\x05\x02"
