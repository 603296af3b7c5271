from __future__ import annotations

import pytest

from pinproxy.errors import TlsSyntaxError
from pinproxy.tls.records import ContentType, HandshakeMessage, MessageReader, Record, RecordReader

HANDSHAKE = b"\x16\x03\x03"


def record(content: bytes, header: bytes = HANDSHAKE) -> bytes:
    """One record."""
    return header + len(content).to_bytes(2, "big") + content


@pytest.mark.parametrize("size", [1, 2, 6, 100])
def test_records_come_out_as_they_went_in(size: int) -> None:
    """Segmentation does not show."""
    stream = record(b"ab") + record(b"\x02\x28", b"\x15\x03\x01") + record(b"\x01", b"\x14\x03\x03")
    reader, found = RecordReader(100), []
    for at in range(0, len(stream), size):
        reader.feed(stream[at : at + size])
        while taken := reader.next_record():
            found.append(taken)
    assert found == [
        Record(ContentType.HANDSHAKE, b"ab"),
        Record(ContentType.ALERT, b"\x02\x28"),
        Record(ContentType.CHANGE_CIPHER_SPEC, b"\x01"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\x13",
        b"\x18\x03\x03\x00\x01\x00",
        b"\x16\x02",
        b"\x16\x03\x03\x40\x01",
        b"\x16\x03\x03\x00\x00",
        b"\x15\x03\x03\x00\x00",
    ],
)
def test_a_header_that_is_no_tls_in_plaintext_is_refused_at_once(data: bytes) -> None:
    """Types 20 to 23, version 3.x, 2^14 bytes at most, no empty handshake: refused before the content comes."""
    reader = RecordReader(100_000)
    reader.feed(data)
    with pytest.raises(TlsSyntaxError):
        reader.next_record()


@pytest.mark.parametrize("data", [b"", b"\x16", b"\x16\x03", b"\x16\x03\x03\x40\x00", b"\x17\x03"])
def test_a_header_that_may_become_tls_asks_for_more(data: bytes) -> None:
    """The twin: every legal beginning waits."""
    reader = RecordReader(100_000)
    reader.feed(data)
    assert reader.next_record() is None


def test_the_bound_holds_over_all_records_and_only_for_those_taken() -> None:
    """Twenty bytes allow the first two records; the third goes over; bytes never asked for do not count."""
    reader = RecordReader(20)
    reader.feed(record(b"12345") * 3)
    assert reader.next_record() == reader.next_record() == Record(ContentType.HANDSHAKE, b"12345")
    with pytest.raises(TlsSyntaxError, match="over 20 bytes"):
        reader.next_record()


def test_messages_join_and_split() -> None:
    """RFC 8446 §5.1: several messages in one fragment, one message over several."""
    reader = MessageReader(100)
    reader.feed(b"\x02\x00\x00\x01a\x0b\x00")
    assert reader.next_message() == HandshakeMessage(2, b"a")
    assert reader.next_message() is None
    assert not reader.is_between_messages
    reader.feed(b"\x00\x02bc")
    assert reader.next_message() == HandshakeMessage(11, b"bc")
    assert reader.is_between_messages


def test_a_message_over_the_bound_is_refused_by_its_length_field() -> None:
    """The refusal does not wait for the bytes; at the bound exactly it waits."""
    reader = MessageReader(100)
    reader.feed(b"\x0b\x00\x00\x64")
    assert reader.next_message() is None
    reader = MessageReader(100)
    reader.feed(b"\x0b\x00\x00\x65")
    with pytest.raises(TlsSyntaxError, match="101 bytes"):
        reader.next_message()
