"""What takes the whole configuration to see: names that lead nowhere, entries that collide, hosts left without pins."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pinproxy.authority import Authority
from pinproxy.net.listener import ListenAddress
from pinproxy.policy.rule import HostRule, TrustAnchors
from pinproxy.policy.table import find_collisions
from pinproxy.settings.findings import Finding
from pinproxy.settings.messages import did_you_mean
from pinproxy.settings.model import Settings
from pinproxy.settings.route_checks import route_findings
from pinproxy.settings.trust_checks import trust_findings, trust_warnings
from pinproxy.settings.values import is_loopback

_UNUSED = TrustAnchors("unused", ())


def check(settings: Settings, pin_set_names: Collection[str], host_numbers: Sequence[int]) -> Iterator[Finding]:
    """Find what is wrong between the parts of a configuration whose parts are each right.

    Args:
        settings: The configuration, or as much of it as could be read.
        pin_set_names: The names in `pin_sets`, also of sets that could not be read: they are another problem's business.
        host_numbers: The number in the file of each host: some may have been left out.
    """
    yield from _listening(settings)
    yield from _local_ca(settings)
    yield from _upstream_proxy(settings)
    yield from _pins_of_hosts(settings, pin_set_names, host_numbers)
    yield from _tunnels(settings, host_numbers)
    yield from trust_findings(settings, host_numbers)
    yield from _collisions(settings, host_numbers)
    yield from route_findings(settings)


def _listening(settings: Settings) -> Iterator[Finding]:
    seen = {}
    exposed = exposed_addresses(settings, settings.listen)
    for index, address in enumerate(settings.listen):
        if address in exposed:
            text = (
                f"{address} can be reached from other machines, and whoever reaches it may send through this proxy; listen on "
                f"127.0.0.1, ask who they are by `client_auth` or `listen_tls.client_ca_file`, or say `unsafe_listen: true`"
            )
            yield Finding(("listen", index), text)
        is_chosen_at_start = isinstance(address, Authority) and not address.port
        if address in seen and not is_chosen_at_start:
            yield Finding(("listen", index), f"{address} stands here twice; remove one of them")
        seen[address] = index
    if settings.admin and settings.admin.port and settings.admin in seen:
        yield Finding(("admin",), f"{settings.admin} is also in `listen`; expected an address of its own")


def exposed_addresses(settings: Settings, bound: Collection[ListenAddress]) -> frozenset[ListenAddress]:
    """Find the addresses that others can reach although the settings would ask nobody who they are.

    Args:
        settings: What says whom to ask.
        bound: The addresses: those of the settings, or at a reload those that are open already.
    """
    if settings.unsafe_listen or _knows_its_clients(settings):
        return frozenset()
    return frozenset(address for address in bound if not is_loopback(address))


def _knows_its_clients(settings: Settings) -> bool:
    asks_certificates = settings.listen_tls is not None and settings.listen_tls.client_ca_file is not None
    return asks_certificates or bool(settings.client_auth.users)


def _local_ca(settings: Settings) -> Iterator[Finding]:
    if settings.local_ca.constrain_names and settings.local_ca.directory is not None:
        text = "needs `directory: null`: a CA that is kept would not fit the hosts of tomorrow"
        yield Finding(("local_ca", "constrain_names"), text)


def _upstream_proxy(settings: Settings) -> Iterator[Finding]:
    url = settings.upstream_proxy
    if settings.upstream_proxy_password_file is None:
        return
    if url is None or url.user is None:
        text = "stands here without a user; expected one in `upstream_proxy`, as in http://user@host:port"
        yield Finding(("upstream_proxy_password_file",), text)
    elif url.password is not None:
        text = "`upstream_proxy` holds a password already; keep one of them"
        yield Finding(("upstream_proxy_password_file",), text)


def _pins_of_hosts(settings: Settings, pin_set_names: Collection[str], host_numbers: Sequence[int]) -> Iterator[Finding]:
    if (name := settings.defaults.pin_set) is not None and name not in pin_set_names:
        yield Finding(("defaults", "pin_set"), _unknown_pin_set(name, pin_set_names))
    for number, host in zip(host_numbers, settings.hosts, strict=True):
        options = settings.options_of(host)
        if host.pin_set is not None and host.pin_set not in pin_set_names:
            yield Finding(("hosts", number, "pin_set"), _unknown_pin_set(host.pin_set, pin_set_names))
        if host.allow_single_pin and host.pins is None:
            text = "stands here without `pins`; move it to the pin set"
            yield Finding(("hosts", number, "allow_single_pin"), text)
        if host.pins is None and options.pin_set is None and options.mode != "disabled":
            text = f"{host.host} has no pins; expected pin_set or pins, or `mode: disabled` to verify the chain alone"
            yield Finding(("hosts", number), text)


def _tunnels(settings: Settings, host_numbers: Sequence[int]) -> Iterator[Finding]:
    for number, host in zip(host_numbers, settings.hosts, strict=True):
        options = settings.options_of(host)
        if options.connect == "tunnel" and options.tls13 is None:
            text = (
                "a tunnel sees no certificate of TLS 1.3, so what to do about it has no default; say `tls13: refuse`, or "
                "`tls13: preflight` to accept a verdict that is advisory, from a handshake an attacker may tell from the client's"
            )
            yield Finding(("hosts", number, *(("connect",) if "connect" in host.model_fields_set else ())), text)
        # What the defaults say of tunnels is for the hosts that are tunnels.
        if options.connect == "intercept" and host.tls13 is not None:
            text = "stands here without `connect: tunnel`; interception sees every certificate: remove it, or choose the tunnel"
            yield Finding(("hosts", number, "tls13"), text)


def _unknown_pin_set(name: str, known: Collection[str]) -> str:
    names = f"; expected one of {', '.join(known)}" if known else "; `pin_sets` is empty"
    return f"there is no pin set {name!r}{did_you_mean(name, known) or names}"


def _collisions(settings: Settings, host_numbers: Sequence[int]) -> Iterator[Finding]:
    rules = tuple(
        HostRule(host.host, "disabled", None, _UNUSED, ports=frozenset(settings.options_of(host).ports))
        for host in settings.hosts
    )
    # By identity: two entries that collide may well be equal.
    number_of = {id(rule): number for number, rule in zip(host_numbers, rules, strict=True)}
    for collision in find_collisions(rules):
        first, second = number_of[id(collision.first)], number_of[id(collision.second)]
        shared = ", ".join(map(str, sorted(collision.first.ports & collision.second.ports)))
        where = f"port {shared} of {collision.second.pattern}" if shared else f"{collision.second.pattern}"
        text = f"{where} is already in hosts[{first}]; expected one entry for each host and port, remove one of them"
        yield Finding(("hosts", second, "host"), text)


def startup_warnings(settings: Settings) -> tuple[str, ...]:
    """Say what is allowed and seldom meant, one line each, as `path: what`; the log has them at start and reload."""
    found = []
    if not settings.hosts:
        what = "nothing is pinned" if settings.unlisted == "allow" else "every request is refused"
        found.append(f"hosts: no host is listed, so {what}")
    if not _knows_its_clients(settings):
        exposed = "can be reached from other machines (unsafe_listen)"
    else:
        exposed = "passwords travel to it in clear (client_auth without listen_tls)" if settings.listen_tls is None else ""
    if exposed:
        found.extend(f"listen: {address} {exposed}" for address in settings.listen if not is_loopback(address))
    found.extend(
        f"routes[{index}].listen: {route.listen} can be reached from other machines (unsafe_listen)"
        for index, route in enumerate(settings.routes)
        if not is_loopback(route.listen)
    )
    for name, pin_set in settings.pin_sets.items():
        if len({pin.source.identity for pin in pin_set.pins}) == 1:
            found.append(f"pin_sets.{name}.pins: a single pin, without a backup (allow_single_pin)")
        if pin_set.expires and pin_set.on_expiry != "enforce":
            found.append(f"pin_sets.{name}.on_expiry: mismatches pass after {pin_set.expires:%Y-%m-%d} ({pin_set.on_expiry})")
    found.extend(
        f"hosts[{index}].pins: a single pin, without a backup (allow_single_pin)"
        for index, host in enumerate(settings.hosts)
        if host.pins and len({pin.source.identity for pin in host.pins}) == 1
    )
    found.extend(
        f"hosts[{index}].tls13: a verdict on TLS 1.3 in tunnels to {host.host} is advisory (preflight)"
        for index, host in enumerate(settings.hosts)
        if settings.options_of(host).connect == "tunnel" and settings.options_of(host).tls13 == "preflight"
    )
    found.extend(trust_warnings(settings))
    return tuple(found)
