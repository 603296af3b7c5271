"""What would happen to a host, in words: which rule, why that one, which pins, and what each way of asking would meet. Pure.

It reads the same table and the same pin sets as the data path and judges nothing itself; a chain it cannot see it does not guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from pinproxy.authority import Authority
from pinproxy.limits import Limits
from pinproxy.net.upstream_proxy import UpstreamProxy
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.address import is_globally_routable
from pinproxy.policy.rule import HostRule, PinsOnly
from pinproxy.policy.table import PolicyTable
from pinproxy.policy.verdict import Decision, Verdict, describe_pin, outcome_of_mismatch, printable
from pinproxy.proxy.http_by_connect import asks_for_http

_CHECKED = (("name", "unsafe_skip_hostname"), ("dates", "unsafe_skip_dates"))


@dataclass(frozen=True, slots=True)
class Section:
    """A paragraph: a label and its lines."""

    label: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked about.

    Attributes:
        plain: Where plain HTTP to it would go if it is unlisted.
        secured: Where TLS is spoken; the rule is looked up for this.
    """

    plain: Authority
    secured: Authority


def foresee(
    asked: Asked,
    table: PolicyTable,
    at: datetime,
    limits: Limits,
    upstream_proxy: UpstreamProxy | None = None,
    entry_of: Callable[[HostRule], str] = lambda rule: rule.label,
) -> tuple[Section, ...]:
    """Explain what would happen.

    Args:
        asked: The host.
        table: The rules.
        at: When, UTC.
        limits: For the guard of addresses.
        upstream_proxy: The proxy on the way; None: there is none.
        entry_of: Names a rule, and says where it stands.
    """
    rule = table.lookup(asked.secured)
    sections = [Section("rule", tuple(_rule_lines(asked.secured, rule, table, entry_of)))]
    if rule is None:
        may_pass = table.unlisted == "allow" and not table.names_host(asked.secured.host)
        ways = _unlisted_ways(asked, limits) if may_pass else ("any way: 403 host_not_listed, nothing is dialled",)
        return (*sections, Section("would be", tuple(ways)))
    sections.append(Section("verified", tuple(_verified(rule))))
    sections.append(Section("dialled", (_dialled(asked.secured, rule, upstream_proxy),)))
    if rule.pin_set is not None:
        sections.append(Section("pins", tuple(_pin_lines(rule.pin_set, at))))
    sections.append(Section("so that", tuple(_consequences(rule, at))))
    sections.append(Section("would be", tuple(_ways(asked, rule, table))))
    return tuple(sections)


# --- the rule -------------------------------------------------------------------------------------------------------


def _rule_lines(
    authority: Authority, rule: HostRule | None, table: PolicyTable, entry_of: Callable[[HostRule], str]
) -> Iterator[str]:
    covering = table.rules_for(authority.host)
    if rule is None:
        left = "listed hosts pass on listed ports alone" if covering else f"`unlisted: {table.unlisted}` is in force"
        yield f"none: no entry of `hosts` is for {authority}, and {left}"
    else:
        why = f": the most specific that covers {authority}" if len(covering) > 1 else ""
        yield f"{entry_of(rule)} ({rule.mode}, {rule.connect}){why}"
    for other in covering:
        if other is not rule:
            yield f"not {entry_of(other)} ({other.mode}): {_why_not(authority, other, rule)}"


def _why_not(authority: Authority, other: HostRule, rule: HostRule | None) -> str:
    if other.ports and authority.port not in other.ports:
        return f"its ports leave {authority.port} out"
    if rule is None:
        raise ValueError(f"{other.label} covers {authority} and was not found")
    if other.pattern == rule.pattern:
        return "an entry that names the port beats one for every port"
    if rule.pattern.kind == "exact":
        return "a name beats every wildcard"
    return "`*.` beats `**.`" if rule.pattern.kind == "one_label" else "the longer name wins"


def _verified(rule: HostRule) -> Iterator[str]:
    if isinstance(rule.trust, PinsOnly):
        kept = [what for what, key in _CHECKED if key not in rule.trust.skipped]
        yield f"no chain (pins-only): the pin of the server's own certificate{''.join(f', its {what}' for what in kept)}"
    else:
        both = "OpenSSL and cryptography must both accept" if rule.chain_profile == "strict" else "by OpenSSL alone (compatible)"
        yield f"chain to a root of {printable(rule.trust.owner)}, name and dates, in every mode; {both}"
    yield f"TLS {rule.min_tls} or newer"
    if rule.client_cert is not None:
        yield f"who we are is shown by {printable(rule.client_cert.name)} where the server asks"


def _dialled(authority: Authority, rule: HostRule, upstream_proxy: UpstreamProxy | None) -> str:
    target = authority if rule.dial is None else Authority(rule.dial.address, rule.dial.port or authority.port)
    where = f"{target}" if rule.dial is None else f"{target} (upstream); name and pins stay those of {authority.host}"
    if upstream_proxy is None:
        return where
    if upstream_proxy.serves(target.host):
        return f"{where}, through the upstream proxy {upstream_proxy.authority}"
    return f"{where}, without the upstream proxy (no_proxy)"


# --- the pins -------------------------------------------------------------------------------------------------------


def _pin_lines(pin_set: PinSet, at: datetime) -> Iterator[str]:
    yield f"{pin_set.name}: {_expiry(pin_set, at)}"
    yield from (describe_pin(pin, at) for pin in pin_set.pins)
    for pin in pin_set.forbidden:
        yield f"{pin}  forbidden: denies wherever it is{f'  {printable(pin.note)}' if pin.note else ''}"


def _expiry(pin_set: PinSet, at: datetime) -> str:
    if pin_set.expires is None:
        return "no expiry"
    if pin_set.is_expired(at):
        return f"expired on {pin_set.expires:%Y-%m-%d} (on_expiry: {pin_set.on_expiry}); a chain that matches is allowed"
    return f"until {pin_set.expires:%Y-%m-%d}, {(pin_set.expires - at).days} days away (on_expiry: {pin_set.on_expiry})"


def _consequences(rule: HostRule, at: datetime) -> Iterator[str]:
    verdict, decision = outcome_of_mismatch(rule, at)
    if rule.pin_set is None or verdict is Verdict.NOT_PINNED:
        yield "no pin is compared (mode: disabled)"
        return
    code = "pin_set_expired" if verdict is Verdict.EXPIRED else "pin_mismatch"
    what = "certificate" if rule.is_pins_only else "chain"
    yield {
        Decision.DENY: f"a {what} without a pin of the set is denied: 403 {code}",
        Decision.ALLOW_AND_REPORT: f"a {what} without a pin of the set passes, and is reported as {code} (would_deny)",
        Decision.ALLOW: f"a {what} without a pin of the set passes: the set has expired",
    }[decision]
    if rule.pin_set.forbidden:
        yield f"a {what} with a forbidden key is denied in every case: 403 pin_forbidden"
    if not rule.pin_set.current(at):
        yield f"no pin of the set counts on that day, so that no {what} can match"


# --- the ways -------------------------------------------------------------------------------------------------------


def _ways(asked: Asked, rule: HostRule, table: PolicyTable) -> Iterator[str]:
    connect = f"CONNECT {asked.secured}"
    on_80 = Authority(asked.secured.host, 80)
    also = f" or CONNECT {on_80}" if asked.plain == on_80 and asks_for_http(on_80, table) else ""
    yield f"http://{_shown(asked.plain, 80)}/{also}   TLS to {asked.secured} is added here, verified and pinned (origination)"
    if rule.connect == "intercept":
        yield f"{connect}   verified, then 200; the client's TLS ends here, so it must trust the local CA (interception)"
        return
    yield f"{connect}   verified beforehand, then 200; the client's own TLS passes through, and must name the host (tunnel)"
    yield "  TLS 1.2: the server's certificates are verified on the wire, before the client sees them"
    if rule.tls13 == "refuse":
        yield "  TLS 1.3: refused with an alert, tls13_unverifiable"
    else:
        yield "  TLS 1.3: rests on the handshake beforehand, which an attacker may tell from the client's (assurance: advisory)"


def _unlisted_ways(asked: Asked, limits: Limits) -> Iterator[str]:
    yield f"http://{_shown(asked.plain, 80)}/   forwarded as it is: no TLS, no pins"
    yield f"https://{_shown(asked.secured, 443)}/ without CONNECT   400 bad_request: nothing says how to verify it"
    yield f"CONNECT {asked.secured}   a blind tunnel, unless its ClientHello names a listed host: then that host's policy applies"
    if limits.allow_private:
        yield "to any address: limits.allow_private is on"
    elif not asked.secured.is_ip_address:
        yield "if it resolves to any address that is not globally routable: 403 address_denied"
    elif not is_globally_routable(asked.secured.host):
        yield f"neither of them: {asked.secured.host} is not globally routable, 403 address_denied"


def _shown(authority: Authority, default_port: int) -> str:
    return str(authority).removesuffix(f":{default_port}")
