"""The one event of a proxied connection or request, from which log line, metrics and status page are made. Pure values.

Nothing secret can be in it by construction: no field holds a path, a query, a request field or a body.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pinproxy.authority import Authority
from pinproxy.pins.chain import VerifiedChain
from pinproxy.policy.rule import HostRule
from pinproxy.policy.verdict import Decision, Judgement

CarryMode = Literal["origination", "interception", "tunnel", "route", "blind", "plain", "none"]


@dataclass(slots=True)
class ConnectionEvent:
    """One proxied connection (CONNECT) or request (origination), told when it has ended.

    Nobody changes one. It is not frozen, for one is made for each request, and to fill a frozen one takes four times as long;
    nor a tuple, whose fields are read some fifty times, at twice the cost.

    Attributes:
        id: Ties log line, response field and report together.
        at: When it ended, UTC.
        client: Address of the client, `host:port`, or `unix`.
        mode: How the traffic was carried; `none` where it was refused before that was known.
        method: Request method; None where there was no request.
        authority: Host and port asked for, canonical; None where the request named none that can be read.
        rule: The host rule that was met; None: unlisted.
        judgement: Verdict and decision of the pin check; None where none was reached.
        decision: What was done in the end, also where no pin check was reached.
        code: Reason code of a refusal or of a `would_deny`; None where nothing was wrong.
        detail: The text of that reason.
        chain: The verified chain, leaf first; None where there is none.
        tls_version: Upstream TLS version as OpenSSL spells it, as `TLSv1.3`.
        alpn: Application protocol negotiated upstream.
        upstream_address: Address dialled, `host:port`.
        status: Status of the HTTP response passed on; None in tunnels.
        bytes_up: Bytes of payload from the client to upstream.
        bytes_down: Bytes of payload from upstream to the client.
        duration_seconds: From the first byte to the end.
        user: Who the client showed to be; None: nobody was asked, or nobody was told.
        mismatch_class: Of a pin failure, how far its chain is from the last good one (`policy.mismatch`); None: no pin failed.
        handshake_seconds: Of the upstream handshake with its verification; None: a pooled connection, or none.
    """

    id: str
    at: datetime
    client: str
    mode: CarryMode
    method: str | None
    authority: Authority | None
    rule: HostRule | None
    judgement: Judgement | None
    decision: Decision
    code: str | None
    detail: str | None
    chain: VerifiedChain | None
    tls_version: str | None
    alpn: str | None
    upstream_address: str | None
    status: int | None
    bytes_up: int
    bytes_down: int
    duration_seconds: float
    handshake_seconds: float | None
    user: str | None = None
    mismatch_class: str | None = None
