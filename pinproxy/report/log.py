"""The log: structlog, one `connection` line for each event, JSON for machines and coloured text for people.

Rules of this file:
- The connection line stands on the data path. Its logger is bound once, its chain has two steps, and no stdlib logging.
- One event, one JSON line: all but printable ASCII is escaped, long strings are cut (CWE-117).
- What other libraries have to say comes in at WARNING and above, with credentials and query strings cut out of it (CWE-532).
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from pinproxy.policy.verdict import Decision, printable
from pinproxy.report.event import ConnectionEvent
from pinproxy.report.line_sink import LineSink

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]

_LONGEST_LINE = 4096  # a pin failure over a real chain takes about 2,000; what is longer has a peer's hand in it and is cut
_LONGEST_VALUE = 512
_LONGEST_TEXT = 4096  # of `detail` and `exception`: ten certificates and ten pins, or the end of a deep traceback
_TEXTS = frozenset({"detail", "exception"})

# Made once: `json.dumps` with options makes an encoder for every call.
_to_json = json.JSONEncoder(separators=(",", ":"), default=str, check_circular=False).encode


class Log:
    """The log of one proxy.

    Attributes:
        logger: For everything that is not a connection line: `logger.warning("backup_pin_missing", rule=…)`.
    """

    def __init__(self, log_format: Format = "auto", level: Level = "info", stream: TextIO | None = None) -> None:
        """Build the chain; nothing global is touched.

        Args:
            log_format: `auto`: text where the stream is a terminal, JSON elsewhere.
            level: The lowest that is written. Allowed connections are `info`; denied and would-be-denied ones `warning`.
            stream: Something with a descriptor; None: standard error.
        """
        stream = sys.stderr if stream is None else stream
        is_text = log_format == "console" or (log_format == "auto" and stream is not None and stream.isatty())
        self._sink = LineSink(stream)
        self.processors: tuple[Processor, ...] = (_arrange, _ConsoleLine() if is_text else _render_json)
        self.wrapper_class = structlog.make_filtering_bound_logger(level)
        self.logger: FilteringBoundLogger = structlog.wrap_logger(
            self._sink, processors=self.processors, wrapper_class=self.wrapper_class, cache_logger_on_first_use=True
        ).bind()
        is_info_on = logging.getLevelNamesMapping()[level.upper()] <= logging.INFO
        self._allowed = self.logger.info if is_info_on else None
        self._reported = self.logger.warning

    @property
    def dropped_lines(self) -> int:
        """Lines that standard error would not take."""
        return self._sink.dropped

    @property
    def sink(self) -> LineSink:
        """Where the lines go."""
        return self._sink

    def connection(self, event: ConnectionEvent) -> None:
        """Write the one line of a connection or request."""
        # The event goes through structlog as it is: its fields as keyword arguments would be copied three times on the way.
        if event.decision is not Decision.ALLOW:
            self._reported(event)
        elif self._allowed:
            self._allowed(event)

    def close(self) -> None:
        """Give the descriptor back."""
        self._sink.close()


def configure_logging(log_format: Format = "auto", level: Level = "info", stream: TextIO | None = None) -> Log:
    """Make the log and put it in charge of the process: `structlog.get_logger()` and the stdlib loggers of libraries end in it.

    Args:
        log_format: As for `Log`.
        level: As for `Log`; libraries are heard from WARNING up, whatever stands here.
        stream: As for `Log`.

    Returns:
        The log, for the `Reporter`.
    """
    log = Log(log_format, level, stream)
    structlog.configure(
        processors=log.processors,
        wrapper_class=log.wrapper_class,
        logger_factory=lambda *_names: log.sink,
        cache_logger_on_first_use=False,  # a logger kept from before would go on writing to the stream of before
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryBridge(log.logger)], force=True)
    return log


class _LibraryBridge(logging.Handler):
    """Brings what aiohttp, asyncio and others say into the log."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # arguments that do not fit the format
            message = str(record.msg)
        self._logger.log(record.levelno, "library", logger=record.name, message=redact(message), exc_info=record.exc_info or None)


_USERINFO = re.compile(r"(?<=://)[^/\s@]*@")
_QUERY = re.compile(r"(?<=[\w/.\-])\?[^\s'\"<>)\]]+")
_CREDENTIAL = re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(\W{1,4})[^\r\n]*")


def redact(text: str) -> str:
    """Cut userinfo, query strings and credential fields out of a text that is not ours (RFC 9110 §4.2.4, §17.9)."""
    return _QUERY.sub("?…", _USERINFO.sub("…@", _CREDENTIAL.sub(r"\1\2…", text)))


def _format_time(at: datetime) -> str:
    """Format a UTC instant to the millisecond."""
    # > RFC 3339 §5.6: time-offset = "Z" / time-numoffset. `Z` is what log pipelines recognise without being told.
    return at.isoformat(timespec="milliseconds")[:23] + "Z"


def _arrange(_logger: Any, level: str, event: EventDict) -> EventDict:
    """Put time, level and name first, and lay out the fields of a connection."""
    subject = event["event"]
    if isinstance(subject, ConnectionEvent):
        return _connection_fields(subject, level)
    event = structlog.processors.format_exc_info(_logger, level, event)
    if "exception" in event:
        event["exception"] = redact(event["exception"])
    return {"timestamp": _format_time(datetime.now(UTC)), "level": level, **event}


def _connection_fields(event: ConnectionEvent, level: str) -> dict[str, Any]:
    """Name the fields of the connection line, in its order."""
    judgement = event.judgement
    decision = event.decision
    pin = judgement.matched_pin if judgement else None
    fields: dict[str, Any] = {
        "timestamp": _format_time(event.at),
        "level": level,
        "event": "connection",
        "id": event.id,
        "client": event.client,
        "mode": event.mode,
        "method": event.method,
        "authority": str(event.authority) if event.authority else None,
        "host_rule": event.rule.label if event.rule else None,
        "verdict": judgement.verdict if judgement else None,
        "assurance": judgement.assurance if judgement else None,
        "decision": decision,
        "would_deny": decision is Decision.ALLOW_AND_REPORT,
        "code": event.code,
        "matched_pin": str(pin) if pin else None,
        "mismatch_class": event.mismatch_class,
        "tls_version": event.tls_version,
        "alpn": event.alpn,
        "upstream_address": event.upstream_address,
        "status": event.status,
        "bytes_up": event.bytes_up,
        "bytes_down": event.bytes_down,
        "duration_ms": int(event.duration_seconds * 1_000_000) / 1000,
    }
    if event.user is not None:
        fields["user"] = event.user
    if event.detail is not None:
        fields["detail"] = event.detail
    return fields


def _render_json(_logger: Any, _level: str, event: EventDict) -> bytes:
    # ASCII only, so that no terminal sequence (C1 too), no line separator and no lone surrogate survives.
    line = _to_json(event)
    if len(line) > _LONGEST_LINE:
        line = _to_json({key: _cut(key, value) for key, value in event.items()})
    return f"{line}\n".encode("ascii")


def _cut(key: str, value: Any) -> Any:
    limit = _LONGEST_TEXT if key in _TEXTS else _LONGEST_VALUE
    if not isinstance(value, str) or len(value) <= limit:
        return value
    # A traceback says what it is about in its last line.
    return "…" + value[1 - limit :] if key == "exception" else value[: limit - 1] + "…"


class _ConsoleLine:
    """One line for a person, without what is empty; long texts stand below it, indented so that they cannot pose as lines."""

    def __init__(self) -> None:
        # The traceback is text by the time it gets here, and goes below the line with the other texts.
        self._render = structlog.dev.ConsoleRenderer(colors=True, pad_event_to=12, sort_keys=False, pad_level=False)

    def __call__(self, logger: Any, level: str, event: EventDict) -> bytes:
        below = "".join(
            f"    {printable(line, _LONGEST_VALUE)}\n"
            for key in sorted(_TEXTS & event.keys())
            for line in _cut(key, str(event.pop(key))).splitlines()
        )
        shown = {key: _show(value) for key, value in event.items() if value is not None}
        return f"{self._render(logger, level, shown)}\n{below}".encode("utf-8", "backslashreplace")


def _show(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, _LONGEST_VALUE)
    return value if isinstance(value, bool | int | float) else printable(str(value), _LONGEST_VALUE)
