from __future__ import annotations

import ssl

import pytest

from pinproxy.errors import TlsSyntaxError, refusal_codes
from pinproxy.tls.alert import Alert, AlertDescription, alert, alert_for, parse_alert
from tests.harness.tls_handshakes import client_context


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        (AlertDescription.UNRECOGNIZED_NAME, "UNRECOGNIZED_NAME"),
        (AlertDescription.BAD_CERTIFICATE, "BAD_CERTIFICATE"),
        (AlertDescription.PROTOCOL_VERSION, "PROTOCOL_VERSION"),
        (AlertDescription.ACCESS_DENIED, "ACCESS_DENIED"),
    ],
)
def test_a_real_client_reads_the_alert(description: AlertDescription, reason: str) -> None:
    """OpenSSL, waiting for a ServerHello, reports the very description that was written."""
    received = ssl.MemoryBIO()
    client = client_context().wrap_bio(received, ssl.MemoryBIO(), server_hostname="api.example.com")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    received.write(alert(description))
    with pytest.raises(ssl.SSLError, match=reason):
        client.do_handshake()


def test_an_alert_is_one_record_of_seven_bytes() -> None:
    """RFC 8446 §5.1 and §6: type 21, version, length 2, level fatal, description."""
    assert alert(AlertDescription.UNKNOWN_CA) == bytes.fromhex("15 0303 0002 02 30")
    assert alert(AlertDescription.UNKNOWN_CA, version=0x0301) == bytes.fromhex("15 0301 0002 02 30")


@pytest.mark.parametrize("description", list(AlertDescription))
def test_what_is_written_can_be_read(description: AlertDescription) -> None:
    """Reading is the inverse of writing."""
    assert parse_alert(alert(description)[5:]) == Alert(is_fatal=True, description=description)


def test_an_alert_without_a_name_keeps_its_number() -> None:
    """New descriptions may come; they are reported, not refused."""
    assert str(parse_alert(b"\x01\xfe")) == "alert 254"
    assert str(parse_alert(b"\x01\x5a")) == "user_canceled (90)"


@pytest.mark.parametrize("fragment", [b"", b"\x02", b"\x02\x28\x00", b"\x03\x28", b"\x00\x28"])
def test_anything_but_one_alert_is_refused(fragment: bytes) -> None:
    """RFC 8446 §5.1: exactly one alert in a record; levels are 1 and 2."""
    with pytest.raises(TlsSyntaxError):
        parse_alert(fragment)


@pytest.mark.parametrize(
    ("code", "description"),
    [
        ("sni_mismatch", AlertDescription.UNRECOGNIZED_NAME),
        ("pin_mismatch", AlertDescription.BAD_CERTIFICATE),
        ("certificate_expired", AlertDescription.CERTIFICATE_EXPIRED),
        ("chain_invalid", AlertDescription.CERTIFICATE_UNKNOWN),
        ("tls13_unverifiable", AlertDescription.PROTOCOL_VERSION),
        ("host_not_listed", AlertDescription.ACCESS_DENIED),
        ("dial_timeout", AlertDescription.INTERNAL_ERROR),
    ],
)
def test_a_reason_code_has_its_alert(code: str, description: AlertDescription) -> None:
    """The client of a tunnel can tell a pin failure from a wrong name and from an unreachable server."""
    assert alert_for(code) is description


def test_every_policy_and_pin_code_has_an_alert_of_its_own() -> None:
    """Only faults that TLS has no word for fall back to internal_error."""
    nameless = {code for code, kind in refusal_codes().items() if kind.status == 403 and alert_for(code) == 80}
    assert nameless == set()
