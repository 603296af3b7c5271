"""The numbers as Prometheus reads them. The only module that imports prometheus-client; loaded with the admin server, not before.

Rules of this file:
- Every name has a heading in docs/metrics.md (a test compares them).
- It is run in a thread, while the loop goes on counting: what can grow meanwhile is copied before it is walked through, by
  `tuple(...)`, which nothing interrupts.
"""

from __future__ import annotations

import platform
import ssl
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pinproxy import __version__
from pinproxy.report.metrics import HANDSHAKE_BUCKETS, Metrics
from pinproxy.report.status_book import RuleRecord, StatusBook


class Exposition(Collector):
    """Renders the counters and the book of one proxy, from a registry of its own."""

    def __init__(self, metrics: Metrics, book: StatusBook) -> None:
        """Make the registry.

        Args:
            metrics: What happened.
            book: What is the case.
        """
        self._metrics = metrics
        self._book = book
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Write all metrics.

        Args:
            accept: The Accept field of the scrape; it chooses between the Prometheus text format and OpenMetrics.

        Returns:
            The body and its Content-Type.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Yield every family, for the registry."""
        yield from self._process()
        yield from self._connections()
        yield from self._pins()
        yield from self._configuration()

    def _process(self) -> Iterator[Metric]:
        build = {"version": __version__, "python": platform.python_version(), "openssl": ssl.OPENSSL_VERSION}
        yield _gauge("pinproxy_build_info", "Always 1; what runs here.", tuple(build), [(tuple(build.values()), 1)])
        yield _gauge("pinproxy_connections_active", "Client connections open now.", (), [((), self._metrics.active)])
        yield _counter(
            "pinproxy_bytes",
            "Payload carried; up is from the client.",
            ("direction",),
            [(("up",), self._metrics.bytes_up), (("down",), self._metrics.bytes_down)],
        )
        yield _counter(
            "pinproxy_reporting_failures",
            "Defects caught inside reporting; the traffic went on.",
            ("part",),
            [((part,), count) for part, count in self._metrics.failures.items()],
        )
        yield _counter(
            "pinproxy_log_lines_dropped",
            "Log lines that standard error would not take.",
            (),
            [((), self._metrics.dropped_lines())],
        )

    def _connections(self) -> Iterator[Metric]:
        rules = tuple(self._metrics.rules.items())
        yield _counter(
            "pinproxy_connections",
            "Connections and requests that ended.",
            ("rule", "mode", "decision", "code"),
            [((label, *key), count) for label, counts in rules for key, count in tuple(counts.connections.items())],
        )
        yield _counter(
            "pinproxy_pin_verdicts",
            "Connections and requests by what their chain was worth.",
            ("rule", "verdict"),
            [((label, verdict), count) for label, counts in rules for verdict, count in counts.verdicts.items()],
        )
        yield _counter(
            "pinproxy_would_deny",
            "Pin failures that report-only let pass.",
            ("rule",),
            [((label,), counts.would_deny) for label, counts in rules],
        )
        yield _counter(
            "pinproxy_pin_mismatches",
            "Pin failures by how far the chain is from the last good one.",
            ("rule", "mismatch_class"),
            [((label, name), count) for label, counts in rules for name, count in counts.mismatches.items()],
        )
        handshakes = HistogramMetricFamily(
            "pinproxy_handshake_duration_seconds", "Upstream TLS handshake with its verification.", labels=["rule"]
        )
        bounds = (*map(str, HANDSHAKE_BUCKETS), "+Inf")
        for label, counts in rules:
            *_, total = buckets = list(zip(bounds, accumulate(counts.handshakes.counts), strict=True))
            # Half of a scrape would be zeros, where thousands of hosts are listed and a few are asked.
            if total[1]:
                handshakes.add_metric([label], buckets, counts.handshakes.sum_seconds)
        yield handshakes

    def _pins(self) -> Iterator[Metric]:
        records = self._book.records
        yield _gauge(
            "pinproxy_pin_last_match_timestamp_seconds",
            "When a served chain last met the pin; absent: never.",
            ("rule", "pin"),
            [((record.rule.label, pin), at) for record in records for pin, at in _last_matches(record).items()],
        )
        yield _gauge(
            "pinproxy_upstream_certificate_expiry_timestamp_seconds",
            "End of the leaf certificate seen last.",
            ("rule",),
            [((record.rule.label,), _seconds(record.certificate_expires)) for record in records if record.certificate_expires],
        )
        yield _gauge(
            "pinproxy_pin_set_expiry_timestamp_seconds",
            "End of the pin set; absent: it has none.",
            ("rule",),
            [
                ((record.rule.label,), _seconds(record.rule.pin_set.expires))
                for record in records
                if record.rule.pin_set and record.rule.pin_set.expires
            ],
        )
        yield _gauge(
            "pinproxy_backup_pin_missing",
            "1: every current pin is in the served chain; absent: no handshake has matched yet.",
            ("rule",),
            [((record.rule.label,), record.is_backup_missing) for record in records if record.is_backup_missing is not None],
        )

    def _configuration(self) -> Iterator[Metric]:
        book = self._book
        yield _gauge(
            "pinproxy_config_last_reload_successful",
            "0: the newest configuration was rejected and an older one is in force.",
            (),
            [((), book.loaded_at is not None and book.failed_at is None)],
        )
        yield _gauge(
            "pinproxy_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was loaded.",
            (),
            [((), _seconds(book.loaded_at))] if book.loaded_at else [],
        )


_Samples = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, documentation: str, labels: tuple[str, ...], samples: _Samples) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _counter(name: str, documentation: str, labels: tuple[str, ...], samples: _Samples) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _seconds(at: datetime) -> float:
    return at.timestamp()


def _last_matches(record: RuleRecord) -> dict[str, float]:
    """Key by spelling: one digest at two positions is two pins, and the same series twice would fail the whole scrape."""
    latest: dict[str, float] = {}
    for pin, at in tuple(record.last_matches.items()):
        latest[str(pin)] = max(latest.get(str(pin), 0.0), _seconds(at))
    return latest
