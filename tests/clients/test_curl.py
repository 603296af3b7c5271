"""What curl can be told to do and to show, on both event loops."""

from __future__ import annotations

import json
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clients.stage import BROKEN_PROMISES, INTERCEPT, TUNNEL, ConnectMode, kept_promise, staged
from tests.clients.table import assert_answered, curl, errands, small_fetch
from tests.harness.origin import answer_bodies, running_origin
from tests.harness.pki import server_context

pytestmark = pytest.mark.needs_tool("curl")

STRICT_TUNNEL = replace(TUNNEL, rule_fields={"connect": "tunnel", "tls13": "refuse"})
TLS_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


@pytest.mark.parametrize("at_origin", TLS_VERSIONS)
@pytest.mark.parametrize("option", [("--tls-max", "1.2"), ("--tlsv1.3",)], ids=["client-1.2", "client-1.3"])
async def test_each_side_speaks_the_tls_version_it_can(option: tuple[str, ...], at_origin: str, tmp_path: Path) -> None:
    """Where the client's TLS ends at the proxy, neither end has to know the other's version."""
    promise, fetches = kept_promise(), errands(tmp_path)
    context = server_context(promise.leaf)
    context.minimum_version = context.maximum_version = TLS_VERSIONS[at_origin]
    async with (
        running_origin(context, answer_bodies) as origin,
        staged(tmp_path, INTERCEPT, promise, origin.port) as stage,
    ):
        outcome = await stage.run([*curl(fetches, *option, "--verbose")])
        assert outcome.code == 0, outcome
        assert_answered(fetches)
        at_client = "TLSv1.2" if "1.2" in option else "TLSv1.3"
        assert f"SSL connection using {at_client} / " in outcome.stderr
        (line,) = await stage.assert_allowed("interception")
        assert line["tls_version"] == at_origin


@pytest.mark.parametrize(("at_origin", "assurance"), [("TLSv1.2", "full"), ("TLSv1.3", "advisory")])
async def test_a_tunnel_says_what_its_verdict_is_worth(at_origin: str, assurance: str, tmp_path: Path) -> None:
    """Where client and origin speak TLS 1.2 the certificate was seen on the wire; in TLS 1.3 nobody but the two sees it."""
    promise, fetches = kept_promise(), errands(tmp_path)
    context = server_context(promise.leaf)
    context.minimum_version = context.maximum_version = TLS_VERSIONS[at_origin]
    async with (
        running_origin(context, answer_bodies) as origin,
        staged(tmp_path, TUNNEL, promise, origin.port) as stage,
    ):
        outcome = await stage.run(curl(fetches))
        assert outcome.code == 0, outcome
        assert_answered(fetches)
        (line,) = await stage.assert_allowed("tunnel")
        assert (line["tls_version"], line["assurance"]) == (at_origin, assurance)


async def test_a_tunnel_that_must_see_the_certificate_passes_tls_1_2(tmp_path: Path) -> None:
    """`tls13: refuse` is no obstacle to a client that speaks what can be verified."""
    promise, fetches = kept_promise(), errands(tmp_path)
    async with (
        running_origin(server_context(promise.leaf), answer_bodies) as origin,
        staged(tmp_path, STRICT_TUNNEL, promise, origin.port) as stage,
    ):
        outcome = await stage.run(curl(fetches, "--tls-max", "1.2"))
        assert outcome.code == 0, outcome
        assert_answered(fetches)
        (line,) = await stage.assert_allowed("tunnel")
        assert (line["tls_version"], line["assurance"]) == ("TLSv1.2", "full")


async def test_a_tunnel_that_must_see_the_certificate_refuses_tls_1_3(tmp_path: Path) -> None:
    """The twin, with a client that speaks TLS 1.3: it hears an alert, and the origin no request."""
    promise, fetch = kept_promise(), small_fetch(tmp_path)
    async with (
        running_origin(server_context(promise.leaf), answer_bodies) as origin,
        staged(tmp_path, STRICT_TUNNEL, promise, origin.port) as stage,
    ):
        outcome = await stage.run(curl([fetch], "--tlsv1.3"))
        assert outcome.code == 35, outcome  # CURLE_SSL_CONNECT_ERROR
        assert "alert" in outcome.stderr
        await stage.assert_denied("tunnel", "tls13_unverifiable")
        assert bytes(origin.received) == b""


async def test_the_connection_of_many_requests_is_one(connect_mode: ConnectMode, tmp_path: Path) -> None:
    """Keep-alive inside a CONNECT is between client and origin."""
    promise, fetches = kept_promise(), errands(tmp_path)
    async with (
        running_origin(server_context(promise.leaf), answer_bodies) as origin,
        staged(tmp_path, connect_mode, promise, origin.port) as stage,
    ):
        outcome = await stage.run(curl(fetches))
        assert outcome.code == 0, outcome
        assert_answered(fetches)
        (line,) = await stage.assert_allowed(connect_mode.name)
        assert line["bytes_up"] >= len(origin.received)  # a tunnel counts the TLS around them
        assert line["bytes_down"] > len(fetches[1].answer)


@pytest.mark.parametrize("code", BROKEN_PROMISES)
async def test_a_refused_connect_tells_its_reason_to_whoever_looks(code: str, connect_mode: ConnectMode, tmp_path: Path) -> None:
    """`curl -v` shows reason code and id of the refusal; the id leads to its log line."""
    promise, fetch = BROKEN_PROMISES[code](), small_fetch(tmp_path)
    async with (
        running_origin(server_context(promise.leaf), answer_bodies) as origin,
        staged(tmp_path, connect_mode, promise, origin.port) as stage,
    ):
        outcome = await stage.run(["curl", "--verbose", fetch.url])
        assert outcome.code == 56, outcome  # CURLE_RECV_ERROR: CONNECT was not answered with 200
        await stage.assert_denied(connect_mode.name, code)
        line = await stage.proxy.connection()
        shown = dict(text[2:].split(": ", 1) for text in outcome.stderr.splitlines() if text.startswith("< ") and ": " in text)
        assert shown["X-Pinproxy-Error"] == code
        assert shown["X-Pinproxy-Id"] == line["id"]
        assert f'details="{code}"' in shown["Proxy-Status"]
        status = "403" if code == "pin_mismatch" else "502"
        assert f"< HTTP/1.1 {status} " in outcome.stderr
        assert bytes(origin.received) == b""


async def test_a_refused_request_in_clear_is_answered_with_a_problem_document(tmp_path: Path) -> None:
    """In origination the refusal is a response with a body: what was seen, what was expected."""
    promise, fetch = BROKEN_PROMISES["pin_mismatch"](), small_fetch(tmp_path, "http")
    async with (
        running_origin(server_context(promise.leaf), answer_bodies) as origin,
        staged(tmp_path, INTERCEPT, promise, origin.port) as stage,
    ):
        outcome = await stage.run(["curl", "--silent", "--show-error", "--fail-with-body", fetch.url])
        assert outcome.code == 22, outcome
        problem = json.loads(outcome.stdout)
        assert (problem["status"], problem["code"]) == (403, "pin_mismatch")
        assert str(promise.leaf.pin) in json.dumps(problem["seen"])
        assert str(promise.pin) in json.dumps(problem["expected"])
        assert bytes(origin.received) == b""
