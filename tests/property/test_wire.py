"""Whatever a server or a client says, a tunnel's wire lets nothing pass unverified, and refuses in our own words only."""

from __future__ import annotations

import asyncio
import contextlib
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinproxy.errors import ClientHelloInvalid, NotTls, Refused
from pinproxy.policy.verdict import Assurance, Verdict
from pinproxy.proxy.first_flight import require_sni
from pinproxy.proxy.wire import Wire
from pinproxy.tls.client_hello import parse_client_hello
from pinproxy.tls.records import ContentType, HandshakeType, MessageReader, RecordReader
from tests.harness.tls_handshakes import Handshake, refragment
from tests.harness.tunnelling import TLS12, TLS13, client_context, client_hello, origin_context, tunnel_rule
from tests.harness.wires import AUTHORITY, Ear, flight_end, handshake, preflight_of, preflights, wire_for

MAX_BYTES = 2**17


@lru_cache
def full() -> Handshake:
    """A full handshake."""
    return handshake()


@lru_cache
def abbreviated() -> Handshake:
    """A resumed one, whose session nobody here has seen."""
    client, server = client_context(TLS12), origin_context(newest=TLS12)
    session = handshake(client=client, server=server).client_session
    return handshake(session=session, client=client, server=server)


@lru_cache
def newest() -> Handshake:
    """One under TLS 1.3."""
    return handshake(newest=TLS13)


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """Change, insert, remove or repeat a few stretches."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        size = draw(st.integers(1, 40))
        match draw(st.sampled_from(["flip", "insert", "remove", "repeat"])):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=size))
            case "remove":
                del data[at : at + size]
            case _:
                data[at:at] = data[at : at + size]
    return bytes(data)


def pieces_of(data: bytes, at: list[int]) -> list[bytes]:
    """Cut at these places."""
    places = sorted({place % (len(data) + 1) for place in at})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def play(client_bytes: bytes, pieces: list[bytes], *, tls13: str = "refuse") -> tuple[bytes, Wire, Ear]:
    """Feed a wire until its verdict, its refusal or the end; returns what would have gone to the client."""

    async def feed() -> tuple[bytes, Wire, Ear]:
        rule = tunnel_rule(None, tls13=tls13)
        preflight = preflight_of(rule, tls_version="TLSv1.3" if tls13 == "preflight" else "TLSv1.2")
        async with preflights() as made:
            wire, ear = wire_for(client_bytes, made, rule=rule, preflight=preflight)
            held = b""
            with contextlib.suppress(Refused):
                for piece in pieces:
                    if wire.has_verdict:
                        break
                    await wire.see(piece)
                    held += piece
            return held if wire.has_verdict else b"", wire, ear

    return asyncio.run(feed())


def messages_of(data: bytes) -> dict[int, bytes]:
    """Read the plaintext messages up to ServerHelloDone or encryption."""
    records, messages, found = RecordReader(MAX_BYTES), MessageReader(MAX_BYTES), dict[int, bytes]()
    records.feed(data)
    while HandshakeType.SERVER_HELLO_DONE not in found and (record := records.next_record()):
        if record.content_type == ContentType.CHANGE_CIPHER_SPEC:
            break
        if record.content_type == ContentType.HANDSHAKE:
            messages.feed(record.fragment)
            while message := messages.next_message():
                found[message.kind] = message.body
    return found


CUTS = st.lists(st.integers(0, 2000), max_size=3)
WHAT_MATTERS = (HandshakeType.SERVER_KEY_EXCHANGE, HandshakeType.SERVER_HELLO_DONE)


@pytest.mark.attack(
    "TLS 1.2: any mutation of the server's flight",
    expect="tls_handshake_failed",
    topic="tunnel",
    motive="RFC 5246 §7.4.3",
)
@given(st.data(), CUTS, st.sampled_from([2**14, 100, 1]))
@settings(max_examples=150, deadline=None)
def test_a_mutated_flight_passes_only_where_what_was_signed_is_as_it_was(data: st.DataObject, at: list[int], size: int) -> None:
    """Random, leaf and key exchange: the rest cannot hurt, for both ends compare their transcripts (RFC 5246 §7.4.9)."""
    original = full().server_bytes[: flight_end(full())]
    flight = data.draw(mutated(refragment(original, size)))
    let_go, _, ear = play(full().client_bytes, pieces_of(flight, at))
    if not let_go:
        return
    assert ear.heard[-1].verified.judgement.verdict is Verdict.MATCHED
    assert ear.heard[-1].verified.judgement.assurance is Assurance.FULL
    seen, true = messages_of(let_go), messages_of(original)
    assert [seen[kind] for kind in WHAT_MATTERS] == [true[kind] for kind in WHAT_MATTERS]
    assert seen[HandshakeType.SERVER_HELLO][2:34] == true[HandshakeType.SERVER_HELLO][2:34]
    leaf = int.from_bytes(true[HandshakeType.CERTIFICATE][3:6], "big") + 6
    assert seen[HandshakeType.CERTIFICATE][3:leaf] == true[HandshakeType.CERTIFICATE][3:leaf]


@given(CUTS, st.sampled_from([2**14, 100, 1]))
@settings(max_examples=30, deadline=None)
def test_the_true_flight_passes_however_it_is_cut(at: list[int], size: int) -> None:
    """The twin."""
    flight = refragment(full().server_bytes[: flight_end(full())], size)
    let_go, _, ear = play(full().client_bytes, pieces_of(flight, at))
    assert let_go == flight
    assert len(ear.heard) == 1


@given(st.data(), CUTS)
@settings(max_examples=100, deadline=None)
def test_no_mutation_of_an_abbreviated_handshake_passes_without_its_session(data: st.DataObject, at: list[int]) -> None:
    """There is nothing in it that could be verified."""
    let_go, _, ear = play(abbreviated().client_bytes, pieces_of(data.draw(mutated(abbreviated().server_bytes)), at))
    assert (let_go, ear.heard) == (b"", [])


@given(st.data(), CUTS)
@settings(max_examples=100, deadline=None)
def test_no_mutation_of_a_tls13_handshake_is_ever_called_verified(data: st.DataObject, at: list[int]) -> None:
    """Where it passes at all, its verdict is advisory."""
    flight = data.draw(mutated(newest().server_bytes))
    for tls13 in ("refuse", "preflight"):
        let_go, _, ear = play(newest().client_bytes, pieces_of(flight, at), tls13=tls13)
        assert not let_go or tls13 == "preflight"
        assert all(heard.verified.judgement.assurance is Assurance.ADVISORY for heard in ear.heard)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_mutated_hello_is_verified_as_what_the_server_was_sent_or_not_at_all(data: st.DataObject) -> None:
    """The client random that we read is the one that the server signs: another reading gives another signature."""
    client_bytes = data.draw(mutated(client_hello(client_context(TLS12))))
    try:
        hello = parse_client_hello(client_bytes)
        if hello is None:
            return
        require_sni(hello, AUTHORITY)
    except (NotTls, ClientHelloInvalid, Refused):
        return
    flight = full().server_bytes[: flight_end(full())]
    let_go, _, _ = play(client_bytes, [flight])
    assert not let_go  # it answers another hello, whose random was another


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x16\x03\x03", b"\x16\x03\x03\x00\x40\x02", b"\x15\x03\x03\x00\x02"]))
@settings(max_examples=150, deadline=None)
def test_bytes_at_random_are_no_flight(data: bytes, opening: bytes) -> None:
    """Nothing but refusals comes of them."""
    let_go, _, ear = play(full().client_bytes, [opening + data])
    assert (let_go, ear.heard) == (b"", [])
