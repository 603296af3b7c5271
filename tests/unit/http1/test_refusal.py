from __future__ import annotations

import json

import pytest

from pinproxy.errors import AuthRequired, Overloaded, PinMismatch, Refused, refusal_codes
from pinproxy.http1.framing import BodyKind, response_framing
from pinproxy.http1.head import ResponseHead, parse_response_head
from pinproxy.http1.refusal import RETRY_AFTER_SECONDS, render_refusal


def split(raw: bytes) -> tuple[ResponseHead, bytes]:
    """Read a refusal back with our own strict parser."""
    head, end, body = raw.partition(b"\r\n\r\n")
    return parse_response_head(head + end), body


@pytest.mark.parametrize("kind", refusal_codes().values(), ids=refusal_codes())
def test_every_refusal_is_a_complete_response_that_says_why(kind: type[Refused]) -> None:
    """Spec 4.4: status, three fields and a problem document, and the connection ends."""
    head, body = split(render_refusal(kind("what happened"), connection_id="c-1", host="a.example:443"))
    assert head.status == kind.status
    assert head.get(b"proxy-status") == f'pinproxy; error={kind.proxy_status}; details="{kind.code}"'.encode()
    assert head.get(b"x-pinproxy-error") == kind.code.encode()
    assert head.get(b"x-pinproxy-id") == b"c-1"
    assert head.get(b"content-type") == b"application/problem+json"
    assert head.get(b"connection") == b"close"
    assert head.get(b"cache-control") == b"no-store"
    assert response_framing(head, b"GET").kind is BodyKind.LENGTH
    assert response_framing(head, b"GET").length == len(body)
    assert json.loads(body) == {
        "type": f"urn:pinproxy:error:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": "what happened",
        "code": kind.code,
        "id": "c-1",
        "host": "a.example:443",
    }


def test_further_members_stand_beside_ours_and_replace_none() -> None:
    """RFC 9457 §3.2: extension members."""
    extra = {"seen": ["sha256/x"], "expected": ["sha256/y"], "status": 200, "code": "fine"}
    problem = json.loads(split(render_refusal(PinMismatch("no"), connection_id="c", host=None, extra=extra))[1])
    assert (problem["seen"], problem["expected"]) == (["sha256/x"], ["sha256/y"])
    assert (problem["status"], problem["code"], problem["host"]) == (403, "pin_mismatch", None)


@pytest.mark.attack(
    "bytes of a bad request, reflected in its refusal",
    expect="neutralise",
    topic="requests",
    motive="CWE-93, CWE-117",
)
def test_nothing_is_reflected_as_it_was_sent() -> None:
    """Line ends and other alphabets are escaped in the body and never stand in the head."""
    nasty = 'a\r\nSet-Cookie: x\x00"é\u2028'
    raw = render_refusal(PinMismatch(nasty), connection_id=nasty, host=nasty, extra={"seen": nasty})
    head, body = split(raw)
    assert head.get(b"x-pinproxy-id") == b"aSet-Cookiex"
    assert head.get(b"set-cookie") is None
    assert b"\r" not in body
    assert body.isascii()
    assert json.loads(body)["host"] == nasty


def test_407_asks_for_credentials() -> None:
    """RFC 9110 §15.5.8: the challenge is mandatory; other refusals have none."""
    head, _ = split(render_refusal(AuthRequired("no"), connection_id="c", host=None))
    assert head.get(b"proxy-authenticate") == b'Basic realm="pinproxy"'
    head, _ = split(render_refusal(PinMismatch("no"), connection_id="c", host=None))
    assert head.get(b"proxy-authenticate") is None


@pytest.mark.parametrize(
    ("error", "retry_after", "expected"),
    [
        (Overloaded("no"), None, b"%d" % RETRY_AFTER_SECONDS),
        (Overloaded("no"), 30, b"30"),
        (PinMismatch("no"), None, None),
    ],
)
def test_503_says_when_to_come_again(error: Refused, retry_after: int | None, expected: bytes | None) -> None:
    """RFC 9110 §10.2.3."""
    head, _ = split(render_refusal(error, connection_id="c", host=None, retry_after=retry_after))
    assert head.get(b"retry-after") == expected


def test_head_gets_the_head_of_the_answer_alone() -> None:
    """RFC 9110 §9.3.2: no content, but the length it would have."""
    whole = render_refusal(PinMismatch("no"), connection_id="c", host=None)
    alone = render_refusal(PinMismatch("no"), connection_id="c", host=None, head_only=True)
    assert alone == whole[: whole.index(b"\r\n\r\n") + 4]


def test_an_http_1_0_client_is_answered_in_its_version() -> None:
    """The refusal ends the connection and is not chunked, so that it is valid in either version."""
    assert render_refusal(PinMismatch("no"), connection_id="c", host=None, minor=0).startswith(b"HTTP/1.0 403 Forbidden\r\n")
    assert render_refusal(PinMismatch("no"), connection_id="c", host=None).startswith(b"HTTP/1.1 403 Forbidden\r\n")
