"""`explain`: of a host, what the table would do with it and why; of a connection, the story of its line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pinproxy.cli.advice import ADVICE
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from pinproxy.errors import refusal_codes
from tests.unit.cli.test_probe import answering

A = "sha256/PtWSFM0Pldud4f6ZoFmMBtviOxsno0D7CtgVr/3NgG8="
B = "sha256/xRJYanjythfZY7DcrA7STe34LEf7hlxtjeFikyj6tL8="
HOSTS = f"""version: 1
pin_sets:
  p:
    expires: 2027-01-31
    pins:
      - {A}
      - {{pin: {B}, position: ca, note: in the safe, not_after: 2026-12-31}}
    forbidden: [sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=]
hosts:
  - {{host: "**.example.com", pin_set: p, mode: report-only}}
  - {{host: "*.example.com", pin_set: p, ports: [443]}}
  - {{host: api.example.com, pin_set: p, ports: [8443]}}
  - {{host: tunnel.test, pin_set: p, connect: tunnel, tls13: refuse, upstream: {{address: 10.0.0.7}}}}
"""
ID = "41ca647ceb-1"
LINE: dict[str, Any] = {
    "timestamp": "2026-11-23T03:27:49.896Z",
    "event": "connection",
    "id": ID,
    "client": "127.0.0.1:50558",
    "mode": "none",
    "method": "CONNECT",
    "authority": "other.example:443",
    "host_rule": None,
    "verdict": None,
    "decision": "deny",
    "code": "host_not_listed",
    "status": 403,
    "detail": "other.example:443 has no entry",
}


def explained(capsys: pytest.CaptureFixture[str], directory: Path, *arguments: str, text: str = HOSTS) -> str:
    """Explain a host by a configuration; its output, runs of spaces as one."""
    file = directory / "c.yaml"
    file.write_text(text, "utf-8")
    assert invoke(["explain", "-c", str(file), *arguments]) == ExitCode.OK, capsys.readouterr().err
    return "\n".join(" ".join(line.split()) for line in capsys.readouterr().out.splitlines())


def test_the_rule_that_counts_is_told_with_those_it_wins_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rule shadows others for this very port; each says why it is not the one."""
    out = explained(capsys, tmp_path, "https://api.example.com/path?secret=1", "--at", "2026-12-01")
    assert out.splitlines()[:4] == [
        f"api.example.com:443 on 2026-12-01 00:00 UTC, by {tmp_path}/c.yaml",
        "rule *.example.com:443 in line 11 (enforce, intercept): the most specific that covers api.example.com:443",
        "not api.example.com:8443 in line 12 (enforce): its ports leave 443 out",
        "not **.example.com in line 10 (report-only): `*.` beats `**.`",
    ]
    assert "secret" not in out
    other_port = explained(capsys, tmp_path, "api.example.com:8443", "--at", "2026-12-01")
    assert "rule api.example.com:8443 in line 12 (enforce, intercept): the most specific" in other_port
    assert "not **.example.com in line 10 (report-only): a name beats every wildcard" in other_port


@pytest.mark.parametrize(
    ("at", "said", "unsaid"),
    [
        ("2026-12-31", ["until 2027-01-31, 31 days away", "ca until 2026-12-31 in the safe", "403 pin_mismatch"], "expired on"),
        ("2027-01-31", ["until 2027-01-31, 0 days away", "ca has not counted since 2026-12-31"], "expired on"),
        ("2027-02-01", ["expired on 2027-01-31", "denied: 403 pin_set_expired", "403 pin_forbidden"], "pin_mismatch"),
    ],
)
def test_a_date_shows_what_will_have_expired(
    at: str, said: Sequence[str], unsaid: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last day counts in full; the next one does not."""
    out = explained(capsys, tmp_path, "a.example.com", "--at", at)
    assert [text for text in said if text not in out] == []
    assert unsaid not in out


def test_report_only_and_a_switched_off_expiry_let_a_mismatch_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What follows from the same pins under another mode, and on another day."""
    assert "passes, and is reported as pin_mismatch" in explained(capsys, tmp_path, "a.b.example.com", "--at", "2026-12-01")
    text = HOSTS.replace("expires: 2027-01-31", "expires: 2027-01-31\n    on_expiry: disabled")
    assert "passes: the set has expired" in explained(capsys, tmp_path, "a.example.com", "--at", "2027-02-01", text=text)


def test_pins_only_promises_no_chain_and_softens_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is switched off is not among what is verified; `on_expiry` has no say."""
    keys = "trust: pins-only, unsafe_skip_dates: true, "
    text = HOSTS.replace("expires: 2027-01-31", "expires: 2027-01-31\n    on_expiry: disabled").replace(
        "upstream: {address", f"{keys}upstream: {{address"
    )
    out = explained(capsys, tmp_path, "tunnel.test", "--at", "2027-02-01", text=text)
    assert "verified no chain (pins-only): the pin of the server's own certificate, its name\n" in out
    assert "denied: 403 pin_set_expired" in out


def test_a_tunnel_says_what_becomes_of_each_tls_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And where it is dialled, which is not its name."""
    out = explained(capsys, tmp_path, "tunnel.test")
    assert "http://tunnel.test/ or CONNECT tunnel.test:80 TLS to tunnel.test:443 is added here" in out
    assert "10.0.0.7:443 (upstream); name and pins stay those of tunnel.test" in out
    assert "TLS 1.3: refused with an alert, tls13_unverifiable" in out
    preflight = explained(capsys, tmp_path, "tunnel.test", text=HOSTS.replace("tls13: refuse", "tls13: preflight"))
    assert "(assurance: advisory)" in preflight


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("http://other.test:8080", "http://other.test:8080/ forwarded as it is: no TLS, no pins"),
        ("other.test", "not globally routable: 403 address_denied"),
        ("10.1.2.3", "neither of them: 10.1.2.3 is not globally routable, 403 address_denied"),
    ],
)
def test_an_unlisted_host_that_may_pass_meets_the_guard_of_addresses(
    what: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `unlisted: allow` it is one line; the twin has the way of each request."""
    assert "any way: 403 host_not_listed, nothing is dialled" in explained(capsys, tmp_path, what)
    assert said in explained(capsys, tmp_path, what, text=f"{HOSTS}unlisted: allow\n")


def test_an_entry_for_other_ports_is_named_where_none_covers_the_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The most common surprise of `ports`."""
    text = HOSTS.replace('"**.example.com"', "else.test")
    out = explained(capsys, tmp_path, "a.example.com:8080", text=text)
    assert "not *.example.com:443 in line 11 (enforce): its ports leave 8080 out" in out
    assert "403 host_not_listed" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["api.example.com"], "name it with --config"),
        (["-c", "c.yaml", "a b"], "expected a URL, HOST"),
        (["-c", "c.yaml", "https://user:secret@host/"], "expected a URL, HOST"),
        (["-c", "c.yaml", "host", "--at", "soon"], "expected a day such as 2027-02-01"),
        (["-c", "c.yaml", "host", "--log", "x"], "are about an ID"),
        ([ID, "--at", "2027-01-01"], "--at is about a host"),
        ([ID, "--log", "/nonexistent/log"], "cannot be read"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2."""
    assert invoke(["explain", *arguments]) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert said in err
    assert "secret" not in err


def test_a_connection_is_found_in_a_log_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever stands before its JSON, and beside lines that are none; the second file has it."""
    empty, log = tmp_path / "empty.log", tmp_path / "p.log"
    empty.write_text(f"{ID} in a line that is no JSON\n", "utf-8")
    log.write_text(f'{{"id": "{ID}", "event": "library"}}\n2026 pod pinproxy: {json.dumps(LINE)}\n', "utf-8")
    assert invoke(["explain", ID, "--log", str(empty), "--log", str(log)]) == ExitCode.OK
    out = capsys.readouterr().out
    assert f"told by {log}:2" in out
    for said in ("CONNECT other.example:443, by 127.0.0.1:50558", "denied: host_not_listed", "docs/errors.md#host_not_listed"):
        assert said in out
    assert ADVICE["host_not_listed"].to_do in out


def test_a_connection_that_is_not_there_names_where_it_was_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1; the twin is the log that has it."""
    log = tmp_path / "p.log"
    log.write_text(json.dumps(LINE), "utf-8")
    assert invoke(["explain", "41ca647ceb-2", "--log", str(log)]) == ExitCode.FAILURE
    assert f"no connection 41ca647ceb-2 in {log}" in capsys.readouterr().err
    assert invoke(["explain", ID, "--log", str(log)]) == ExitCode.OK


def test_without_a_log_the_running_proxy_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """It remembers refusals, and says that it remembers nothing else."""
    refusal = {
        "id": ID,
        "rule": "a.example",
        "authority": "a.example:443",
        "client": "unix",
        "code": "pin_mismatch",
        "decision": "deny",
        "last_at": "2026-11-23T03:27:49Z",
        "text": "no pin matched\n  to do     ask\x1b[2J",
    }
    with answering(200, json.dumps({"hosts": [], "refusals": [refusal]}).encode()) as (target, _):
        admin = f"127.0.0.1:{target.port}"
        assert invoke(["explain", ID, "--admin", admin]) == ExitCode.OK
        told = capsys.readouterr().out
        assert invoke(["explain", "41ca647ceb-2", "--admin", admin]) == ExitCode.FAILURE
        missing = capsys.readouterr().err
    assert "no pin matched" in told
    assert "\x1b[2J" not in told
    # The text says what to do, and knows more than the sentence for its code does.
    assert ADVICE["pin_mismatch"].to_do not in told
    assert f"among the 1 refusals that {admin} remembers" in missing


def test_every_reason_code_has_its_advice() -> None:
    """A code without one would be a story without an end."""
    assert sorted(ADVICE) == sorted(refusal_codes())
