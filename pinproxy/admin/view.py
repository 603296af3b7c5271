"""What the admin server may see of the proxy: values to read and questions to ask, and no way to change anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pinproxy.report.metrics import Metrics
from pinproxy.report.observations import Observations
from pinproxy.report.status_book import StatusBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What the proxy says about itself.

    Attributes:
        listeners_bound: Whether every listener accepts connections.
        is_draining: Whether it has been told to stop and only finishes what has begun.
    """

    listeners_bound: bool
    is_draining: bool


@dataclass(frozen=True, slots=True)
class AdminView:
    """Everything that is shown.

    Attributes:
        condition: Asked on every probe.
        metrics: What happened.
        book: What is the case.
        ca_pem: The local CA's certificate, PEM; None where no host is intercepted.
        observations: What is known of each host beyond one connection.
    """

    condition: Callable[[], Condition]
    metrics: Metrics
    book: StatusBook
    ca_pem: Callable[[], bytes | None]
    observations: Observations


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether traffic should be sent here, and why.

    Attributes:
        is_ready: Whether every check lets it.
        checks: Name of the check to what was found, in words.
    """

    is_ready: bool
    checks: dict[str, str]


def check_readiness(view: AdminView) -> Readiness:
    """Ask the three checks.

    Upstreams are none of them: a sidecar that has its app restarted because an API is down makes two outages of one. A stale
    configuration is ready: the last good one keeps enforcing, and to take every replica out for a typing error would be worse.
    """
    condition, book = view.condition(), view.book
    configuration = "not loaded" if book.loaded_at is None else "current" if book.failed_at is None else "stale"
    checks = {
        "configuration": configuration,
        "listeners": "bound" if condition.listeners_bound else "not bound",
        "draining": "yes" if condition.is_draining else "no",
    }
    is_ready = book.loaded_at is not None and condition.listeners_bound and not condition.is_draining
    return Readiness(is_ready, checks)
