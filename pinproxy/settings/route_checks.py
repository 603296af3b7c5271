"""What takes the whole configuration to see of routes: where they lead, and who else listens there."""

from __future__ import annotations

from collections.abc import Iterator

from pinproxy.authority import Authority
from pinproxy.net.listener import ListenAddress
from pinproxy.policy.rule import HostRule, TrustAnchors
from pinproxy.policy.table import PolicyTable
from pinproxy.settings.document import Place, dotted
from pinproxy.settings.findings import Finding
from pinproxy.settings.messages import did_you_mean
from pinproxy.settings.model import Settings
from pinproxy.settings.values import is_loopback

_UNUSED = TrustAnchors("unused", ())


def route_findings(settings: Settings) -> Iterator[Finding]:
    """Find what is wrong with the routes of a configuration."""
    yield from _addresses(settings)
    yield from _targets(settings)


def _addresses(settings: Settings) -> Iterator[Finding]:
    taken: dict[ListenAddress, Place] = {address: ("listen", number) for number, address in enumerate(settings.listen)}
    if settings.admin is not None:
        taken.setdefault(settings.admin, ("admin",))
    for number, route in enumerate(settings.routes):
        place: Place = ("routes", number, "listen")
        if not is_loopback(route.listen) and not settings.unsafe_listen:
            text = (
                f"{route.listen} can be reached from other machines, and a route asks nobody who they are; listen on 127.0.0.1 "
                f"or a UNIX socket, or say `unsafe_listen: true`"
            )
            yield Finding(place, text)
        is_chosen_at_start = isinstance(route.listen, Authority) and not route.listen.port
        if route.listen in taken and not is_chosen_at_start:
            yield Finding(place, f"{route.listen} is also in {dotted(taken[route.listen])}; expected an address of its own")
        taken.setdefault(route.listen, place)


def _targets(settings: Settings) -> Iterator[Finding]:
    table = PolicyTable(
        tuple(
            HostRule(host.host, "disabled", None, _UNUSED, ports=frozenset(settings.options_of(host).ports))
            for host in settings.hosts
        )
    )
    names = [str(host.host) for host in settings.hosts]
    for number, route in enumerate(settings.routes):
        if table.lookup(route.to) is not None:
            continue
        if table.names_host(route.to.host):
            text = f"{route.to.host} is listed, but not for port {route.to.port}; add it to `ports` of its entry"
        else:
            otherwise = "; list it with its pins, a route leads nowhere without them"
            text = f"{route.to.host} has no entry under `hosts`{did_you_mean(route.to.host, names) or otherwise}"
        yield Finding(("routes", number, "to"), text)
