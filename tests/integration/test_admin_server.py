"""The admin server over real HTTP: probes, metrics, the CA and who may ask."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest

from pinproxy.admin.server import AdminServer
from pinproxy.admin.view import AdminView, Condition
from pinproxy.authority import Authority
from pinproxy.errors import Problem
from pinproxy.policy.rule import PinsOnly
from pinproxy.policy.table import PolicyTable
from pinproxy.report.metrics import Metrics
from pinproxy.report.observations import Observations
from pinproxy.report.observations_json import read_document
from pinproxy.report.status_book import StatusBook
from tests.unit.report.events import API_RULE, BACKUP_PIN, LEAF_PIN, NOW, event, refused, rule

PATHS = ("/", "/livez", "/readyz", "/metrics", "/ca.pem", "/api/hosts", "/api/observations")
ANY_PORT = Authority("127.0.0.1", 0)
READY = Condition(listeners_bound=True, is_draining=False)
UNBOUND = Condition(listeners_bound=False, is_draining=False)
DRAINING = Condition(listeners_bound=True, is_draining=True)
STOPPED = Condition(listeners_bound=False, is_draining=True)


@dataclass
class Admin:
    """A running admin server and the proxy it believes to belong to."""

    condition: Condition = READY
    metrics: Metrics = field(default_factory=Metrics)
    book: StatusBook = field(default_factory=StatusBook)
    observations: Observations = field(default_factory=lambda: Observations(NOW))
    ca_pem: bytes | None = b"-----BEGIN CERTIFICATE-----\n"
    address: Authority = ANY_PORT

    def server(self) -> AdminServer:
        """Make the server."""
        view = AdminView(lambda: self.condition, self.metrics, self.book, lambda: self.ca_pem, self.observations)
        return AdminServer(self.address, view, frozenset({"pinproxy.svc"}))

    async def ask(self, path: str, method: str = "GET", **options: Any) -> tuple[int, str, aiohttp.ClientResponse]:
        """Ask, and read the answer."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://{self.address}{path}", **options) as response,
        ):
            return response.status, await response.text(), response


@pytest.fixture
async def admin() -> AsyncIterator[Admin]:
    """Serve a proxy with one rule and one event."""
    running = Admin()
    for taker in (running.metrics, running.book):
        if isinstance(taker, Metrics):
            taker.adopt(PolicyTable((API_RULE,)))
        else:
            taker.adopt(PolicyTable((API_RULE,)), NOW)
        taker.record(event())
    server = running.server()
    running.address = await server.start()
    yield running
    await server.stop()


async def test_a_live_proxy_answers(admin: Admin) -> None:
    """Liveness is that the loop turns, and nothing else."""
    admin.condition = STOPPED
    status, body, _ = await admin.ask("/livez")
    assert (status, body) == (200, '{"status": "live"}')


@pytest.mark.parametrize(
    ("condition", "status", "checks"),
    [
        (READY, 200, {"configuration": "current", "listeners": "bound", "draining": "no"}),
        (UNBOUND, 503, {"configuration": "current", "listeners": "not bound", "draining": "no"}),
        (DRAINING, 503, {"configuration": "current", "listeners": "bound", "draining": "yes"}),
    ],
)
async def test_readiness_names_its_checks(admin: Admin, condition: Condition, status: int, checks: dict[str, str]) -> None:
    """A probe that fails must say which check did."""
    admin.condition = condition
    found, _, response = await admin.ask("/readyz")
    assert (found, (await response.json())["checks"]) == (status, checks)


async def test_a_stale_configuration_is_ready_and_says_stale(admin: Admin) -> None:
    """The last good one keeps enforcing; to take the proxy out would turn a typing error into an outage."""
    admin.book.reject((Problem("p", 1, 1, "", "no"),), NOW)
    status, _, response = await admin.ask("/readyz")
    assert (status, (await response.json())["checks"]["configuration"]) == (200, "stale")


async def test_a_proxy_without_configuration_is_not_ready(admin: Admin) -> None:
    """Before the first configuration there is nothing to enforce."""
    admin.book.loaded_at = None
    status, _, response = await admin.ask("/readyz")
    assert (status, (await response.json())["checks"]["configuration"]) == (503, "not loaded")


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", ""),
        (
            "application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
            "# EOF\n",
        ),
    ],
)
async def test_metrics_come_in_the_format_asked_for(admin: Admin, accept: str, content_type: str, end: str) -> None:
    """Prometheus reads the version from the Content-Type."""
    status, body, response = await admin.ask("/metrics", headers={"Accept": accept})
    assert (status, response.headers["Content-Type"]) == (200, content_type)
    assert 'pinproxy_pin_verdicts_total{rule="api.example.com",verdict="matched"} 1.0' in body
    assert body.endswith(end)


async def test_the_ca_is_given_where_there_is_one(admin: Admin) -> None:
    """And only its certificate exists here."""
    status, body, response = await admin.ask("/ca.pem")
    assert (status, body, response.headers["Content-Type"]) == (200, "-----BEGIN CERTIFICATE-----\n", "application/x-pem-file")


async def test_without_interception_there_is_no_ca_and_the_answer_says_why(admin: Admin) -> None:
    """A 404 without a reason would be taken for a wrong path."""
    admin.ca_pem = None
    status, body, _ = await admin.ask("/ca.pem")
    assert (status, body) == (404, "there is no local CA: no host is intercepted\n")


async def test_hosts_are_listed_with_their_pins_and_the_refusals_of_late(admin: Admin) -> None:
    """The status page for programs."""
    admin.book.record(refused("host_not_listed", detail="other.example:443 is not listed"))
    _, _, response = await admin.ask("/api/hosts")
    answer = await response.json()
    (host,) = answer["hosts"]
    assert (host["rule"], host["mode"], host["last_verdict"], host["last_verdict_at"]) == (
        "api.example.com",
        "enforce",
        "matched",
        "2027-06-01T12:00:00Z",
    )
    assert [(pin["pin"], pin["last_match"]) for pin in host["pin_set"]["pins"]] == [
        (str(LEAF_PIN), "2027-06-01T12:00:00Z"),
        (str(BACKUP_PIN), None),
    ]
    assert (host["trust"], host["skipped_checks"]) == ("system", [])
    assert host["backup_pin_missing"] is False
    assert host["counts"] == {"allowed": 1, "would_deny": 0, "denied": 0}
    assert [(refusal["code"], refusal["text"]) for refusal in answer["refusals"]] == [
        ("host_not_listed", "other.example:443 is not listed")
    ]
    assert (host["last_mismatch_class"], answer["refusals"][0]["mismatch_class"]) == (None, None)


async def test_observations_are_what_the_file_would_hold(admin: Admin) -> None:
    """One format for the file, this answer and the commands that read either."""
    admin.observations.record(event())
    status, body, response = await admin.ask("/api/observations")
    assert (status, response.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert tuple(read_document(body.encode()).hosts) == admin.observations.hosts


async def test_a_pin_failure_is_shown_with_its_class(admin: Admin) -> None:
    """Whoever looks first wants to know whether it is a renewal."""
    entry = rule("api.example.com", BACKUP_PIN)
    admin.book.adopt(PolicyTable((entry,)), NOW)
    admin.book.record(event(entry, mismatch_class="new_anchor"))
    _, _, response = await admin.ask("/api/hosts")
    answer = await response.json()
    assert (answer["hosts"][0]["last_mismatch_class"], answer["refusals"][0]["mismatch_class"]) == ("new_anchor", "new_anchor")
    assert (await admin.ask("/"))[1].count("new_anchor") == 2


async def test_what_of_a_verification_is_switched_off_is_told(admin: Admin) -> None:
    """By the names of the keys."""
    loose = replace(rule("new.example", LEAF_PIN), trust=PinsOnly(unsafe_skip_dates=True))
    admin.book.adopt(PolicyTable((loose,)), NOW)
    _, _, response = await admin.ask("/api/hosts")
    (host,) = (await response.json())["hosts"]
    assert (host["trust"], host["skipped_checks"]) == ("pins-only", ["unsafe_skip_dates"])


async def test_a_host_that_was_never_asked_for_is_all_nulls(admin: Admin) -> None:
    """Unknown is null, not zero."""
    admin.book.adopt(PolicyTable((rule("new.example"),)), NOW)
    _, _, response = await admin.ask("/api/hosts")
    (host,) = (await response.json())["hosts"]
    assert [host[name] for name in ("pin_set", "last_verdict", "last_decision", "certificate_expires", "backup_pin_missing")] == [
        None
    ] * 5


async def test_the_page_is_html_whose_one_style_the_policy_allows(admin: Admin) -> None:
    """The digest in the policy is that of the very text a browser finds between the tags (CSP Level 3 §6.7.3)."""
    status, body, response = await admin.ask("/")
    assert (status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    styles = re.findall(r"<style>(.*?)</style>", body, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    policy = response.headers["Content-Security-Policy"]
    assert (len(styles), "style=" in body) == (1, False)
    assert f"default-src 'none'; style-src 'sha256-{digest}'; " in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
async def test_every_answer_forbids_caching_sniffing_and_other_sites(admin: Admin, path: str) -> None:
    """Refusals too."""
    _, _, response = await admin.ask(path)
    found = {name: response.headers[name] for name in ("Cache-Control", "X-Content-Type-Options", "Cross-Origin-Resource-Policy")}
    assert found == {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    assert response.headers["Server"] == "pinproxy"


@pytest.mark.attack("a change of state through the admin server", expect="neutralise", topic="control", motive="CVE-2025-23217")
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing"])
async def test_nothing_but_reading_is_allowed(admin: Admin, path: str, method: str) -> None:
    """The admin port changes nothing, so no request forged from another site can."""
    status, _, response = await admin.ask(path, method)
    assert (status, response.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_its_body(admin: Admin, path: str) -> None:
    """RFC 9110 §9.3.2."""
    status, body, _ = await admin.ask(path, "HEAD")
    assert (status, body) == (200, "")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9470", "127.0.0.1:1", "10.1.2.3", "[::1]:9470", "pinproxy.svc:9470", "localhost."]
)
async def test_addresses_localhost_and_configured_names_pass(admin: Admin, host: str) -> None:
    """A probe comes by the address of the pod, a person by localhost, Prometheus perhaps by the service."""
    status, _, _ = await admin.ask("/api/hosts", headers={"Host": host})
    assert status == 200


@pytest.mark.attack(
    "DNS rebinding against the admin server", expect="neutralise", topic="control", motive="CVE-2018-14505; CVE-2025-23217"
)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9470",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "2130706433",
        "",
        "a b",
        "u@127.0.0.1",
    ],
)
async def test_another_name_that_resolves_to_us_is_refused(admin: Admin, host: str) -> None:
    """DNS rebinding: the browser believes the page and we are one site, and only the name tells us that we are not."""
    status, body, _ = await admin.ask("/api/hosts", headers={"Host": host})
    assert (status, "api.example.com" in body) == (421, False)


async def exchange(address: Authority, request: bytes) -> bytes:
    """Send bytes and read until the server closes."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("version", "fields", "status"),
    [
        (b"1.1", b"Host: 127.0.0.1\r\n", b"200"),
        (b"1.0", b"", b"421"),  # 1.0 has none by right, and aiohttp would make one up
        (b"1.1", b"", b"400"),
        (b"1.1", b"Host: 127.0.0.1\r\nHost: evil.example\r\n", b"400"),
    ],
)
async def test_one_host_field_is_needed(admin: Admin, version: bytes, fields: bytes, status: bytes) -> None:
    """RFC 9112 §3.2: none or two are no authority."""
    answer = await exchange(admin.address, b"GET /livez HTTP/" + version + b"\r\n" + fields + b"Connection: close\r\n\r\n")
    assert answer.split(b" ")[1] == status


@pytest.mark.attack(
    "half a head on thousands of connections to the admin server, to take the descriptors that the data path needs",
    expect="bound",
    topic="resources",
    motive="slowloris",
)
async def test_silent_visitors_make_room_for_those_who_ask(admin: Admin) -> None:
    """64 at once: who never asked goes first, the longest silent before the others; who asks stays."""

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes) -> bytes:
        writer.write(rest)
        return await reader.readuntil(b'"live"}')

    async with asyncio.timeout(10):
        asking = await asyncio.open_connection(admin.address.host, admin.address.port)
        whole = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        assert (await ask(*asking, whole)).startswith(b"HTTP/1.1 200 ")
        silent = []
        for _ in range(70):
            silent.append(await asyncio.open_connection(admin.address.host, admin.address.port))
            silent[-1][1].write(whole[:-2])
        assert (await admin.ask("/livez"))[0] == 200
        assert (await ask(*asking, whole)).startswith(b"HTTP/1.1 200 ")
        # With the one that asks and the one that has just asked, 62 have stayed.
        for reader, _ in silent[:8]:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(1)
        for reader, writer in silent[8:]:
            assert (await ask(reader, writer, whole[-2:])).startswith(b"HTTP/1.1 200 ")
        for _, writer in (asking, *silent):
            writer.transport.abort()


async def test_an_unknown_path_lists_the_known_ones(admin: Admin) -> None:
    """Somebody who guesses is told."""
    status, body, _ = await admin.ask("/health")
    assert status == 404
    assert all(path in body for path in PATHS)


async def test_a_stopped_server_no_longer_listens_and_may_be_stopped_again() -> None:
    """Shutdown is asked for from more than one place."""
    server = Admin().server()
    address = await server.start()
    await server.stop()
    await server.stop()
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection(address.host, address.port)


async def test_an_address_in_use_is_an_error_and_leaves_nothing_behind(admin: Admin) -> None:
    """Whoever starts the proxy twice hears of it."""
    second = Admin(address=admin.address).server()
    with pytest.raises(OSError, match=r"(?i)address already in use"):
        await second.start()
    await second.stop()
