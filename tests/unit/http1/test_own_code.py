"""Functions of one class that another one's types cannot spoil."""

from __future__ import annotations

from pinproxy.http1.head import RequestHead, ResponseHead
from pinproxy.http1.stream import RequestReader, ResponseReader


def test_classes_that_take_turns_share_no_code() -> None:
    """Python's inline caches live in the code object, and so there is one for each class."""
    shared = [
        name
        for one, other in ((RequestReader, ResponseReader), (RequestHead, ResponseHead))
        for name in ("next_event", "feed", "_finish", "once", "get_all")
        if hasattr(one, name) and getattr(one, name).__code__ is getattr(other, name).__code__
    ]
    assert shared == []
    assert RequestReader.next_event.__qualname__ == ResponseReader.next_event.__qualname__ == "MessageReader.next_event"
    assert RequestReader.next_event.__code__ == ResponseReader.next_event.__code__


def test_what_a_class_defines_itself_stays_its_own() -> None:
    """Only what is inherited is copied: properties too, and functions with their defaults."""
    assert RequestReader._next_head.__qualname__ == "RequestReader._next_head"
    reader = RequestReader(100)
    reader.feed(b"GET")
    assert reader.buffered == 3
