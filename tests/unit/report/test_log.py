"""The log: one line for each event, whatever is in it, and never a reason for traffic to wait or fail."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import pytest

from pinproxy.authority import Authority
from pinproxy.policy.rule import PinsOnly
from pinproxy.policy.verdict import Decision
from pinproxy.report.log import Log, redact
from pinproxy.report.timestamp import Timestamps, format_time
from tests.unit.report.events import API_RULE, BACKUP_PIN, LEAF_PIN, event, refused, rule

# The order of spec and documentation; `detail` follows where there is one.
FIELDS = [
    "timestamp",
    "level",
    "event",
    "id",
    "client",
    "mode",
    "method",
    "authority",
    "host_rule",
    "verdict",
    "assurance",
    "decision",
    "would_deny",
    "code",
    "matched_pin",
    "mismatch_class",
    "tls_version",
    "alpn",
    "upstream_address",
    "status",
    "bytes_up",
    "bytes_down",
    "duration_ms",
]


class LogFile:
    """A log into a file, and what stands in it."""

    def __init__(self, path: Path, **options: Any) -> None:
        self._path = path
        self._stream = path.open("w")
        self.log = Log(stream=self._stream, **options)
        self._stream.close()  # the log must have a descriptor of its own

    @property
    def text(self) -> str:
        """All of it."""
        return self._path.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line, parsed."""
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[LogFile]:
    """Log JSON into a file."""
    opened = LogFile(tmp_path / "log")
    yield opened
    opened.log.close()


def test_an_event_is_one_json_line_with_its_fields_in_order(log_file: LogFile) -> None:
    """Names and order are the contract; a file is no terminal, so `auto` means JSON."""
    log_file.log.connection(event())
    (line,) = log_file.lines
    assert list(line) == FIELDS
    assert line == {
        "timestamp": "2027-06-01T12:00:00.123Z",
        "level": "info",
        "event": "connection",
        "id": "01JZ0Q7",
        "client": "127.0.0.1:53211",
        "mode": "interception",
        "method": "CONNECT",
        "authority": "api.example.com:443",
        "host_rule": "api.example.com",
        "verdict": "matched",
        "assurance": "full",
        "decision": "allow",
        "would_deny": False,
        "code": None,
        "matched_pin": str(LEAF_PIN),
        "mismatch_class": None,
        "tls_version": "TLSv1.3",
        "alpn": "h2",
        "upstream_address": "192.0.2.1:443",
        "status": None,
        "bytes_up": 100,
        "bytes_down": 2000,
        "duration_ms": 250.0,
    }


def test_a_refusal_is_a_warning_with_its_text(log_file: LogFile) -> None:
    """The log alone must say why."""
    log_file.log.connection(event(rule("api.example.com", BACKUP_PIN)))
    (line,) = log_file.lines
    assert (line["level"], line["decision"], line["would_deny"], line["code"]) == ("warning", "deny", False, "pin_mismatch")
    assert line["mismatch_class"] == "never_seen"
    assert str(LEAF_PIN) in line["detail"]


def test_what_report_only_lets_pass_is_marked(log_file: LogFile) -> None:
    """Report-only is honest: the line says what enforce would have done, and why."""
    log_file.log.connection(event(rule("api.example.com", BACKUP_PIN, mode="report-only")))
    (line,) = log_file.lines
    assert (line["level"], line["decision"], line["would_deny"]) == ("warning", "allow_and_report", True)
    assert str(LEAF_PIN) in line["detail"]


def test_a_request_without_host_or_rule_has_nulls(log_file: LogFile) -> None:
    """The fields are always there, so that a query on them never misses a line."""
    log_file.log.connection(event(None, authority=None, method=None))
    (line,) = log_file.lines
    assert list(line) == FIELDS
    assert [line[name] for name in ("method", "authority", "host_rule", "verdict", "matched_pin")] == [None] * 5


HOSTILE = [
    "a\r\nb",
    'x"} {"event":"connection',
    "\x1b[2J\x1b]0;t\x07",
    "\x9b31m",
    "\u2028\u2029\x85",
    "\ud800",
    "\0",
    "\\\n\\n",
    "é" * 5000,
]


@pytest.mark.attack(
    "line ends, escapes and terminal sequences of peers in the log",
    expect="neutralise",
    topic="secrets",
    motive="CWE-117",
)
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_text_ends_a_line_or_reaches_the_terminal(tmp_path: Path, text: str, log_format: str) -> None:
    """CWE-117: whatever a peer writes is data within one line; in text for people it stands below, indented."""
    hostile = LogFile(tmp_path / "hostile", log_format=log_format)
    harmless = LogFile(tmp_path / "harmless", log_format=log_format)
    for target, value in ((hostile, text), (harmless, "x")):
        target.log.connection(event(None, authority=Authority(value, 443), method=value, alpn=value, detail=f"first {value}"))
        target.log.close()
    raw = (tmp_path / "hostile").read_bytes().decode()
    heads = [line for line in raw.split("\n") if line and not line.startswith("    ")]
    assert len(heads) == 1
    # The escape codes of our own colours are the only control characters, and as many as beside a harmless text.
    controls = [char for char in raw if not char.isprintable() and char != "\n"]
    assert controls == [char for char in harmless.text if not char.isprintable() and char != "\n"]
    assert len(raw) < 40_000  # of at least 20,000 characters that each need six
    if log_format == "json":
        assert json.loads(raw)["method"][:100] == text[:100]


@pytest.mark.parametrize(("level", "expected"), [("info", ["allow", "deny"]), ("warning", ["deny"]), ("error", [])])
def test_the_level_decides_which_events_are_written(tmp_path: Path, level: str, expected: list[str]) -> None:
    """At `warning` an allowed connection costs nothing and a refusal is still told."""
    log_file = LogFile(tmp_path / "log", level=level)
    log_file.log.connection(event())
    log_file.log.connection(refused("host_not_listed"))
    log_file.log.close()
    assert [line["decision"] for line in log_file.lines] == expected


def test_console_text_is_coloured_short_and_shows_the_reason_below(tmp_path: Path) -> None:
    """A person gets what there is, not what there is not, and a failure text that can be pasted."""
    log_file = LogFile(tmp_path / "log", log_format="console")
    log_file.log.connection(event(rule("api.example.com", BACKUP_PIN)))
    log_file.log.close()
    first, *below = log_file.text.splitlines()
    assert "\x1b[" in first
    assert "status" not in first
    assert f"{LEAF_PIN}  leaf" in "\n".join(below)
    assert all(line.startswith("    ") for line in below)


def test_a_terminal_gets_text_by_itself() -> None:
    """`auto` asks the stream."""
    leader, follower = os.openpty()
    with os.fdopen(follower, "w") as terminal, os.fdopen(leader, "rb") as screen:
        log = Log(stream=terminal)
        log.logger.info("started")
        log.close()
        assert b"\x1b[" in screen.read1(4096)


def test_a_time_has_milliseconds_and_utc(log_file: LogFile) -> None:
    """A whole second has them too: fields of changing width break naive parsers."""
    log_file.log.connection(event(at=datetime(2027, 1, 1, tzinfo=UTC)))
    assert log_file.lines[0]["timestamp"] == "2027-01-01T00:00:00.000Z"


def test_each_time_is_its_own_in_whatever_order_they_come() -> None:
    """The text of the last second is kept: an earlier instant, another day and the last microsecond get theirs."""
    times = Timestamps()
    second = datetime(2027, 1, 1, 12, 0, 59, tzinfo=UTC)
    apart = [0.0, 0.001, 0.999999, 1.0, 0.5, -0.000001, -1.0, 86400.0, 86400.25, 0.0]
    told = [times.format(second + timedelta(seconds=seconds)) for seconds in apart]
    assert told == [format_time(second + timedelta(seconds=seconds)) for seconds in apart]
    assert told[2:6] == [f"2027-01-01T12:{rest}Z" for rest in ("00:59.999", "01:00.000", "00:59.500", "00:58.999")]


def reader_and_writer() -> tuple[int, TextIO]:
    """Make a pipe."""
    reader, writer = os.pipe()
    return reader, os.fdopen(writer, "w")


@pytest.mark.attack("a log whose reader has stopped reading, or is gone", expect="bound", topic="resources")
def test_a_reader_that_is_gone_costs_lines_and_nothing_else() -> None:
    """EPIPE is swallowed and counted."""
    reader, writer = reader_and_writer()
    with writer:
        log = Log(stream=writer)
        log.connection(event())
        assert log.dropped_lines == 0
        os.close(reader)
        log.connection(event())
        log.close()
        log.connection(event())
    assert log.dropped_lines == 2


@pytest.mark.attack("a log whose reader has stopped reading, or is gone", expect="bound", topic="resources")
def test_a_reader_that_stops_reading_blocks_nothing_and_gets_whole_lines_afterwards() -> None:
    """A full pipe drops lines; once it is read again each line is one JSON document."""
    reader, writer = reader_and_writer()
    with writer, os.fdopen(reader, "rb") as read_end:
        log = Log(stream=writer)
        while not log.dropped_lines:
            log.connection(refused("bad_request", detail="x" * 6000))
        os.set_blocking(reader, False)
        first = read_end.read()
        log.connection(event())
        rest = first + read_end.read()
        log.close()
    assert log.dropped_lines == 1
    *whole, last = rest.splitlines()
    assert json.loads(last)["decision"] == "allow"
    assert sum(1 for line in whole if line.endswith(b"}") and json.loads(line)) >= len(whole) - 1


def packets(reader: int) -> list[bytes]:
    """Read what each write to a pipe of packets brought."""
    os.set_blocking(reader, False)
    found = []
    with contextlib.suppress(BlockingIOError):
        while packet := os.read(reader, 65536):
            found.append(packet)
    return found


def test_lines_of_one_round_go_out_together_in_their_order_and_by_pieces_that_a_pipe_takes_whole() -> None:
    """Nothing waits behind `release`, and what is said without a `hold` goes out at once."""
    reader, writer = os.pipe2(os.O_DIRECT)
    with os.fdopen(writer, "w") as stream:
        log = Log(stream=stream)
        log.sink.hold()
        for size in (1, 2, 4000, 5000, 3):
            log.sink.msg(b"%d\n" % size * size)
        log.sink.release()
        log.sink.msg(b"alone\n")
        log.sink.hold()
        log.sink.msg(b"last\n")
        log.close()
    found = packets(reader)
    os.close(reader)
    expected = b"".join(b"%d\n" % size * size for size in (1, 2, 4000, 5000, 3))
    assert b"".join(found) == expected + b"alone\nlast\n"
    assert found[0] == b"1\n2\n2\n"
    assert found[-3:] == [b"3\n3\n3\n", b"alone\n", b"last\n"]
    assert log.dropped_lines == 0


def test_each_line_that_was_gathered_for_a_reader_who_is_gone_is_counted() -> None:
    """What is written at once is lost at once."""
    reader, writer = reader_and_writer()
    with writer:
        log = Log(stream=writer)
        os.close(reader)
        log.sink.hold()
        log.connection(event())
        log.connection(event())
        assert log.dropped_lines == 0
        log.sink.release()
        log.close()
    assert log.dropped_lines == 2


def test_a_process_without_standard_error_has_a_log_that_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """`2>&-`: the number 2 may be a client's connection by now."""
    monkeypatch.setattr(sys, "stderr", None)
    log = Log()
    log.connection(event())
    log.close()
    assert log.dropped_lines == 0


@pytest.mark.attack(
    "credentials, cookies and query strings in what libraries log", expect="neutralise", topic="secrets", motive="CWE-532"
)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET http://user:secret@proxy:3128/x?token=secret HTTP", "GET http://…@proxy:3128/x?… HTTP"),
        ("Cannot connect to https://api.example.com/a?b=1", "Cannot connect to https://api.example.com/a?…"),
        ("{'Authorization': 'Basic c2VjcmV0', 'Host': 'x'}", "{'Authorization': '…"),
        ("proxy-authorization: Basic c2VjcmV0\nHost: x", "proxy-authorization: …\nHost: x"),
        ("what is wrong? nothing", "what is wrong? nothing"),
    ],
)
def test_texts_of_libraries_lose_their_secrets(text: str, expected: str) -> None:
    """CWE-532: credentials and query strings are cut; questions stay questions."""
    assert redact(text) == expected


def test_libraries_and_structlog_end_in_the_configured_log() -> None:
    """One process, one log: stdlib loggers from WARNING up, with their tracebacks, and `structlog.get_logger()`."""
    script = """
import logging, structlog
from pinproxy.report.log import configure_logging
configure_logging("json")
logging.getLogger("aiohttp.client").warning("to http://u:secret@h/?q=%s", "secret")
logging.getLogger("asyncio").info("unheard")
logging.getLogger("x").warning("%d and %s", "no number")
try:
    raise ValueError("http://u:secret@h/")
except ValueError:
    logging.getLogger("asyncio").exception("failed")
structlog.get_logger().info("started", port=3128)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line.get("logger")) for line in lines] == [
        ("library", "aiohttp.client"),
        ("library", "x"),
        ("library", "asyncio"),
        ("started", None),
    ]
    assert lines[0]["message"] == "to http://…@h/?…"
    assert "ValueError" in lines[2]["exception"]
    assert "secret" not in done.stderr


def test_a_stream_without_descriptor_is_refused() -> None:
    """Better at the start than a log that silently goes nowhere."""
    with pytest.raises(io.UnsupportedOperation):
        Log(stream=io.StringIO())


def test_the_rule_is_named_and_not_the_host(log_file: LogFile) -> None:
    """A wildcard rule stands as it stands in the configuration."""
    log_file.log.connection(event(rule("*.example.com", LEAF_PIN)))
    assert (log_file.lines[0]["host_rule"], API_RULE.label) == ("*.example.com", "api.example.com")


def test_a_rule_that_validates_no_chain_says_so(log_file: LogFile) -> None:
    """And no other rule has the field."""
    log_file.log.connection(event(replace(API_RULE, trust=PinsOnly())))
    assert log_file.lines[-1]["trust"] == "pins-only"
    log_file.log.connection(event())
    assert "trust" not in log_file.lines[-1]


def test_a_denied_event_without_text_has_no_detail(log_file: LogFile) -> None:
    """`detail` is there where there is one."""
    log_file.log.connection(event(decision=Decision.DENY, code="client_closed"))
    assert "detail" not in log_file.lines[0]
