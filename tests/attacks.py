"""What the mark `attack` says, and what it may say: the words of docs/security.md.

    @pytest.mark.attack("the ClientHello names another host", expect="sni_mismatch", topic="tunnel", motive="RFC 6066 §3")

A test carries the mark if it fails when the attack succeeds. Marks with the same words are one row with several tests.
conftest.py checks every mark while tests are collected; security_page.py makes the page of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pinproxy.errors import refusal_codes

TOPICS = {
    "pins": "Pins, and the chain they are held against",
    "certificates": "Certificates and paths",
    "tunnel": "TLS on the wire of a tunnel",
    "interception": "TLS that ends at the proxy",
    "authority": "Hosts, addresses and loops",
    "requests": "HTTP/1.1 from clients",
    "responses": "HTTP/1.1 from origins",
    "resources": "Limits and floods",
    "faults": "Peers that hang and break off, restarts and reloads",
    "control": "Configuration, bundles and the admin server",
    "secrets": "Keys, logs and reports",
}
"""The tables of the page, in its order."""

OUTCOMES = {
    "serve": "it is served: the harmless look-alike of an attack must not be refused",
    "neutralise": "what is dangerous is taken off or never counts, and the rest goes on",
    "bound": "it goes on, within the time, memory or count that the test asserts",
    "cut": "the connection is cut, and looks cut to whoever is left",
    "advise": "it cannot be told apart here, and the verdict is called advisory wherever it shows",
    "keep": "what was in force before stays in force",
    "not start": "the configuration or file is refused, and nothing starts with it",
}
"""What must happen where no reason code says it."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What one mark says.

    Attributes:
        what: What is sent or done, as a phrase.
        expect: What must happen: reason codes, or words of `OUTCOMES`.
        topic: A key of `TOPICS`.
        motive: What it is known from: a CVE, a section of an RFC, another program's test; empty: this proxy.
    """

    what: str
    expect: tuple[str, ...]
    topic: str
    motive: str


def attack(what: str, *, expect: str | tuple[str, ...], topic: str, motive: str = "") -> Attack:
    """Read the arguments of a mark.

    Raises:
        ValueError: One of them is no word of this page.
    """
    expected = (expect,) if isinstance(expect, str) else expect
    unknown = [word for word in expected if word not in OUTCOMES and word not in refusal_codes()]
    if unknown or not expected:
        raise ValueError(f"expect={expect!r}: got no reason code of pinproxy.errors and none of {', '.join(OUTCOMES)}")
    if topic not in TOPICS:
        raise ValueError(f"topic={topic!r}: expected one of {', '.join(TOPICS)}")
    if not what or not what.isprintable():
        raise ValueError(f"{what!r}: expected a phrase of one line that says what the attack is")
    return Attack(what, expected, topic, motive)


def read_mark(mark: pytest.Mark) -> Attack:
    """Read a mark.

    Raises:
        ValueError: An argument is missing, is one too many, or is no word of the page.
    """
    try:
        return attack(*mark.args, **mark.kwargs)
    except TypeError as error:
        raise ValueError(str(error)) from error
