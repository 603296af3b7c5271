"""Large configurations must not hold up what else the process does."""

from __future__ import annotations

import contextlib
import gc

from pinproxy.net.collector import collector_at_rest, free_one_by_one
from pinproxy.settings.document import parse_document


def test_the_collector_rests_and_comes_back() -> None:
    """When the last that asked for it is done, in whatever order they end: two threads may overlap."""
    first, second = collector_at_rest(), collector_at_rest()
    with contextlib.ExitStack() as of_first, contextlib.ExitStack() as of_second:
        of_first.enter_context(first)
        of_second.enter_context(second)
        of_first.close()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    """Who turned it off had a reason."""
    gc.disable()
    try:
        with collector_at_rest():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_freed_collections_are_empty() -> None:
    """Lists and mappings alike."""
    numbers, names = [1, 2], {"a": 1}
    free_one_by_one(numbers, names)
    assert (numbers, names) == ([], {})


def test_a_document_leaves_nothing_to_the_collector_that_grows_with_it() -> None:
    """What lies in cycles is found only by looking at everything there is; a large file must leave no more than a small one."""
    parse_document(b"a: [x]\n", "c.yaml")  # what the first one leaves is made once
    with collector_at_rest():
        gc.collect()
        parse_document(b"a: [x]\n", "c.yaml")
        of_small = gc.collect()
        parse_document(b"a: [" + b"x," * 300 + b"x]\n", "c.yaml")
        assert gc.collect() <= of_small
