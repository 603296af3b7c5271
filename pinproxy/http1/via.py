"""The Via field: the name we go by in requests, and whether one has passed us before.

The name is a pseudonym with a random part, made anew by each process: two proxies of one kind on the way of a request must not be
taken for one. It is not a comment, which others on the way may remove.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pinproxy.http1.head import RequestHead

PSEUDONYM = b"pinproxy"


@dataclass(frozen=True, slots=True)
class OwnName:
    """What we are called in the Via field of requests.

    Attributes:
        pseudonym: `pinproxy-` and the random part, in lower case.
        lines: The field line, by the minor version of the message received.
    """

    pseudonym: bytes
    lines: tuple[bytes, bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Write the lines once: every request that goes on has one."""
        object.__setattr__(self, "lines", (b"Via: 1.0 " + self.pseudonym, b"Via: 1.1 " + self.pseudonym))

    def with_us(self, received: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Add our name to the Via values of a request, for a CONNECT that goes on because of it."""
        # > RFC 9110 §7.6.3: Each intermediary … appends its own information about how the message was received
        return (*received, b"1.1 " + self.pseudonym)

    def has_seen(self, head: RequestHead) -> bool:
        """Tell whether a request has passed us before."""
        # Anywhere in the field: 64 random bits stand there for no other reason, however others have put it together again.
        values = head.get_all(b"via")
        return bool(values) and any(self.pseudonym in value.lower() for value in values)


def make_own_name(random: bytes) -> OwnName:
    """Make the name of a process.

    Args:
        random: Eight bytes or more.
    """
    return OwnName(PSEUDONYM + b"-" + random.hex().encode("ascii"))
