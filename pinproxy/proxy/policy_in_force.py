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
