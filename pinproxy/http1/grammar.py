"""The grammar of an HTTP/1.1 head, as regular expressions that accept what we forward and nothing else.

Rules of this file:
- Expressions and constants only. Each stands under the ABNF of RFC 9112 or RFC 9110 it enforces; stricter is said so.
- Quantifiers are possessive, so that matching is linear in the input whatever a peer sends.
- One byte of leniency costs a request-smuggling hole. A new one needs a real peer that cannot be served without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pinproxy.errors import BadRequest, ClientClosed, HeadTooLarge, Refused, UpstreamClosed

MAX_FIELDS: Final = 256
"""Field lines in a head or trailer section. Browsers send 20; Envoy and Apache stop at 100 unless told otherwise."""

MAX_LENGTH: Final = 2**63 - 1
"""Largest body length: what signed 64-bit counters hold; RFC 9110 §8.6 asks to guard against their overflow."""

# > token = 1*tchar
# > tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~" / DIGIT / ALPHA
TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"

# > field-line = field-name ":" OWS field-value OWS
# > field-vchar = VCHAR / obs-text
# Stricter for requests: obs-text is refused; clients of today do not send it, and servers disagree what it means.
# Responses keep it: origins send Latin-1 and UTF-8 in Content-Disposition and Location, and nothing here reads those.
_REQUEST_LINE_OF_FIELDS: Final = TOKEN + rb":[\t\x20-\x7e]*+\r\n"
_RESPONSE_LINE_OF_FIELDS: Final = TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n"

# > request-line = method SP request-target SP HTTP-version
# Any visible ASCII but "#", for a fragment never travels. Laxer than RFC 3986: browsers send `|` and `"` in queries.
REQUEST_TARGET: Final = rb"[\x21\x22\x24-\x7e]++"
_REQUEST_LINE: Final = rb"(" + TOKEN + rb") (" + REQUEST_TARGET + rb") HTTP/1\.([01])\r\n"

# > status-line = HTTP-version SP status-code SP [ reason-phrase ]
# Laxer in two points that leave nothing in doubt: the second SP may be missing with the phrase (old embedded servers),
# and codes up to 999 pass (LinkedIn answers 999). We forward a strict line.
_STATUS_LINE: Final = rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n"

REQUEST_LINE: Final = re.compile(_REQUEST_LINE)
STATUS_LINE: Final = re.compile(_STATUS_LINE)
REQUEST_HEAD: Final = re.compile(_REQUEST_LINE + rb"(?:" + _REQUEST_LINE_OF_FIELDS + rb")*+\r\n")
RESPONSE_HEAD: Final = re.compile(_STATUS_LINE + rb"(?:" + _RESPONSE_LINE_OF_FIELDS + rb")*+\r\n")

# > Host = uri-host [ ":" port ]
HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._~!$&'()*+,;=%-]*+)(?::[0-9]*+)?")

# > Content-Length = 1*DIGIT
DIGITS: Final = re.compile(rb"[0-9]++")


@dataclass(frozen=True, slots=True)
class Side:
    """What differs between reading a client's requests and reading an origin's responses.

    Attributes:
        malformed: Raised for bytes that break the grammar or leave the framing in doubt.
        too_large: Raised for a head or trailer section over its bound.
        cut: Raised where the connection ended inside a message.
        start_line: The first line of a head, CRLF included.
        field_section: Field lines and the empty line that ends them.
    """

    malformed: type[Refused]
    too_large: type[Refused]
    cut: type[Refused]
    start_line: re.Pattern[bytes]
    field_section: re.Pattern[bytes]


REQUESTS: Final = Side(
    malformed=BadRequest,
    too_large=HeadTooLarge,
    cut=ClientClosed,
    start_line=REQUEST_LINE,
    field_section=re.compile(rb"(?:" + _REQUEST_LINE_OF_FIELDS + rb")*+\r\n"),
)
RESPONSES: Final = Side(
    malformed=UpstreamClosed,
    too_large=UpstreamClosed,
    cut=UpstreamClosed,
    start_line=STATUS_LINE,
    field_section=re.compile(rb"(?:" + _RESPONSE_LINE_OF_FIELDS + rb")*+\r\n"),
)
