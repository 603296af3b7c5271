"""For every reason code one sentence on its cause and one on what to do; docs/errors.md has the whole of it."""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    """What is behind a code, most often, and what to do about it."""

    cause: str
    to_do: str


_ASK_FIRST = "ask whoever runs the server, by another way than this connection, whether the change is theirs; then add its pin"
_DEFECT = "the log has a traceback with this id: report it"
ADVICE: dict[str, Advice] = {
    "pin_mismatch": Advice("the server shows a key that is not pinned: a renewal, or somebody else", _ASK_FIRST),
    "pin_forbidden": Advice(
        "the chain holds a key that the set rules out", "have the certificate reissued with another key or CA"
    ),
    "pin_set_expired": Advice("the set was not maintained and the server has moved on", _ASK_FIRST),
    "chain_unavailable": Advice(
        "a resumed session, which shows no chain", "none, as a rule: the next connection is a full handshake"
    ),
    "chain_invalid": Advice(
        "a private CA, a missing intermediate, or a weak or broken certificate", "`trust: {ca_file: …}` for a private CA"
    ),
    "hostname_mismatch": Advice(
        "the certificate is for another name", "use a name it has; `upstream` dials elsewhere under that name"
    ),
    "certificate_expired": Advice(
        "a renewal that did not happen, or a clock that is wrong", "compare `date -u`, then have it renewed"
    ),
    "tls_version": Advice("the server is older than `min_tls`", "have the server updated"),
    "tls_handshake_failed": Advice(
        "no cipher in common, a client certificate that is asked for, or no TLS", "`pinproxy verify HOST`"
    ),
    "dns_failed": Advice("a misspelt name, or a resolver that does not know it", "`getent hosts NAME` where the proxy runs"),
    "dial_refused": Advice("nothing listens there, or a firewall rejects", "check host, port and egress rules"),
    "dial_timeout": Advice("a firewall that drops, or a server that is down", "check host, port and egress rules"),
    "upstream_proxy_refused": Advice("the upstream proxy said no", "check its rules, and the user in `upstream_proxy`"),
    "handshake_timeout": Advice(
        "an overloaded server, or one that speaks another protocol", "check that the port speaks TLS at once"
    ),
    "upstream_timeout": Advice("a slow operation on the server", "raise limits.response_head_seconds if it may take longer"),
    "upstream_closed": Advice("the server hung up, or its answer cannot be read in one way only", "look at the server's log"),
    "host_not_listed": Advice("no entry of `hosts` is for this host and port", "add an entry, or look where the name comes from"),
    "address_denied": Advice("an unlisted host that leads to a private address", "list the host, if it is yours"),
    "loop_detected": Advice(
        "the address is the proxy's own, or the request came back to it", "correct the name, `upstream` or proxy that leads there"
    ),
    "tls13_unverifiable": Advice("TLS 1.3 in a tunnel, whose certificates nobody on the way can see", "`connect: intercept`"),
    "auth_required": Advice("no credentials, or wrong ones", "put user and password into the proxy's URL"),
    "sni_mismatch": Advice("the client's TLS names another host than its CONNECT", "have the client name one host"),
    "sni_missing": Advice("the client's TLS names no host", "connect by name, or use `connect: intercept`"),
    "not_tls": Advice(
        "the client speaks no TLS to a pinned host", "use the TLS port of the protocol; a listed host is reached in no other way"
    ),
    "client_hello_invalid": Advice(
        "the client's first flight cannot be read", "look at the client; `pinproxy explain` has no more to say"
    ),
    "client_tls_failed": Advice("the client does not trust our certificate, most often", "`pinproxy env` shows what to set"),
    "bad_request": Advice("a request that could be read in two ways, or is none", "look at the client"),
    "head_too_large": Advice("a head over limits.head_bytes", "find the field that grew; often a cookie"),
    "head_timeout": Advice("a client that began and did not go on", "none, unless a client of yours is that slow"),
    "client_closed": Advice("the client went away first", "look at the client's own timeout"),
    "overloaded": Advice("limits.connections are in use, or no descriptor is left", "raise the limit, and `ulimit -n` with it"),
    "draining": Advice("the proxy was told to stop", "none: the next one takes over"),
    "internal_error": Advice("a defect of pinproxy; it failed closed", _DEFECT),
}
