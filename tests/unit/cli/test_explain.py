"""`explain`: of a host, what the table would do with it and why; of a connection, the story of its line."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pinproxy.cli.advice import ADVICE
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from pinproxy.errors import refusal_codes
from tests.harness.pki import make_client, make_root
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
    assert "verified chain to a root of the system, name and dates" in out
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
    assert "a certificate without a pin of the set is denied: 403 pin_set_expired" in out


def test_a_tunnel_says_what_becomes_of_each_tls_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And where it is dialled, which is not its name."""
    out = explained(capsys, tmp_path, "tunnel.test")
    assert "http://tunnel.test/ or CONNECT tunnel.test:80 TLS to tunnel.test:443 is added here" in out
    assert "10.0.0.7:443 (upstream); name and pins stay those of tunnel.test" in out
    assert "TLS 1.3: refused with an alert, tls13_unverifiable" in out
    preflight = explained(capsys, tmp_path, "tunnel.test", text=HOSTS.replace("tls13: refuse", "tls13: preflight"))
    assert "(assurance: advisory)" in preflight


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tls13: refuse", "tls13: refuse, mode: disabled", "no pin is compared (mode: disabled)"),
        ("expires: 2027-01-31", "on_expiry: enforce", "p: no expiry"),
        (f"- {A}", f"- {{pin: {A}, not_before: 2027-01-01}}", f"{A} any counts only from 2027-01-01"),
        ("not_after: 2026-12-31", "not_before: 2026-12-02", f"{B} ca counts only from 2026-12-02 in the safe"),
        ("hosts:", "upstream_proxy: http://proxy.test:8080\nhosts:", "through the upstream proxy proxy.test:8080"),
        ("hosts:", "upstream_proxy: http://a.test:1\nno_proxy: [10.0.0.0/8]\nhosts:", "without the upstream proxy (no_proxy)"),
        ("tls13: refuse", "tls13: refuse, chain_profile: compatible", "by OpenSSL alone (compatible)"),
        (
            "hosts:",
            "hosts:\n  - {host: tunnel.test, pin_set: p, ports: [443]}",
            "an entry that names the port beats one for every",
        ),
        ("hosts:", 'hosts:\n  - {host: "**.test", pin_set: p}', "not **.test in line 10 (enforce): a name beats every wildcard"),
    ],
)
def test_everything_that_bears_on_a_host_is_told(
    old: str, new: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with the line that earns it; the twin is the configuration as it stands."""
    assert said not in explained(capsys, tmp_path, "tunnel.test", "--at", "2026-12-01")
    assert said in explained(capsys, tmp_path, "tunnel.test", "--at", "2026-12-01", text=HOSTS.replace(old, new))


def test_a_day_on_which_no_pin_counts_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every pin has its dates, and none covers that day."""
    text = HOSTS.replace(f"- {A}", f"- {{pin: {A}, not_after: 2026-12-31}}")
    said = "no pin of the set counts on that day"
    assert said in explained(capsys, tmp_path, "tunnel.test", "--at", "2027-01-01", text=text)
    assert said not in explained(capsys, tmp_path, "tunnel.test", "--at", "2026-12-31", text=text)


def test_who_we_are_is_told_where_a_server_may_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the file's name, and never its key."""
    client = make_client(make_root())
    (tmp_path / "client.pem").write_bytes(client.pem)
    key = tmp_path / "client.key"
    key.touch(0o600)
    key.write_bytes(client.key_pem)
    shown = "client_cert: {cert_file: client.pem, key_file: client.key}, "
    out = explained(capsys, tmp_path, "tunnel.test", text=HOSTS.replace("upstream: {", f"{shown}upstream: {{"))
    assert f"who we are is shown by {tmp_path}/client.pem where the server asks" in out


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


def test_a_listed_host_on_another_port_does_not_pass_where_unlisted_hosts_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The proxy denies it under `unlisted: allow` too, and explain says the same; a host that no entry covers passes."""
    text = HOSTS.replace('"**.example.com"', "else.test") + "unlisted: allow\n"
    out = explained(capsys, tmp_path, "http://a.example.com:8080", text=text)
    assert "none: no entry of `hosts` is for a.example.com:8080, and listed hosts pass on listed ports alone" in out
    assert "would be any way: 403 host_not_listed, nothing is dialled" in out
    assert "forwarded as it is" in explained(capsys, tmp_path, "http://other.test:8080", text=text)


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


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"user": "alice"}, "by 127.0.0.1:50558 (alice)"),
        ({"mode": "tunnel"}, "carried by tunnel"),
        ({"upstream_address": "192.0.2.1:443", "tls_version": "TLSv1.3"}, "upstream 192.0.2.1:443, TLSv1.3"),
        (
            {"verdict": "matched", "matched_pin": A, "assurance": "advisory"},
            f"matched (assurance: advisory)\n             met {A}",
        ),
        ({"verdict": "no_match", "mismatch_class": "new_anchor"}, "class      new_anchor"),
        ({"decision": "allow_and_report"}, "passed and was reported"),
        ({"decision": "allow", "code": None}, "allowed (status 403)"),
        ({"authority": None, "method": None, "client": None}, "no host that can be read, by somebody"),
    ],
)
def test_what_a_line_holds_is_told_and_what_it_does_not_is_left_out(
    changed: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line from `connection` as it is, and with one thing more."""
    log = tmp_path / "p.log"
    log.write_text(json.dumps(LINE), "utf-8")
    assert invoke(["explain", ID, "--log", str(log)]) == ExitCode.OK
    assert said not in capsys.readouterr().out
    log.write_text(json.dumps({**LINE, **changed}), "utf-8")
    assert invoke(["explain", ID, "--log", str(log)]) == ExitCode.OK
    assert said in capsys.readouterr().out


def test_a_log_may_come_in_by_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As from `kubectl logs`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(LINE).encode())))
    assert invoke(["explain", ID, "--log", "-"]) == ExitCode.OK
    assert "denied: host_not_listed" in capsys.readouterr().out


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
    assert f"among the refusals that {admin} remembers (1)" in missing


def test_every_reason_code_has_its_advice() -> None:
    """A code without one would be a story without an end."""
    assert sorted(ADVICE) == sorted(refusal_codes())
