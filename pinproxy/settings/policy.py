"""From what the file says to what the policy compares: rules with their pins, roots and ports, defaults merged in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.rule import ClientCertificate, DialOverride, HostRule, PinsOnly, Trust, TrustAnchors
from pinproxy.policy.table import PolicyTable
from pinproxy.settings.model import HostOptions, HostSection, Settings
from pinproxy.settings.own_certificate import OwnCertificateSection


def build_policy_table(settings: Settings, system_roots: Callable[[], TrustAnchors]) -> PolicyTable:
    """Make the table of rules.

    Args:
        settings: A loaded configuration; its parts are known to fit together.
        system_roots: Gives the roots of `trust: system`; called at most once, and not at all if no host wants them.

    Returns:
        One rule for each entry of `hosts`, in its order.
    """
    pin_sets = {name: section.to_pin_set(name) for name, section in settings.pin_sets.items()}
    roots = cache(system_roots)
    rules = tuple(_rule(host, settings.options_of(host), pin_sets, roots) for host in settings.hosts)
    return PolicyTable(rules, settings.unlisted)


def table_for_reading(settings: Settings) -> PolicyTable:
    """Make the table for its names, pins and order alone: the system's roots are named in it and not loaded."""
    return build_policy_table(settings, lambda: TrustAnchors("system", ()))


def _rule(
    host: HostSection, options: HostOptions, pin_sets: dict[str, PinSet], system_roots: Callable[[], TrustAnchors]
) -> HostRule:
    # Pins written at the host win over a pin set that the defaults name.
    pin_set = host.own_pin_set() or (pin_sets[options.pin_set] if options.pin_set is not None else None)
    return HostRule(
        pattern=host.host,
        mode=options.mode,
        pin_set=pin_set,
        trust=_trust(host, options, system_roots),
        ports=frozenset(options.ports),
        connect=options.connect,
        tls13=options.tls13 if options.connect == "tunnel" else None,
        min_tls=options.min_tls,
        chain_profile=options.chain_profile,
        dial=DialOverride(options.upstream.address, options.upstream.port) if options.upstream else None,
        client_cert=_client_certificate(options.client_cert) if options.client_cert else None,
    )


def _trust(host: HostSection, options: HostOptions, system_roots: Callable[[], TrustAnchors]) -> Trust:
    if options.trust.is_pins_only:
        return PinsOnly(host.unsafe_skip_hostname, host.unsafe_skip_dates)
    return options.trust.ca_file or system_roots()


def _client_certificate(section: OwnCertificateSection) -> ClientCertificate:
    return ClientCertificate(str(section.cert_file.path), section.chain_and_key)
