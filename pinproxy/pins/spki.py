"""The SubjectPublicKeyInfo of a certificate or key, cut from the very DER bytes that were verified.

Cut, not re-encoded: a library that parses a key and writes it again may write other bytes (RSA-PSS parameters, explicit
curves), and a pin would then speak of a key nobody sent. It also works for key types that the library does not know yet.
"""

from __future__ import annotations

from pinproxy.errors import PinSyntaxError

_SEQUENCE = 0x30
_EXPLICIT_VERSION = 0xA0
_LONG_FORM = 0x80
_MAX_LENGTH_OCTETS = 4


def spki_of_certificate(tbs_certificate: bytes) -> bytes:
    """Cut `subjectPublicKeyInfo` out of a DER TBSCertificate.

    Args:
        tbs_certificate: DER of the to-be-signed part (RFC 5280 §4.1).

    Raises:
        PinSyntaxError: The bytes are no TBSCertificate.
    """
    # > RFC 5280 §4.1: TBSCertificate ::= SEQUENCE { version [0] EXPLICIT DEFAULT v1, serialNumber, signature, issuer,
    # >   validity, subject, subjectPublicKeyInfo, … }
    _, position, end = _element(tbs_certificate, 0)
    tag, _, after = _element(tbs_certificate, position)
    if tag == _EXPLICIT_VERSION:
        position = after
    for _field in ("serialNumber", "signature", "issuer", "validity", "subject"):
        _, _, position = _element(tbs_certificate, position)
    tag, _, after = _element(tbs_certificate, position)
    if tag != _SEQUENCE or after > end:
        raise PinSyntaxError("the certificate holds no SubjectPublicKeyInfo where RFC 5280 §4.1 puts it")
    return tbs_certificate[position:after]


def _element(der: bytes, start: int) -> tuple[int, int, int]:
    """Read one DER tag and length: (tag, start of the content, end of the content)."""
    try:
        tag, length, content = der[start], der[start + 1], start + 2
        if length & _LONG_FORM:
            octets = length & ~_LONG_FORM
            if not 0 < octets <= _MAX_LENGTH_OCTETS:
                raise PinSyntaxError(f"DER length of {octets} octets at byte {start}; expected 1 to {_MAX_LENGTH_OCTETS}")
            length = int.from_bytes(der[content : content + octets], "big")
            content += octets
    except IndexError as error:
        raise PinSyntaxError(f"DER ends inside the element at byte {start}") from error
    if content + length > len(der):
        raise PinSyntaxError(f"DER element at byte {start} runs {content + length - len(der)} bytes past the end")
    return tag, content, content + length
