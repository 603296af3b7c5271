"""The Public Suffix List: its rules, their exceptions, and what is known without a list."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinproxy.policy.public_suffix import PublicSuffixes, parse_public_suffixes

LIST = """// comment
com

co.uk   trailing words
*.ck
!www.ck
公司.cn
github.io
a label with_ a space first is only read up to it
not..a..name
"""


@pytest.mark.parametrize(
    ("name", "is_public"),
    [
        ("com", True),
        ("co.uk", True),
        ("uk", True),
        ("ck", True),
        ("anything.ck", True),
        ("www.ck", False),
        ("xn--55qx5d.cn", True),
        ("github.io", True),
        ("example.com", False),
        ("a.github.io", False),
        ("internal", False),
        ("home.arpa", False),
        ("127.0.0.1", False),
    ],
)
def test_a_name_is_public_where_the_list_says_so(name: str, is_public: bool) -> None:
    """A name no rule matches falls under `*`: its last label is public. Names that nobody can register are not."""
    assert parse_public_suffixes(LIST).holds(name) is is_public


def test_without_a_list_single_labels_are_known() -> None:
    """What is not there is not guessed."""
    empty = PublicSuffixes()
    assert (empty.holds("com"), empty.holds("co.uk"), empty.holds("local")) == (True, False, False)


@settings(max_examples=30)
@given(st.text(max_size=40))
def test_any_text_is_a_list(text: str) -> None:
    """A system's file is not ours: a line that cannot be read is passed over."""
    parse_public_suffixes(text)
