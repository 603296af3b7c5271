from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinproxy.authority import Authority
from pinproxy.http1.head import ResponseHead, parse_response_head
from pinproxy.http1.rewriting import rewrite_for_route

ORIGIN = Authority("api.example.test", 443)
OTHER_PORT = Authority("api.example.test", 8443)
LOCAL = b"127.0.0.1:9001"


def rewritten(name: str, value: str, origin: Authority = ORIGIN, local: bytes | None = LOCAL) -> str | None:
    """What becomes of one field; None: nothing."""
    head = parse_response_head(f"HTTP/1.1 200 OK\r\n{name}: {value}\r\n\r\n".encode("latin-1"))
    fields = rewrite_for_route(head, origin, local).fields
    assert len(fields) <= 1
    return fields[0][1].decode("latin-1") if fields else None


@pytest.mark.parametrize("name", ["Location", "Content-Location", "LOCATION"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://api.example.test/v2?q=1#top", "http://127.0.0.1:9001/v2?q=1#top"),
        ("https://api.example.test", "http://127.0.0.1:9001"),
        ("https://api.example.test?q", "http://127.0.0.1:9001?q"),
        ("https://api.example.test:443/v2", "http://127.0.0.1:9001/v2"),
        ("HTTPS://API.Example.TEST./v2", "http://127.0.0.1:9001/v2"),
        # Without its scheme it would take the client's, and lead it to the origin in clear.
        ("//api.example.test/v2", "http://127.0.0.1:9001/v2"),
        # An application behind a TLS terminator writes http:// and means itself.
        ("http://api.example.test/v2", "http://127.0.0.1:9001/v2"),
        ("http://api.example.test:80/v2", "http://127.0.0.1:9001/v2"),
    ],
)
def test_a_reference_to_the_origin_leads_back_to_the_local_port(name: str, value: str, expected: str) -> None:
    """A client that follows it must not get past the pins."""
    assert rewritten(name, value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "/v2",
        "v2?next=https://api.example.test/",
        "https://other.example.test/v2",
        "https://api.example.test.evil.test/",
        "https://api.example.test:8443/v2",
        "http://api.example.test:8080/v2",
        "https://user@api.example.test/v2",
        "ftp://api.example.test/v2",
        "https:/api.example.test/v2",
        "https://",
        "https://api.example.test\\@evil.test/",
        "https://[::1/",
    ],
)
def test_a_reference_to_anybody_else_stays_as_it_is(value: str) -> None:
    """Nothing is repaired, and nothing is guessed; the table above has the twins."""
    assert rewritten("Location", value) == value


def test_an_origin_on_another_port_is_only_that_port() -> None:
    """What is https on 443 there is another origin, which the client is to reach by another way."""
    assert rewritten("Location", "https://api.example.test:8443/v2", OTHER_PORT) == "http://127.0.0.1:9001/v2"
    assert rewritten("Location", "https://api.example.test/v2", OTHER_PORT) == "https://api.example.test/v2"
    assert rewritten("Location", "http://api.example.test/v2", OTHER_PORT) == "http://api.example.test/v2"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://api.example.test/v2", "/v2"),
        ("https://api.example.test", "/"),
        ("https://api.example.test?q", "/?q"),
        ("https://api.example.test//evil.test/", "/.//evil.test/"),
    ],
)
def test_a_client_without_a_host_field_gets_a_path(value: str, expected: str) -> None:
    """HTTP/1.0 need not say whom it talks to; a path that begins with two slashes would name somebody else."""
    assert rewritten("Location", value, local=None) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5; url=https://api.example.test/v2", "5; url=http://127.0.0.1:9001/v2"),
        ("0;URL='https://api.example.test/v2'", "0;URL='http://127.0.0.1:9001/v2'"),
        ('3, url="//api.example.test/"', '3, url="http://127.0.0.1:9001/"'),
        ("5; url=https://other.example.test/", "5; url=https://other.example.test/"),
        ("5; url=/v2", "5; url=/v2"),
        ("5", "5"),
    ],
)
def test_refresh_leads_back_as_well(value: str, expected: str) -> None:
    """It is a redirect that waits."""
    assert rewritten("Refresh", value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("id=1; Secure", "id=1"),
        ("id=1; Path=/; secure; HttpOnly; SameSite=Lax", "id=1; Path=/; HttpOnly; SameSite=Lax"),
        ("id=1; Domain=api.example.test; Max-Age=60", "id=1; Max-Age=60"),
        ("id=1; domain=.Example.test", "id=1"),
        ("id=Secure; Path=/Domain=x", "id=Secure; Path=/Domain=x"),
        # Not one that the origin may set: what a client does with it is not made better here.
        ("id=1; Domain=other.test", "id=1; Domain=other.test"),
        ("id=1; Domain=ample.test", "id=1; Domain=ample.test"),
    ],
)
def test_a_cookie_can_be_sent_back_over_plain_http(value: str, expected: str) -> None:
    """A cookie jar that honours `Secure` and `Domain` would keep it from the local port."""
    assert rewritten("Set-Cookie", value) == expected


@pytest.mark.parametrize(("name", "value"), [("Strict-Transport-Security", "max-age=1"), ("Alt-Svc", 'h3=":443"')])
def test_what_an_origin_says_of_itself_alone_is_dropped(name: str, value: str) -> None:
    """It would turn the client away from the local port."""
    assert rewritten(name, value) is None


def test_everything_else_keeps_its_place_and_its_bytes() -> None:
    """Several cookies stay several, in their order."""
    raw = b"HTTP/1.1 302 Found\r\nX-A: 1\r\nSet-Cookie: a=1; Secure\r\nx-b: https://api.example.test/\r\nset-cookie: b=2\r\n\r\n"
    fields = ((b"X-A", b"1"), (b"Set-Cookie", b"a=1"), (b"x-b", b"https://api.example.test/"), (b"set-cookie", b"b=2"))
    head = rewrite_for_route(parse_response_head(raw), ORIGIN, LOCAL)
    assert (head.status, head.fields) == (302, fields)


def test_a_head_with_nothing_to_rewrite_is_the_same_head() -> None:
    """Most are such."""
    head = parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    assert rewrite_for_route(head, ORIGIN, LOCAL) is head


def test_a_value_of_blanks_costs_no_more_than_its_length() -> None:
    """An origin may fill a whole head with them; tried in every way to cut them up, that would take hours."""
    blanks = "5" + " " * 60_000 + "x"
    assert rewritten("Refresh", blanks) == blanks


@given(value=st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60))
def test_no_value_breaks_a_head(value: str) -> None:
    """Whatever an origin writes, what comes out can be sent: it has no line of its own, and nothing is raised."""
    for name in (b"location", b"refresh", b"set-cookie"):
        head = ResponseHead(302, b"", 1, ((name, value.encode("latin-1")),))
        for _, written in rewrite_for_route(head, ORIGIN, LOCAL).fields:
            assert not {0x0D, 0x0A, 0x00} & set(written)
