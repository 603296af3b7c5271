"""What real programs say, replayed whole and damaged: only our own errors come out of a reader, and soon.

tests/data/fuzz/READER/NAME holds one input each: curl's, OpenSSL's and Node's first words as they stood on the wire, flights of
OpenSSL's server, configurations, and what once made a reader stumble. Another file is another test. The damage is the same each
time; the other tests of this folder look for new kinds of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pinproxy.authority import parse_authority
from pinproxy.errors import (
    BadRequest,
    ChainUnavailable,
    ClientHelloInvalid,
    NotTls,
    PinproxyError,
    PinSyntaxError,
    Refused,
    SettingsError,
    TlsHandshakeFailed,
)
from pinproxy.http1.stream import RequestReader, ResponseReader, Signal
from pinproxy.pins.pin import parse_pin
from pinproxy.settings.document import parse_document
from pinproxy.socks5.messages import (
    credentials_bytes,
    greeting_bytes,
    parse_credentials,
    parse_greeting,
    parse_request,
    request_bytes,
)
from pinproxy.tls.client_hello import ClientHelloReader
from pinproxy.tls.server_flight import ServerFlightReader
from tests.property.test_socks5 import take

CORPUS = Path(__file__).parents[1] / "data/fuzz"
DAMAGED = 100
MOST_SECONDS = 5.0
"""Of computing, for all that is made of one seed: most take a hundredth of a second, configurations half of one."""


def read_messages(reader: RequestReader | ResponseReader, data: bytes) -> None:
    """Read messages until there are no more."""
    reader.feed(data)
    reader.feed_eof()
    while not isinstance(reader.next_event(), Signal):
        pass


def read_responses(data: bytes) -> None:
    """Read the response to a GET that may change protocols."""
    reader = ResponseReader(65536)
    reader.expect(b"GET", may_upgrade=True)
    read_messages(reader, data)


def read_socks(length_of: Callable[[bytes], int], parse: Callable[[bytes], object], data: bytes) -> None:
    """Read a message as the proxy does, which knows how long it is before it has it."""
    message = take(length_of, data, max(len(data), 1))
    if message is not None:
        parse(message)


READERS: dict[str, tuple[Callable[[bytes], object], tuple[type[PinproxyError], ...]]] = {
    "authority": (lambda data: parse_authority(data.decode("latin-1")), (BadRequest,)),
    "client_hello": (lambda data: ClientHelloReader().feed(data), (NotTls, ClientHelloInvalid)),
    "configuration": (lambda data: parse_document(data, "c.yaml"), (SettingsError,)),
    "pin": (lambda data: parse_pin(data.decode("utf-8", "replace")), (PinSyntaxError,)),
    "request": (lambda data: read_messages(RequestReader(65536), data), (Refused,)),
    "response": (read_responses, (Refused,)),
    "server_flight": (lambda data: list(ServerFlightReader(65536).feed(data)), (TlsHandshakeFailed, ChainUnavailable)),
    "socks5_credentials": (partial(read_socks, credentials_bytes, parse_credentials), (BadRequest,)),
    "socks5_greeting": (partial(read_socks, greeting_bytes, parse_greeting), (BadRequest,)),
    "socks5_request": (partial(read_socks, request_bytes, parse_request), (BadRequest,)),
}
SPOKEN = READERS.keys() - {"authority", "configuration", "pin"}
"""What other programs said; the rest holds what people write, wrong on purpose in places."""
SEEDS = sorted(path.relative_to(CORPUS) for path in CORPUS.glob("*/*"))


def damaged(data: bytes, at_random: random.Random) -> bytes:
    """Flip, put in, take out or repeat a few bytes, or cut the end off."""
    changed = bytearray(data)
    for _ in range(at_random.randint(1, 4)):
        at, size = at_random.randrange(len(changed) + 1), at_random.randint(1, 8)
        match at_random.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([at_random.randrange(256)])
            case 1:
                changed[at:at] = at_random.choice([at_random.randbytes(size), b"\r\n", b"\0", b"\xff" * size, b": "])
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = changed[max(at - size, 0) : at] * at_random.choice([1, 50])
            case _:
                del changed[at:]
    return bytes(changed)


def test_every_reader_has_seeds() -> None:
    """A folder without a reader would be replayed by nobody."""
    assert {seed.parent.name for seed in SEEDS} == READERS.keys()


@pytest.mark.attack(
    "first words of real programs, damaged at random",
    expect="neutralise",
    topic="requests",
    motive="mitmproxy's and h11's fuzz tests",
)
@pytest.mark.parametrize("seed", SEEDS, ids=str)
def test_no_damage_brings_anything_but_our_own_errors_out_of_a_reader(seed: Path) -> None:
    """Whole, cut anywhere, and damaged; and it takes no time worth telling."""
    read, refusals = READERS[seed.parent.name]
    data = (CORPUS / seed).read_bytes()
    at_random = random.Random(str(seed))
    begun = time.process_time()
    for case in [data, *(data[:at] for at in range(min(len(data), 300))), *(damaged(data, at_random) for _ in range(DAMAGED))]:
        try:
            read(case)
        except refusals:
            pass
        except Exception as error:  # noqa: BLE001 - whatever else comes out is what this looks for
            pytest.fail(f"{error!r} came of {case!r}")
    assert time.process_time() - begun < MOST_SECONDS


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed.parent.name in SPOKEN], ids=str)
def test_what_real_programs_say_is_read(seed: Path) -> None:
    """The twin: undamaged, none of it is refused."""
    READERS[seed.parent.name][0]((CORPUS / seed).read_bytes())
