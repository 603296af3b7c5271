"""The policy in force: one table at a time, swapped whole."""

from __future__ import annotations

from pinproxy.authority import Authority
from pinproxy.errors import HostNotListed
from pinproxy.policy.rule import HostRule
from pinproxy.policy.table import PolicyTable


class PolicyInForce:
    """Holds the current table; whoever waits in between asks again.

    Attributes:
        table: The rules now in force.
    """

    def __init__(self, table: PolicyTable) -> None:
        """Begin with a table."""
        self.table = table

    def rule_for(self, authority: Authority) -> HostRule | None:
        """Find the rule of an authority; None: unlisted, and unlisted hosts are allowed.

        Raises:
            HostNotListed: No rule, and unlisted hosts are denied; or the host is listed, only not for this port.
        """
        rule = self.table.lookup(authority)
        if rule is not None:
            return rule
        if self.table.names_host(authority.host):
            # A listed host must not become reachable without its pins by asking for another port.
            raise HostNotListed(f"{authority.host} is listed, but not for port {authority.port}; add it to `ports` of its entry")
        if self.table.unlisted == "deny":
            raise HostNotListed(f"{authority} has no entry under `hosts`, and `unlisted: deny` is in force")
        return None

    def rule_still_for(self, authority: Authority) -> HostRule:
        """Find the rule of an authority that had one when its story began.

        Raises:
            HostNotListed: A reload has taken it away.
        """
        rule = self.rule_for(authority)
        if rule is None:
            raise no_longer_listed(authority)
        return rule


def no_longer_listed(authority: Authority) -> HostNotListed:
    """Refuse what goes to a host that a reload has taken from the list."""
    return HostNotListed(f"{authority} is no longer listed")


def verified_otherwise(authority: Authority) -> HostNotListed:
    """Refuse what was verified in a way that a reload has replaced by another."""
    return HostNotListed(f"{authority} is now verified in another way; a new connection will be")
