"""What a reader of a stream reports besides heads and pieces of body."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from pinproxy.http1.head import Fields


class Signal(Enum):
    """What `next_event` returns when there is no event.

    Attributes:
        NEED_DATA: Nothing whole has arrived; feed more.
        CLOSED: The peer ended the connection between two messages.
        SWITCHED: HTTP ended with the last message; `take_rest` has what follows.
    """

    NEED_DATA = auto()
    CLOSED = auto()
    SWITCHED = auto()


NEED_DATA: Final = Signal.NEED_DATA
CLOSED: Final = Signal.CLOSED
SWITCHED: Final = Signal.SWITCHED


@dataclass(frozen=True, slots=True)
class End:
    """The end of a message, with the trailer fields of a chunked one."""

    trailers: Fields = ()
